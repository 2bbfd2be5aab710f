"""Every program of experiments/ tells what it does and its flags."""

import importlib.util
import re

import pytest

from tests.experiments import runner
from tests.program import ROOT

PROGRAMS = sorted(
    '.'.join(path.relative_to(ROOT / 'experiments').with_suffix('').parts)
    for path in (ROOT / 'experiments').rglob('*.py')
    if "if __name__ == '__main__':" in path.read_text(encoding='utf-8')
)
OPTIONAL = ('torch', 'matplotlib')


@pytest.mark.parametrize('program', PROGRAMS)
def test_help_shows_docstring_and_flags(program):
    result = runner.run(program, '--help')
    missing = re.search("No module named '([a-z]+)'", result.stderr)
    if missing and missing[1] in OPTIONAL and not importlib.util.find_spec(missing[1]):
        pytest.skip(f'{missing[1]} is not installed')
    assert 'Traceback' not in result.stderr, result.stderr
    source = (ROOT / 'experiments' / f'{program.replace(".", "/")}.py').read_text(encoding='utf-8')
    summary = re.match(r'"""(.+)', source)
    assert summary and summary[1].strip('"') in result.stdout
    assert re.search(r'^  --\S+: ', result.stdout, re.MULTILINE)
