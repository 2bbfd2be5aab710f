import json
import re

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.reports import comparison
from spade_jax.reports.run_log import RunLog
from spade_jax.reports.run_metadata import RunMetadata, code_version
from tests.fixtures.cli import refusal, succeed_inline
from tests.reports.run_report_test import visible_text

CONFIG = Config.create(num_classes=3, batch_size=4)


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in their rate and their last step."""
    for name, rate, last in (('one', 1e-4, 4), ('two', 2e-4, 6)):
        workdir = str(tmp_path / name)
        metadata = RunMetadata(workdir, CONFIG.replace(learning_rate=rate), 16, 0, 'cpu')
        with RunLog(workdir, 0, metadata) as log:
            for step in range(2, last + 1, 2):
                log.scalars(step, {'g_gan': step / 10, f'only_{name}': 1.0})
                log.grid(step, np.full((8, 16, 3), step, np.uint8))
    return [str(tmp_path / name) for name in ('one', 'two')]


def test_comparison_shows_curves_over_each_other(runs):
    page = succeed_inline('--mode=report', f'--workdir={",".join(runs)}')
    assert page == f'Comparison: {runs[0]}/comparison.html\n'
    with open(f'{runs[0]}/comparison.html') as file:
        text = visible_text(file.read())
    for part in (f'A {runs[0]} 4', f'B {runs[1]} 6', 'A 0.4 B 0.6', 'B 1', code_version()):
        assert part in text
    assert re.search('learning_rate 0.0001 0.0002 Curves', text)
    assert 'batch_size' not in text
    assert text.count('step 4') == text.count('step 6') == 1


def test_comparison_names_what_it_cannot_compare(runs, tmp_path):
    assert 'holds no run' in refusal('--mode=report', f'--workdir={runs[0]},{tmp_path}')
    with pytest.raises(UserError, match='has a run twice; give different directories'):
        comparison.write([runs[0], f'{runs[0]}/'])
    with pytest.raises(UserError, match='7 runs; compare at most 6'):
        comparison.write([f'{runs[0]}/{i}' for i in range(7)])


def test_directory_with_a_comma_is_one_run(tmp_path):
    workdir = tmp_path / 'a,b'
    RunMetadata(str(workdir), CONFIG, 16, 0, 'cpu')
    assert 'a,b/report.html' in succeed_inline('--mode=report', f'--workdir={workdir}')


def test_run_names_its_code(runs):
    with open(f'{runs[0]}/run.json') as file:
        (session,) = json.load(file)['sessions']
    assert session['code'] == code_version()
    assert re.fullmatch(r'[0-9a-f]{40}(-dirty)?|\d+\.\d+\.\d+.*', session['code'])


def test_listener_gets_each_record(tmp_path):
    records = []
    with RunLog(str(tmp_path), 0, listener=lambda *record: records.append(record)) as log:
        log.scalars(2, {'g_gan': 0.5})
    assert records == [(2, {'g_gan': 0.5})]
