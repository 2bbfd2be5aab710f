import json

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.reports import run_report
from spade_jax.reports.run_log import RunLog, check_log_is_writable, progress_fields, read_scalars
from spade_jax.reports.run_metadata import RunMetadata, read_metadata

VALUES = {
    'g_gan': 0.41234,
    'd_real': 0.8,
    'd_logits_real': 0.1,
    'g_gradient_norm': 3.0,
    'generator_weight_norm': 7.0,
    'generator_learning_rate': 1e-4,
}


def test_progress_fields_are_losses_without_diagnostics():
    assert progress_fields(VALUES) == {'g_gan': '0.412', 'd_real': '0.8'}


def test_progress_fields_begin_with_speed():
    timed = VALUES | {'images_per_second': 12.345, 'share_of_time_waiting_for_data': 0.031}
    expected = {'images/s': '12.3', 'waiting': '3%', 'g_gan': '0.412', 'd_real': '0.8'}
    assert progress_fields(timed) == expected


GOOD = b'{"step": 2, "g_gan": 0.5}\n'


@pytest.mark.parametrize(
    'line',
    [
        *(b'{"step": 4, "g_g\xffn": 1', b'\0\0\0', b'', b'{"step": 4, "g_gan": 0.5', b'[' * 5000),
        *(b'[4]', b'null', b'7', b'{"g_gan": 0.5}', b'{"step": "4"}', b'{"step": 4.5}'),
        *(b'{"step": true}', b'{"step": -4}', b'{"step": NaN}', b'{"step": 1' + b'0' * 400 + b'}'),
        *(b'{"step": 4, "g_gan": "x"}', b'{"step": 4, "g_gan": null}', b'{"step": 4, "a": [1]}'),
        *(b'{"step": 4, "g_gan": 1' + b'0' * 400 + b'}', b'{"step": 4, "g_gan": {}}'),
    ],
)
def test_line_that_is_no_record_is_left_out(tmp_path, capsys, line):
    (tmp_path / 'metrics.jsonl').write_bytes(GOOD + line + b'\n' + GOOD.replace(b'2', b'6'))
    assert read_scalars(str(tmp_path)) == [{'step': 2, 'g_gan': 0.5}, {'step': 6, 'g_gan': 0.5}]
    path = tmp_path / 'metrics.jsonl'
    assert capsys.readouterr().err == f'warning: {path}: no record, left out: line 2\n'
    with RunLog(str(tmp_path), 4) as log:
        log.scalars(6, {'g_gan': 0.25})
    assert [record['g_gan'] for record in read_scalars(str(tmp_path))] == [0.5, 0.25]


def test_truncated_last_line_is_left_out_silently(tmp_path, capsys):
    (tmp_path / 'metrics.jsonl').write_bytes(GOOD + b'{"step": 4, "g_\xff')
    assert read_scalars(str(tmp_path)) == [{'step': 2, 'g_gan': 0.5}]
    assert not capsys.readouterr().err


def test_report_of_huge_values(tmp_path):
    lines = [{'step': step, 'g_gan': value} for step, value in enumerate((1e308, -1e308, 0.5))]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (tmp_path / 'metrics.jsonl').write_text(text)
    assert run_report.write(str(tmp_path))


DAMAGES = [
    *(('sessions', value) for value in (None, 'abc', 7, [3], [{}], [['started']])),
    *(('config', value) for value in (None, 'abc', [1], {'data': 3}, {'model': {'name': [1]}})),
    *(('config', {'optimizer': {'batch_size': value}}) for value in ('x', None, [2])),
    *(('num_examples', value) for value in (None, 'x', -1, [1])),
    *(('parameters', value) for value in (None, 'x', {'generator': -1}, {'generator': '<b>'})),
]


@pytest.mark.parametrize('name, value', DAMAGES)
def test_other_types_in_the_metadata_block_nothing(tmp_path, name, value):
    arguments = str(tmp_path), Config.create(batch_size=4), 16, 2, 'cpu'
    RunMetadata(*arguments)
    path = tmp_path / 'run.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    assert run_report.write(str(tmp_path))
    RunMetadata(*arguments)
    assert read_metadata(str(tmp_path))['num_examples'] == 16


@pytest.mark.parametrize(
    'change',
    [{'seconds': 'x'}, {'seconds': 1e300}, {'last_step': 2.5}, {'versions': []}, {'devices': None}],
)
def test_damaged_session_is_left_out_with_a_warning(tmp_path, capsys, change):
    RunMetadata(str(tmp_path), Config.create(), 16, 0, 'cpu')
    path = tmp_path / 'run.json'
    content = json.loads(path.read_text())
    content['sessions'].append(content['sessions'][0] | change)
    path.write_text(json.dumps(content))
    assert len(read_metadata(str(tmp_path))['sessions']) == 1
    expected = f'warning: {path} has damaged entries, which are left out\n'
    assert capsys.readouterr().err == expected
    assert run_report.write(str(tmp_path))


@pytest.mark.parametrize('content', [b'\xff', b'{', b'[]', b'3', b'[' * 5000])
def test_unreadable_metadata_block_nothing(tmp_path, capsys, content):
    (tmp_path / 'run.json').write_bytes(content)
    (tmp_path / 'metrics.jsonl').write_bytes(GOOD)
    assert read_metadata(str(tmp_path)) is None
    assert f'warning: {tmp_path}/run.json' in capsys.readouterr().err
    assert run_report.write(str(tmp_path))


@pytest.mark.parametrize('name', ['tensorboard', 'samples'])
def test_file_in_place_of_a_directory_is_refused_at_the_start(tmp_path, name):
    (tmp_path / name).write_text('')
    with pytest.raises(UserError, match=f'{name} cannot be used .File exists.; make it a dir'):
        check_log_is_writable(str(tmp_path))


@pytest.mark.parametrize('name', ['metrics.jsonl', 'run.json', 'report.html'])
def test_directory_in_place_of_a_file_is_refused_at_the_start(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f'{name} is a directory and is not replaced; move it away'):
        check_log_is_writable(str(tmp_path))


def test_events_of_a_full_disk_raise_and_do_not_wait(tmp_path, monkeypatch):
    with RunLog(str(tmp_path), 0) as log:  # Leaving it says nothing more.
        full = open('/dev/full', 'wb')
        monkeypatch.setattr(log._events._py_recordio_writer, '_writer', full)
        with pytest.raises(OSError, match='No space left'):
            log.grid(2, np.zeros((500, 500, 3), np.uint8))
