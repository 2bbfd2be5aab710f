"""What the README and the pages of docs/ refer to is there."""

import re

import pytest

from tests.program import ROOT

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    headings = {
        re.sub(r'[^\w -]', '', line.lstrip('#').strip().lower()).replace(' ', '-')
        for line in text.splitlines()
        if line.startswith('#')
    }
    targets = re.findall(r'\]\(([^)\s]+)\)', text)
    assert targets or page.name != 'README.md'
    for target in targets:
        if target.startswith('#'):
            assert target[1:] in headings, target
        elif '://' not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_scripts_that_are_named_exist(page):
    for script in re.findall(r'experiments/[\w.]+', page.read_text()):
        assert (ROOT / script.rstrip('.')).exists(), script
    assert (
        re.findall(r'^[A-Z_]{4,}$', page.read_text(), re.MULTILINE) == []
    )  # nothing that was to be filled in
