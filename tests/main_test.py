"""The program from its command line: train, crash, resume, sample, and refuse what cannot work."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import init_train_state
from spade_jax.reports.run_log import read_scalars
from tests import program


def final_state(workdir):
    with Checkpointer(workdir, read_only=True) as checkpoints:
        step = checkpoints.latest_step()
        config, _ = checkpoints.restore_run(step)
        return step, checkpoints.restore(
            step, like=init_train_state(config, build_networks(config))
        )


def data_refusal(folders, *arguments):
    return program.refusal(
        '--workdir=never', '--dataset=folders', f'--data_dir={folders}', *arguments
    )


def test_the_number_of_classes_is_needed_where_nobody_else_knows_it(folders, tmp_path):
    for dataset in ('folders', 'tfds'):
        message = program.refusal(
            f'--workdir={tmp_path}', f'--dataset={dataset}', '--perceptual_weight=0'
        )
        assert message == (
            f'error: num_classes is not given, and dataset={dataset} does not tell it; add --num_classes=N or --palette=FILE; '
            '--mode=validate_data with the same flags counts the classes'
        )


def test_what_is_wrong_with_the_data_points_to_the_report(folders, tmp_path):
    message = program.refusal(
        f'--workdir={tmp_path}',
        '--dataset=folders',
        f'--data_dir={folders}',
        '--num_classes=2',
        *program.SMALL,
    )
    assert message.endswith(
        'use --num_classes=3 or more; --mode=validate_data with the same flags lists all defects and suggests flags'
    )


def test_instance_maps_that_nobody_reads_are_refused(folders):
    assert (
        'train_instance_dir is set, but condition=labels reads no instance maps; add --condition=labels+edges'
        in data_refusal(folders, '--num_classes=3', '--train_instance_dir=train_inst')
    )


def test_the_report_counts_the_classes_and_keeps_the_flags(folders, tmp_path):
    result = program.run(
        '--mode=validate_data',
        '--workdir=runs/own',
        '--dataset=folders',
        f'--data_dir={folders}',
        '--seed=4',
        f'--output_dir={tmp_path}/report',
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        f'  python -m spade_jax.main --workdir=runs/own --dataset=folders --data_dir={folders} --num_classes=3 --perceptual_weight=0 --seed=4',
        '  (--perceptual_weight=0, because the perceptual loss needs --vgg19_weights=FILE)',
    ]


def test_help_names_no_number_of_classes_that_folders_would_have():
    result = program.run('--help')
    text = ' '.join(result.stdout.split())
    start = text.index('--num_classes:')
    assert (
        "default: '13'" not in text[start : start + 300]
        and 'folders and tfds need it' in text[start : start + 300]
    )


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return program.write_folders(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def folder_flags(folders):
    return ['--dataset=folders', f'--data_dir={folders}', '--num_classes=3', *program.SMALL]


@pytest.fixture(scope='module')
def trained(folder_flags, tmp_path_factory):
    """A work directory with a style encoder and instance edges, trained for four steps."""
    workdir = tmp_path_factory.mktemp('runs') / 'trained'
    result = program.run(
        f'--workdir={workdir}',
        *folder_flags,
        '--style_encoder',
        '--style_dim=8',
        '--encoder_width=2',
        '--encoder_input_size=64',
        '--condition=labels+edges',
        '--max_steps=4',
        '--init_gain=1',
        '--profile_steps=3-4',
    )  # at the usual gain four steps leave all pictures gray
    assert result.returncode == 0, result.stderr
    assert f'Pictures (label | generated | real): {workdir}' in result.stdout
    assert re.search(
        r'First step after \d+ s, compilation included; the first batch, read meanwhile, was there after \d+ s\.',
        result.stdout,
    ), result.stdout
    return workdir


@pytest.mark.slow
def test_killed_and_resumed_ends_in_the_bits_of_the_uninterrupted_run(tmp_path):
    data_dir = tmp_path / 'tfds'
    flags = [
        '--dataset=scenes',
        f'--data_dir={data_dir}',
        '--num_classes=13',
        '--scenes_train_examples=12',
        '--max_steps=14',
        *program.SMALL,
    ]
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    result = program.run(f'--workdir={whole}', *flags)
    assert result.returncode == 0, result.stderr

    # The first two in the course of the steps, not at a checkpoint, which are at 4, 8, 12 and 14; then at random moments, most of them within a save.
    random, kills = np.random.default_rng(), int(os.environ.get('SPADE_JAX_KILLS', '4'))
    done = in_saves = 0
    while done < kills:
        process = subprocess.Popen(
            program.command(f'--workdir={killed}', *flags),
            env=program.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        before = checkpoints_in(killed)
        if done < 2:
            assert wait_for(process, lambda: (last_step(killed) or 0) >= (5, 10)[done]), (
                'the run ended before it was killed'
            )
        elif wait_for(process, lambda: checkpoints_in(killed) - before):  # a save has begun
            time.sleep(random.uniform(0, 0.3))
        process.kill()
        stderr = process.communicate()[1]
        assert 'damaged' not in stderr, stderr
        in_saves += any('tmp' in name for name in checkpoints_in(killed))
        done += process.returncode == -signal.SIGKILL
        if process.returncode == 0:  # it was quicker; from an earlier checkpoint again
            for step in ('12', '14'):
                shutil.rmtree(killed / 'checkpoints' / step)
    print(f'{kills} kills, {in_saves} of them within a save')
    result = program.run(f'--workdir={killed}', *flags)
    assert result.returncode == 0, result.stderr
    assert 'steps' in result.stdout and 'damaged' not in result.stderr
    assert not any('tmp' in name for name in checkpoints_in(killed))

    (step, expected), (resumed_step, actual) = final_state(whole), final_state(killed)
    assert step == resumed_step == 14
    assert_same_state(actual, expected)
    records = read_scalars(killed)
    assert (
        [record['step'] for record in records]
        == [record['step'] for record in read_scalars(whole)]
        == [2, 4, 6, 8, 10, 12, 14]
    )
    assert records[-1]['g_gan'] == read_scalars(whole)[-1]['g_gan']

    again = program.run(f'--workdir={killed}', *flags)
    assert again.returncode == 0 and 'has done all 14 steps already' in again.stdout


def checkpoints_in(workdir):
    """Names of the directories of checkpoints, those of saves under way included."""
    directory = pathlib.Path(workdir) / 'checkpoints'
    return (
        {name for name in os.listdir(directory) if name[0].isdigit()}
        if directory.is_dir()
        else set()
    )  # not their manifests


def wait_for(process, condition):
    """True once the condition holds, False where the process ended before."""
    while not condition():
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def last_step(workdir):
    records = read_scalars(workdir)
    return records[-1]['step'] if records else None


@pytest.mark.slow
def test_a_run_leaves_records_and_grids(trained):
    records = read_scalars(trained)
    assert [record['step'] for record in records] == [2, 4]
    for name in (
        'g_gan',
        'g_feature_matching',
        'g_kl',
        'd_real',
        'd_fake',
        'images_per_second',
        'generator_learning_rate',
        'g_gradient_norm',
        'd_gradient_norm',
        'generator_weight_norm',
        'discriminator_weight_norm',
        'encoder_weight_norm',
        'd_logits_real',
        'd_logits_fake',
    ):
        assert np.isfinite(records[-1][name])
    assert records[-1]['generator_learning_rate'] == pytest.approx(1e-4)
    (grid,) = (trained / 'samples').iterdir()
    assert Image.open(grid).size == (
        2 * (3 * (128 + 4) + 4) - 8,
        128,
    )  # two groups of three, four times as large
    assert any(path.name.startswith('events') for path in (trained / 'tensorboard').iterdir())
    (session,) = json.loads((trained / 'run.json').read_text())['sessions']
    assert (session['first_step'], session['last_step']) == (0, 4) and session[
        'devices'
    ] == '2 x cpu'
    report = (trained / 'report.html').read_text()
    assert (
        '<b>4</b>steps' in report
        and 'd_gradient_norm' in report
        and report.count('src="data:image/') == 1
    )
    (trace,) = (trained / 'profile').rglob('perfetto_trace.json.gz')  # of --profile_steps=3-4
    assert trace.stat().st_size > 1000


@pytest.mark.slow
def test_sampling_needs_no_flags_of_the_model(trained, folders, tmp_path):
    arguments = [
        '--mode=sample',
        f'--workdir={trained}',
        f'--label_dir={folders}/val_label',
        f'--instance_dir={folders}/val_inst',
    ]
    result = program.run(
        *arguments, f'--output_dir={tmp_path}/a', '--num_samples=2', '--seed=3', '--nogallery'
    )
    assert result.returncode == 0, result.stderr
    assert f'12 pictures: {tmp_path}/a' in result.stdout
    names = sorted(path.name for path in (tmp_path / 'a').iterdir())
    assert names == sorted(f'{i}_{sample}.png' for i in range(6) for sample in range(2))
    pictures = [np.asarray(Image.open(tmp_path / 'a' / name)) for name in names]
    assert all(picture.shape == (32, 32, 3) for picture in pictures)
    assert np.any(pictures[0] != pictures[1])  # two styles of one map

    again = program.run(
        *arguments,
        f'--output_dir={tmp_path}/b',
        '--num_samples=2',
        '--seed=3',
        '--batch_size=5',
        '--nogallery',
    )
    assert again.returncode == 0
    for name, picture in zip(
        names, pictures
    ):  # the style of a map does not depend on the batch it is drawn in
        difference = np.abs(np.asarray(Image.open(tmp_path / 'b' / name)).astype(int) - picture)
        assert difference.max() <= 1

    assert 'num_classes: 3 -> 5' in program.refusal(*arguments, '--num_classes=5')
    assert 'give --instance_dir' in program.refusal(*arguments[:-1])
    assert 'no such directory' in program.refusal(
        '--mode=sample', f'--workdir={trained}', f'--label_dir={tmp_path}/none'
    )
    (tmp_path / 'empty').mkdir()
    assert 'holds no label map' in program.refusal(
        '--mode=sample', f'--workdir={trained}', f'--label_dir={tmp_path}/empty'
    )
    assert 'has no checkpoint' in program.refusal(
        '--mode=sample', f'--workdir={tmp_path}', f'--label_dir={folders}/val_label'
    )
    native = program.refusal(*arguments, '--sample_size=native')
    assert 'val_label/0.png: a label map of 44x40' in native and '--sample_size=training' in native


@pytest.mark.slow
def test_the_python_interface(trained, folders):
    generator = spade_jax.load(str(trained))
    labels = np.stack(
        [np.asarray(Image.open(folders / 'val_label' / '0.png').resize((32, 32), 0))] * 2
    )
    instances = labels.astype(np.int32)
    pictures = generator(labels, instances, seed=1)
    assert pictures.shape == (2, 32, 32, 3) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, generator(labels, instances, seed=1))
    assert np.any(pictures != generator(labels, instances, seed=2))
    style = generator.encode(pictures[:1])
    assert style.shape == (1, 8)
    with pytest.raises(spade_jax.errors.UserError, match='label map 1: label id 9 at pixel'):
        generator(np.stack([labels[0], np.full_like(labels[0], 9)]), instances)
    with pytest.raises(
        spade_jax.errors.UserError, match='give instances, one map for each label map'
    ):
        generator(labels)


@pytest.mark.slow
def test_another_configuration_in_the_work_directory_is_refused(trained, folder_flags):
    message = program.refusal(
        f'--workdir={trained}',
        *folder_flags,
        '--style_encoder',
        '--style_dim=8',
        '--encoder_width=2',
        '--encoder_input_size=64',
        '--max_steps=6',
        '--init_gain=1',
        '--learning_rate=0.001',
    )
    for part in (
        'condition: labels+edges -> labels',
        'learning_rate: 0.0002 -> 0.001',
        str(trained),
    ):
        assert part in message
    assert 'style_dim' not in message and 'max_steps' not in message


@pytest.mark.slow
def test_other_data_or_a_bad_number_are_refused(trained, folders, folder_flags, tmp_path):
    data = program.write_folders(tmp_path / 'data', count=7)
    message = program.refusal(
        f'--workdir={trained}',
        *folder_flags,
        '--style_encoder',
        '--style_dim=8',
        '--encoder_width=2',
        '--encoder_input_size=64',
        '--condition=labels+edges',
        '--init_gain=1',
        f'--data_dir={data}',
    )
    assert 'over 6 training examples, now there are 7' in message
    sample = [
        '--mode=sample',
        f'--workdir={trained}',
        f'--label_dir={data}/val_label',
        f'--instance_dir={data}/val_inst',
    ]
    assert 'batch_size=0 is too small' in program.refusal(*sample, '--batch_size=0')
    assert 'written over the label map' in program.refusal(
        *sample, f'--output_dir={data}/val_label'
    )
    (tmp_path / 'file').write_text('')
    assert 'cannot be made' in program.refusal(f'--workdir={tmp_path}/file/run', *folder_flags)
    with pytest.raises(spade_jax.errors.UserError, match='no checkpoint of step 3; it has 4'):
        spade_jax.load(str(trained), step=3)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / 'damaged')
    for path in (tmp_path / 'damaged' / 'checkpoints' / '4').rglob('*'):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(b'')
    with pytest.raises(
        spade_jax.errors.UserError,
        match='damaged checkpoint .*checkpoints/4: run cannot be read .*no other that is whole',
    ):
        spade_jax.load(str(tmp_path / 'damaged'))


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--crop_size=50'], 'crop_size=50 is not divisible by 32 (5 upsamplings); use 32 or 64'),
        (['--batch_size=3'], 'batch_size=3 is not divisible by the 2 devices; use 2 or 4'),
        (
            ['--perceptual_weight=10'],
            'download https://download.pytorch.org/models/vgg19-dcbb9e9d.pth and pass --vgg19_weights=FILE, or turn the loss off with --perceptual_weight=0',
        ),
        (
            ['--perceptual_weight=10', '--vgg19_weights=nowhere.npz'],
            'vgg19_weights=nowhere.npz: no such file',
        ),
        (['--num_classes=2'], 'use --num_classes=3'),
        (['--data_dir=nowhere'], 'there is no directory nowhere/train_img; set --data_dir'),
        (['--train_list=nothing.txt'], 'nothing.txt cannot be read'),
        (['surplus'], 'surplus is not a flag'),
    ],
)
def test_bad_flags_are_refused_in_one_line(flags, message, folder_flags, tmp_path):
    assert message in program.refusal(f'--workdir={tmp_path}/run', *folder_flags, *flags)


@pytest.mark.parametrize(
    'flag, message',
    [
        ('--gan_loss=hinges', 'gan_loss'),
        ('--mode=draw', 'mode'),
        ('--no_such_flag=1', 'no_such_flag'),
    ],
)
def test_unknown_flags_and_values_are_refused(flag, message, tmp_path):
    result = program.run(f'--workdir={tmp_path}/run', flag)
    assert result.returncode != 0 and message in result.stderr and 'Traceback' not in result.stderr


def test_bad_data_are_named(tmp_path, folder_flags):
    data = program.write_folders(tmp_path / 'data')
    flags = [f'--workdir={tmp_path}/run', *folder_flags, f'--data_dir={data}']
    label = np.asarray(Image.open(data / 'train_label' / '2.png')).copy()
    label[5, 7] = 200
    Image.fromarray(label).save(data / 'train_label' / '2.png')
    message = program.refusal(*flags)
    for part in ('train_label/2.png', 'label id 200', 'x=7, y=5', '--num_classes=201'):
        assert part in message
    os.remove(data / 'train_label' / '2.png')
    assert 'train_img/2.jpg has no label map' in program.refusal(*flags)
    assert '--workdir is missing' in program.refusal(*folder_flags)


def test_help(tmp_path):
    result = program.run('--help')
    assert '--generator_width' in result.stdout and '--label_dir' in result.stdout


def test_records_are_json_lines(tmp_path):
    from spade_jax.reports.run_log import RunLog

    with RunLog(str(tmp_path), 0) as log:
        for step in (2, 4, 6):
            log.scalars(step, {'g_gan': step / 2})
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 8, "g_g')  # cut off by a crash
    with RunLog(str(tmp_path), 4) as log:
        log.scalars(6, {'g_gan': 9.0})
    lines = [
        json.loads(line)
        for line in pathlib.Path(tmp_path / 'metrics.jsonl').read_text().splitlines()
    ]
    assert [(line['step'], line['g_gan']) for line in lines] == [(2, 1.0), (4, 2.0), (6, 9.0)]


@pytest.mark.slow
def test_a_run_that_diverges_stops_and_saves_nothing(folder_flags, tmp_path):
    result = program.run(
        f'--workdir={tmp_path}', *folder_flags, '--learning_rate=1e30', '--max_steps=8'
    )
    assert result.returncode == 3, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert 'is not finite' in line and 'new --workdir' in line and 'Traceback' not in result.stderr
    with Checkpointer(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.latest_step() is None


def assert_same_state(actual, expected):
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(leaf, other, err_msg=jax.tree_util.keystr(path))


@pytest.mark.slow
def test_an_interrupted_run_saves_and_goes_on_and_keeps_others_out(folder_flags, tmp_path):
    """SIGTERM and a damaged checkpoint on the way, and yet the bits of the run that nothing happened to."""
    whole, interrupted = tmp_path / 'whole', tmp_path / 'interrupted'
    flags = [*folder_flags, '--max_steps=10', '--sample_every=100']
    result = program.run(f'--workdir={whole}', *flags)
    assert result.returncode == 0, result.stderr

    # Slow data, so that the signal comes within the run.
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW, 'main', f'--workdir={interrupted}', *flags],
        env=program.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for(process, lambda: (interrupted / 'train.lock').exists())
    message = program.refusal(f'--workdir={interrupted}', *flags)
    assert f'is in use: process {process.pid} on' in message
    assert wait_for(process, lambda: (last_step(interrupted) or 0) >= 6)
    process.terminate()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    assert 'SIGTERM: stopped after step' in stderr and 'Traceback' not in stderr
    stopped = max(map(int, checkpoints_in(interrupted)))
    assert 6 <= stopped < 10 and read_scalars(interrupted)[-1]['step'] == stopped

    for path in (interrupted / 'checkpoints' / str(stopped) / 'drawing').rglob('*'):
        if path.is_file() and path.stat().st_size > 5000:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    with pytest.raises(
        spade_jax.errors.UserError,
        match=f'damaged checkpoint .*checkpoints/{stopped}.*drawing.*--checkpoint_step=4 ',
    ):
        spade_jax.load(str(interrupted))
    assert spade_jax.load(str(interrupted), step=4)
    result = program.run(f'--workdir={interrupted}', *flags)
    assert result.returncode == 0, result.stderr
    assert (
        f'checkpoints/{stopped}' in result.stderr
        and 'going on from the checkpoint of step' in result.stderr
    )
    (_, expected), (_, actual) = final_state(whole), final_state(interrupted)
    assert_same_state(actual, expected)


SLOW = """
import sys, time
from absl import app
from spade_jax.data import input_pipeline
from spade_jax import main
read, stopped_at = input_pipeline.read_for_training, int(sys.argv.pop(1)) if sys.argv[1].isdigit() else None
def slow(source, config, position, skipped=None):
    if stopped_at is not None and position >= stopped_at:
        time.sleep(10000)
    time.sleep(1)
    return read(source, config, position, skipped)
