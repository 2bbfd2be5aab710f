import json
import re
import subprocess
import sys

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.files.image_grid import evenly_spaced, write_png
from spade_jax.reports import run_report
from spade_jax.reports.healthy_ranges import healthy_ranges, remarks
from spade_jax.reports.run_log import RunLog
from spade_jax.reports.run_metadata import RunMetadata, read_metadata
from tests import program

CONFIG = Config.create(num_classes=3, batch_size=4, palette='')


@pytest.fixture
def workdir(tmp_path):
    """A run of forty steps that was resumed at the twentieth."""
    for first_step in (0, 20):
        with RunLog(
            str(tmp_path),
            first_step,
            RunMetadata(str(tmp_path), CONFIG, 16, first_step, '2 x <cpu>'),
        ) as log:
            for step in range(first_step + 2, first_step + 21, 2):
                log.scalars(
                    step,
                    {
                        'd_fake': 0.05,
                        'd_real': 0.9,
                        'g_gan': float('nan') if step == 4 else 0.4,
                        'images_per_second': 10.0 + step,
                        'new_metric': 1.0,
                    },
                )
            log.grid(first_step + 20, np.full((8, 2000, 3), first_step, np.uint8))
    (tmp_path / 'checkpoints' / '40').mkdir(parents=True)
    (tmp_path / 'checkpoints' / '40' / 'data').write_bytes(b'x' * 1_500_000)
    return tmp_path


def text_of(html):
    """What a person reads: no tags, no pictures, no style."""
    return ' '.join(re.sub(r'<style>.*?</style>|<[^>]*>', ' ', html, flags=re.DOTALL).split())


def test_one_page_with_everything_inside(workdir):
    page = (workdir / run_report.write(str(workdir))).read_text()
    text = text_of(page)
    for part in (
        '40 steps',
        '160 images seen',
        '16 pictures in the training set',
        '10.0 epochs',
        '31 images a second, median',
        'num_classes 3 13',
        'batch_size 4 32',
        '1 to 20',
        '21 to 40',
        '2 x &lt;cpu&gt;',
        'jax 0.',
        'numpy 2.',
        '40 1.5',
        'step 20',
        'step 40',
        'new_metric',
    ):
        assert part in text, part
    assert 'd_fake is 0.05 of late' in text and 'd_real is' not in text
    assert page.count('<svg') == 4 and page.count('src="data:image/') == 2
    assert not re.search(
        r'(src|href)="(?!data:)|url\(|@import|<script|https?://(?!www.w3.org)', page
    )  # opens without network
    assert 'nan' not in text.lower().split()
    assert (
        len(page)
        < 100_000 + sum(path.stat().st_size for path in (workdir / 'samples').iterdir()) * 2
    )


def test_the_configuration_shows_what_differs_first(workdir):
    text = text_of(run_report.page(str(workdir), read_metadata(str(workdir)), []))
    assert (
        text.index('num_classes 3 13')
        < text.index('more, at their defaults')
        < text.index('learning_rate 0.0002')
    )


def test_a_run_that_left_little(tmp_path):
    with pytest.raises(
        UserError, match='holds no run; give the directory that --mode=train wrote to'
    ):
        run_report.write(str(tmp_path))
    (tmp_path / 'metrics.jsonl').write_text('{"step": 2, "d_real": 0.9}\n{"step": 4, "d_r')
    text = text_of(open(run_report.write(str(tmp_path))).read())
    assert '2 steps' in text and 'd_real 0.9' in text and 'Not known' in text
    RunMetadata(str(tmp_path), CONFIG, 16, 0, 'cpu')
    (tmp_path / 'metrics.jsonl').unlink()
    (tmp_path / 'samples').mkdir()
    (tmp_path / 'samples' / 'step_0000002.png').write_bytes(b'half a picture')
    text = text_of(open(run_report.write(str(tmp_path))).read())
    assert '0 steps' in text and 'step_0000002.png cannot be read' in text


def test_facts_of_a_run_that_begins_anew_forget_the_one_before(workdir):
    assert [session['first_step'] for session in read_metadata(str(workdir))['sessions']] == [0, 20]
    facts = RunMetadata(str(workdir), CONFIG, 16, 0, 'cpu')
    facts.reached(3)
    assert [
        (session['first_step'], session['last_step'])
        for session in read_metadata(str(workdir))['sessions']
    ] == [(0, 3)]
    (workdir / 'run.json').write_text('{"con')
    assert read_metadata(str(workdir)) is None


@pytest.mark.parametrize('count', [1, 11, 12, 13, 400])
def test_at_most_twelve_grids_the_first_and_last_among_them(count):
    chosen = evenly_spaced(range(count), 12)
    assert (
        len(chosen) == min(count, 12) == len(set(chosen))
        and chosen[0] == 0
        and chosen[-1] == count - 1
    )


def test_wide_grids_are_scaled_down(tmp_path):
    write_png(
        str(tmp_path / 'samples' / 'step_0000001.png'),
        np.random.default_rng(0).integers(0, 256, (400, 2000, 3)).astype(np.uint8),
    )
    assert (
        len(run_report._samples(str(tmp_path / 'samples'))) < 960 * 192 * 3
    )  # noise, at 960 pixels


def test_durations():
    assert [run_report.duration(seconds) for seconds in (7, 187.4, 3600 * 2 + 299.9)] == [
        '0 min 07 s',
        '3 min 07 s',
        '2 h 05 min',
    ]


def test_remarks_wait_for_enough_records_and_know_the_loss():
    wins = {'d_real': [0.9] * 30 + [0.01] * 10, 'd_logits_real': [1.5] * 40}
    assert [remark.split()[0] for remark in remarks(wins, 'hinge')] == ['d_real', 'd_logits_real']
    assert remarks(wins, 'least_squares') == [] and remarks({'d_real': [0.01] * 4}, 'hinge') == []
    assert remarks({'share_of_time_waiting_for_data': [0.5] * 9}, 'wasserstein')[0].endswith(
        'raise --data_workers.'
    )


def test_the_documentation_has_every_range():
    documented = (program.ROOT / 'docs' / 'losses.md').read_text()
    for name, healthy in healthy_ranges('hinge').items():
        assert re.search(
            rf'\| `{name}` \|.*\| {healthy.low:g} to {healthy.high:g} \|', documented
        ), name


def test_the_report_from_the_command_line_without_jax(workdir):
    result = program.run('--mode=report', f'--workdir={workdir}')
    assert result.returncode == 0 and f'Report: {workdir}/report.html' in result.stdout
    assert 'holds no run' in program.refusal('--mode=report', f'--workdir={workdir}/samples')
    script = 'import sys, spade_jax.training.run_report; print("jax" in sys.modules)'
    assert (
        subprocess.run(
            [sys.executable, '-c', script],
            capture_output=True,
            text=True,
            check=True,
            cwd=program.ROOT,
        ).stdout.strip()
        == 'False'
    )


def test_records_of_a_run_hold_its_facts(workdir):
    facts = json.loads((workdir / 'run.json').read_text())
    assert Config.from_json(facts['config']) == CONFIG and facts['num_examples'] == 16
    assert all(
        session['seconds'] >= 0 and session['versions']['jax'] for session in facts['sessions']
    )
