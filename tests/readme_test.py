"""What the README and the pages of docs/ refer to exists."""

import re

import pytest

from spade_jax.commands import sample
from spade_jax.config.catalog import builtin_classes
from tests.program import ROOT

PAGES = [path for path in sorted(ROOT.glob('*.md')) + sorted(ROOT.glob('docs/*.md'))]


def anchor(heading):
    words = re.sub(r'[^\w -]', '', heading.lstrip('#').strip().lower())
    return words.replace(' ', '-')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_have_targets(page):
    text = page.read_text()
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if '://' in target:
            continue
        file, _, fragment = target.partition('#')
        linked = page.parent / file if file else page
        assert linked.exists(), target
        headings = (
            [line for line in linked.read_text().splitlines() if line.startswith('#')]
            if (fragment)
            else []
        )
        assert not fragment or fragment in map(anchor, headings), target


def test_readme_has_links():
    assert len(re.findall(r'\]\(docs/', (ROOT / 'README.md').read_text())) >= 5


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_scripts_and_flagfiles_exist(page):
    if page.name == 'CHANGELOG.md':  # It also names what is gone.
        return
    text = page.read_text()
    for path in re.findall(r'experiments/[\w./]*\w', text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r'-m (experiments[\w.]+)', text):
        assert (ROOT / module.replace('.', '/')).with_suffix('.py').exists(), module


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_pages_have_no_placeholders(page):
    assert re.findall(r'^[A-Z_]{4,}$', page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize('flag', sample.FLAGS, ids=lambda flag: flag.name)
def test_sampling_page_has_flag(flag):
    text = (ROOT / 'docs' / 'sampling.md').read_text()
    assert f'--{flag.name}' in text or f'--no{flag.name}' in text


def test_colors_of_gaugan_are_those_of_the_palette():
    text = (ROOT / 'docs' / 'sampling.md').read_text().split('## Colors of GauGAN drawings')[1]
    listed = re.findall(r'([\w-]+)\s`(#\w{6})`', text)
    assert listed == [(entry.name, entry.color) for entry in builtin_classes('gaugan')]