input_pipeline.read_for_training = slow
sys.argv.pop(1)
app.run(main.main)
"""


@pytest.mark.slow
def test_a_data_source_that_hangs_ends_the_run_in_one_line(folder_flags, tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            '-c',
            SLOW,
            '24',
            'main',
            f'--workdir={tmp_path}',
            *folder_flags,
            '--max_steps=20',
            '--data_timeout=12',
        ],
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert (
        'no batch of training examples within 12 seconds' in line
        and 'Traceback' not in result.stderr
    )
    with Checkpointer(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.latest_step() == 4


@pytest.mark.slow
def test_rollbacks_of_a_run_that_always_diverges_end(folder_flags, tmp_path):
    result = program.run(
        f'--workdir={tmp_path}',
        *folder_flags,
        '--learning_rate=1e30',
        '--max_steps=8',
        '--on_nan=rollback',
    )
    assert result.returncode == 3, result.stderr
    assert [f'rollback to step 0, detour {number}' in result.stderr for number in (1, 2, 3, 4)] == [
        True,
        True,
        True,
        False,
    ]
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert 'given up after 3 rollbacks' in line and 'val_' not in line and 'train_label/' in line


BREAKS_ONCE = """
import sys
from absl import app
from spade_jax.training import train_loop
from spade_jax import main
mapped, broken = train_loop.mapped_steps, []
def breaking(*arguments):
    step_of = mapped(*arguments)
    def step_with_nan(number):
        def run(state, batch):
            state, metrics = step_of(number)(state, batch)
            if number == 4 and not broken:
                broken.append(number)
                metrics['g_gan'] = metrics['g_gan'] * float('nan')
            return state, metrics
        run.compile_ahead = step_of(number).compile_ahead
        return run
    return step_with_nan
