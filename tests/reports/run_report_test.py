import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.files.image_grid import write_png
from spade_jax.reports import run_report
from spade_jax.reports.healthy_ranges import healthy_ranges, remarks
from spade_jax.reports.run_log import RunLog
from spade_jax.reports.run_metadata import RunMetadata, read_metadata
from tests import program
from tests.fixtures.cli import succeed_inline

CONFIG = Config.create(num_classes=3, batch_size=4, palette='')


def metrics(step):
    return {
        'd_fake': 0.05,
        'd_real': 0.9,
        'g_gan': float('nan') if step == 4 else 0.4,
        'images_per_second': 10.0 + step,
        'new_metric': 1.0,
    }


@pytest.fixture
def workdir(tmp_path):
    """A run of forty steps that was resumed at step 20."""
    for first_step in (0, 20):
        metadata = RunMetadata(str(tmp_path), CONFIG, 16, first_step, '2 x <cpu>')
        with RunLog(str(tmp_path), first_step, metadata) as log:
            for step in range(first_step + 2, first_step + 21, 2):
                log.scalars(step, metrics(step))
            log.grid(first_step + 20, np.full((8, 2000, 3), first_step, np.uint8))
    (tmp_path / 'checkpoints' / '40').mkdir(parents=True)
    (tmp_path / 'checkpoints' / '40' / 'data').write_bytes(b'x' * 1_500_000)
    return tmp_path


def visible_text(html):
    """What a person reads: no tags, no images, no style."""
    return ' '.join(re.sub(r'<style>.*?</style>|<[^>]*>', ' ', html, flags=re.DOTALL).split())


def written_report(workdir):
    with open(run_report.write(str(workdir)), encoding='utf-8') as file:
        return file.read()


@pytest.mark.parametrize(
    'part',
    [
        '40 steps',
        '160 images seen',
        '16 images in the training set',
        '10.0 epochs',
        '31 images per second, median',
        'num_classes 3 13',
        'batch_size 4 32',
        '1 to 20',
        '21 to 40',
        '2 x &lt;cpu&gt;',
        '0:00:00 wall time',
        'jax 0.',
        'numpy 2.',
        '40 1.5',
        'step 20',
        'step 40',
        'new_metric 1',
        'd_fake is 0.05 of late; 0.2 to 1.1 is healthy',
    ],
)
def test_report_says(workdir, part):
    assert part in visible_text(written_report(workdir))


def test_report_omits_healthy_metrics_and_nan(workdir):
    text = visible_text(written_report(workdir))
    assert 'd_real is' not in text
    assert 'nan' not in text.lower().split()


def test_report_opens_without_network(workdir):
    page = written_report(workdir)
    external = r'(src|href)="(?!data:)|url\(|@import|<script|https?://(?!www.w3.org)'
    assert not re.search(external, page)
    assert page.count('<svg') == 4
    assert page.count('src="data:image/') == 2


def test_changed_options_come_first(workdir):
    text = visible_text(run_report.page(str(workdir), read_metadata(str(workdir)), []))
    changed, rest = text.index('num_classes 3 13'), text.index('more, at their defaults')
    assert changed < rest < text.index('learning_rate 0.0002')


def test_report_compares_with_defaults_of_the_model(workdir):
    text = visible_text(run_report.page(str(workdir), read_metadata(str(workdir)), []))
    assert text.index('more, at their defaults') < text.index('model spade')


def test_points_are_finite():
    records = [
        {'step': step, 'a': value} for step, value in enumerate([1.0, math.nan, math.inf, 2])
    ]
    assert run_report.finite_points(records) == {'a': [(0, 1.0), (3, 2.0)]}
    assert run_report.finite_points(records[1:3]) == {}