train_loop.mapped_steps = breaking
app.run(main.main)
"""


@pytest.mark.slow
def test_a_detour_ends_and_is_resumed_exactly(folder_flags, tmp_path):
    def run(workdir, max_steps):
        return subprocess.run(
            [
                sys.executable,
                '-c',
                BREAKS_ONCE,
                f'--workdir={workdir}',
                *folder_flags,
                f'--max_steps={max_steps}',
                '--on_nan=rollback',
            ],
            env=program.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )

    result = run(tmp_path / 'whole', 8)
    assert result.returncode == 0, result.stderr
    assert (
        'rollback to step 4, detour 1' in result.stderr
        and 'step 5: g_gan=nan is not finite' in result.stderr
        and 'train_label/' in result.stderr
    )
    assert [record['step'] for record in read_scalars(tmp_path / 'whole')] == [2, 4, 6, 8]
    for max_steps in (6, 8):  # the second goes on from the sixth step
        result = run(tmp_path / 'parts', max_steps)
        assert result.returncode == 0 and ('rollback' in result.stderr) == (max_steps == 6), (
            result.stderr
        )
    assert 'steps 7 to 8' in result.stdout
    for workdir in ('whole', 'parts'):
        with Checkpointer(tmp_path / workdir, read_only=True) as checkpoints:
            assert [checkpoints.record(step).detour for step in (4, 8)] == [0, 1]
            assert checkpoints.record(8).config.run.seed == 0 and np.isfinite(
                checkpoints.record(8).metrics['g_gan']
            )
    assert_same_state(final_state(tmp_path / 'parts')[1], final_state(tmp_path / 'whole')[1])