def test_charts_group_metrics_of_any_network():
    names = [
        *('critic_weight_norm', 'mapper_weight_norm', 'g_gan', 'g_kl', 'g_latent', 'd_r1'),
        *('g_gradient_norm', 'd_logits_fake', 'd_logits_real', 'critic_learning_rate', 'new'),
    ]
    assert run_report._charts(names) == {
        'adversarial losses': {'g_gan': 'g_gan'},
        'losses g_*': {'g_kl': 'g_kl', 'g_latent': 'g_latent'},
        'losses d_*': {'d_r1': 'd_r1'},
        'mean logits': {'d_logits_fake': 'd_logits_fake', 'd_logits_real': 'd_logits_real'},
        'gradient norms': {'g_gradient_norm': 'g'},
        'weight norms': {'critic_weight_norm': 'critic', 'mapper_weight_norm': 'mapper'},
        'learning rates': {'critic_learning_rate': 'critic'},
        'new': {'new': 'new'},
    }


def test_write_rejects_directory_without_run(tmp_path):
    with pytest.raises(UserError, match='holds no run; give the directory that --mode=train'):
        run_report.write(str(tmp_path))


def test_report_of_truncated_log_without_metadata(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 2, "d_real": 0.9}\n{"step": 4, "d_r')
    text = visible_text(written_report(tmp_path))
    for part in ('2 steps', 'd_real 0.9', 'Not known'):
        assert part in text


def test_report_names_unreadable_grid(tmp_path):
    RunMetadata(str(tmp_path), CONFIG, 16, 0, 'cpu')
    (tmp_path / 'samples').mkdir()
    (tmp_path / 'samples' / 'step_0000002.png').write_bytes(b'half an image')
    text = visible_text(written_report(tmp_path))
    assert '0 steps' in text
    assert 'step_0000002.png cannot be read' in text


def test_wide_grids_are_scaled_down(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 2000, 3)).astype(np.uint8)
    write_png(str(tmp_path / 'samples' / 'step_0000001.png'), noise)
    assert len(run_report.samples(tmp_path / 'samples')) < 960 * 192 * 3


def test_metadata_holds_config_and_sessions(workdir):
    metadata = json.loads((workdir / 'run.json').read_text())
    assert Config.from_json(metadata['config']) == CONFIG
    assert metadata['num_examples'] == 16
    for session in metadata['sessions']:
        assert session['seconds'] >= 0
        assert session['versions']['jax']


def test_new_run_discards_earlier_sessions(workdir):
    def steps():
        sessions = read_metadata(str(workdir))['sessions']
        return [(session['first_step'], session['last_step']) for session in sessions]

    assert steps() == [(0, 20), (20, 40)]
    RunMetadata(str(workdir), CONFIG, 16, 0, 'cpu').reached(3)
    assert steps() == [(0, 3)]


def test_damaged_metadata_is_none(tmp_path):
    (tmp_path / 'run.json').write_text('{"con')
    assert read_metadata(str(tmp_path)) is None


def test_remarks_name_metrics_outside_their_range():
    values = {'d_real': [0.9] * 30 + [0.01] * 10, 'd_logits_real': [1.5] * 40}
    found = remarks(values, 'hinge')
    assert [remark.split()[0] for remark in found] == ['d_real', 'd_logits_real']


def test_remarks_need_enough_records():
    assert remarks({'d_real': [0.01] * 4}, 'hinge') == []


def test_remarks_of_other_losses_are_about_data_alone():
    values = {'d_real': [0.01] * 40, 'share_of_time_waiting_for_data': [0.5] * 9}
    (remark,) = remarks(values, 'wasserstein')
    assert remark.endswith('raise --data_workers.')


def test_documentation_has_every_range():
    pages = (program.ROOT / 'docs').glob('*.md')
    documented = '\n'.join(page.read_text() for page in pages)
    for name, healthy in healthy_ranges('hinge').items():
        row = rf'\| `{name}` \|.*\| {healthy.low:g} to {healthy.high:g} \|'
        assert re.search(row, documented), name


def test_program_writes_report(workdir):
    output = succeed_inline('--mode=report', f'--workdir={workdir}')
    assert f'Report: {workdir}/report.html' in output


def test_report_does_not_import_jax():
    script = 'import sys, spade_jax.reports.run_report; print("jax" in sys.modules)'
    command = [sys.executable, '-c', script]
    options = dict(capture_output=True, text=True, check=True, cwd=program.ROOT)
    assert subprocess.run(command, **options).stdout.strip() == 'False'
