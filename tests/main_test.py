"""Whole runs of the program: train, stop, crash, resume, and refuse what cannot work."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.checkpoints.checkpointer import GENERATOR, Checkpointer
from spade_jax.errors import UserError
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.reports.run_log import RunLog, read_scalars
from tests import program
from tests.fixtures.cli import refusal, run_inline, succeed_inline
from tests.fixtures.states import assert_same_state, final_state


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return program.write_folders(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def folder_flags(folders):
    return ['--dataset=folders', f'--data_dir={folders}', '--num_classes=3', *program.SMALL]


@pytest.fixture(scope='module')
def styled_flags(folder_flags):
    # At the default gain all images are gray after four steps.
    encoder = ['--style_encoder', '--style_dim=8', '--encoder_width=2', '--encoder_input_size=64']
    return [*folder_flags, *encoder, '--condition=labels+edges', '--init_gain=1']


@pytest.fixture(scope='module')
def trained_output(styled_flags, tmp_path_factory):
    """A work directory with a style encoder and instance edges after four steps, and the output."""
    workdir = tmp_path_factory.mktemp('runs') / 'trained'
    flags = [*styled_flags, '--max_steps=4', '--profile_steps=3-4']
    return workdir, succeed_inline(f'--workdir={workdir}', *flags)


@pytest.fixture(scope='module')
def trained(trained_output):
    return trained_output[0]


def test_training_prints_its_results(trained_output):
    workdir, output = trained_output
    assert re.search(r'^Parameters: generator [\d,]+, discriminator [\d,]+', output, re.MULTILINE)
    assert re.search(r'First step after \d+ s, compilation included', output)
    assert f'Sample grids (label map | fake | real): {workdir}' in output
    assert f'Report: {workdir}/report.html' in output


def test_training_logs_metrics(trained):
    records = read_scalars(trained)
    assert [record['step'] for record in records] == [2, 4]
    names = ['g_gan', 'g_feature_matching', 'g_kl', 'd_real', 'd_fake', 'images_per_second']
    names += [f'{player}_gradient_norm' for player in 'gd']
    names += [f'{name}_weight_norm' for name in ('generator', 'discriminator', 'encoder')]
    names += ['d_logits_real', 'd_logits_fake']
    assert {name for name in names if not np.isfinite(records[-1][name])} == set()


def test_training_writes_sample_grid(trained):
    grids = sorted((trained / 'samples').iterdir())
    assert [grid.name for grid in grids] == ['step_0000000.png', 'step_0000004.png']
    # Two groups of three images, enlarged four times.
    for grid in grids:
        assert Image.open(grid).size == (2 * (3 * (128 + 4) + 4) - 8, 128)


def test_training_writes_metadata_report_and_events(trained):
    metadata = json.loads((trained / 'run.json').read_text())
    (session,) = metadata['sessions']
    assert metadata['parameters'].keys() == {'discriminator', 'encoder', 'generator'}
    assert (session['first_step'], session['last_step']) == (0, 4)
    assert session['devices'] == '2 x cpu'
    report = (trained / 'report.html').read_text()
    assert 'gradient norms' in report
    assert f'<b>{metadata["parameters"]["generator"]:,}</b>parameters of the generator' in report
    assert report.count('src="data:image/') == 2  # Before the first step, and at the end.
    assert any(path.name.startswith('events') for path in (trained / 'tensorboard').iterdir())


def test_training_writes_profile(trained):
    (trace,) = (trained / 'profile').rglob('perfetto_trace.json.gz')
    assert trace.stat().st_size > 1000


def test_sampling_needs_no_flags_of_the_model(trained, folders, tmp_path):
    flags = [f'--label_dir={folders}/val_label', f'--instance_dir={folders}/val_inst']
    flags += [f'--output_dir={tmp_path}', '--num_samples=2', '--seed=3', '--nogallery']
    output = succeed_inline('--mode=sample', f'--workdir={trained}', *flags)
    assert f'12 images: {tmp_path}' in output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f'{i}_{sample}.png' for i in range(6) for sample in range(2)]
    images = [np.asarray(Image.open(tmp_path / name)) for name in names]
    assert {image.shape for image in images} == {(32, 32, 3)}
    assert np.any(images[0] != images[1])  # two styles of one map


def test_model_with_edges_needs_instance_maps(trained, folders):
    flags = ['--mode=sample', f'--workdir={trained}', f'--label_dir={folders}/val_label']
    assert 'give --instance_dir' in refusal(*flags)


def test_native_size_of_model_with_encoder_is_refused(trained, folders):
    flags = [f'--label_dir={folders}/val_label', f'--instance_dir={folders}/val_inst']
    flags += ['--sample_size=native']
    message = refusal('--mode=sample', f'--workdir={trained}', *flags)
    assert 'val_label/0.png: a label map of 44x40' in message
    assert '--sample_size=training' in message


def test_python_interface(trained, folders):
    generator = spade_jax.load(str(trained))
    label = Image.open(folders / 'val_label' / '0.png').resize((32, 32), Image.Resampling.NEAREST)
    labels = np.stack([np.asarray(label)] * 2)
    instances = labels.astype(np.int32)
    images = generator(labels, instances, seed=1)
    assert images.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(images, generator(labels, instances, seed=1))
    assert np.any(images != generator(labels, instances, seed=2))
    assert generator.encode(images[:1]).shape == (1, 8)


def test_load_names_steps_that_exist(trained):
    with pytest.raises(UserError, match='no checkpoint of step 3; it has 4'):
        spade_jax.load(str(trained), step=3)


def test_resume_refuses_another_configuration(trained, styled_flags):
    changed = ['--condition=labels', '--learning_rate=0.001', '--max_steps=6']
    message = refusal(f'--workdir={trained}', *styled_flags, *changed)
    assert 'condition: labels+edges -> labels' in message
    assert 'learning_rate: 0.0002 -> 0.001' in message
    assert str(trained) in message
    assert 'style_dim' not in message
    assert 'max_steps: ' not in message


def test_resume_refuses_another_number_of_examples(trained, styled_flags, tmp_path):
    data = program.write_folders(tmp_path / 'data', count=7)
    message = refusal(f'--workdir={trained}', *styled_flags, f'--data_dir={data}')
    assert 'over 6 training examples, now there are 7' in message


def test_corrupt_checkpoint_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / 'corrupt')
    for path in (tmp_path / 'corrupt' / 'checkpoints' / '4').rglob('*'):
        if path.is_file():
            path.write_bytes(b'')
    with pytest.raises(UserError, match='corrupt checkpoint .*checkpoints/4: .*no other intact'):
        spade_jax.load(str(tmp_path / 'corrupt'))


@pytest.mark.parametrize(
    'flags, message',
    [
        (
            ['--crop_size=51', '--load_size=51'],
            'crop_size=51 is not divisible by 2 (1 upsamplings); use 50 or 52',
        ),
        (['--batch_size=3'], 'batch_size=3 is not divisible by the 2 devices; use 2 or 4'),
        (
            ['--perceptual_weight=10'],
            'use --perceptual_network=squeezenet, or download '
            'https://download.pytorch.org/models/vgg19-dcbb9e9d.pth and pass '
            '--vgg19_weights=FILE, or use --perceptual_weight=0',
        ),
        (
            ['--perceptual_weight=10', '--vgg19_weights=nowhere.npz'],
            'vgg19_weights=nowhere.npz: no such file',
        ),
        (['--num_classes=2'], 'use --num_classes=3'),
        (['--data_dir=nowhere'], 'nowhere/train_img'),
        (['--train_list=nothing.txt'], 'nothing.txt cannot be read'),
        (
            ['--train_instance_dir=train_inst'],
            'train_instance_dir is set, but condition=labels reads no instance maps',
        ),
    ],
)
def test_bad_flags_are_refused_in_one_line(flags, message, folder_flags, tmp_path):
    assert message in refusal(f'--workdir={tmp_path}/run', *folder_flags, *flags)


@pytest.mark.parametrize('dataset', ['folders', 'tfds'])
def test_number_of_classes_is_needed(dataset, tmp_path):
    flags = [f'--dataset={dataset}', '--perceptual_weight=0']
    assert refusal(f'--workdir={tmp_path}', *flags) == (
        f'error: num_classes is not set, and dataset={dataset} does not define it; add '
        '--num_classes=N or --palette=FILE; --mode=validate_data with the same flags counts the '
        'classes'
    )


@pytest.mark.parametrize('directory', ['', 'checkpoints'])
def test_workdir_alone_starts_no_run(directory, tmp_path):
    """It is mistyped, or the run stopped before its first checkpoint."""
    (tmp_path / 'runs' / directory).mkdir(parents=True)
    message = refusal(f'--workdir={tmp_path}/runs', '--max_steps=10')
    assert message == (
        f'error: workdir={tmp_path}/runs has no checkpoint to resume; check the path, or give the '
        'flags of the run: --dataset=... or --flagfile=...'
    )


def test_unusable_data_points_to_the_report(folder_flags, tmp_path):
    message = refusal(f'--workdir={tmp_path}', *folder_flags, '--num_classes=2')
    assert 'use --num_classes=3 or more' in message
    assert '--mode=validate_data' in message


def test_report_counts_classes_and_keeps_flags(folders, tmp_path):
    flags = ['--workdir=runs/own', '--dataset=folders', f'--data_dir={folders}', '--seed=4']
    output = succeed_inline('--mode=validate_data', *flags, f'--output_dir={tmp_path}/report')
    (command,) = [line for line in output.splitlines() if ' --workdir=runs/own' in line]
    for flag in (*flags, '--num_classes=3', '--perceptual_network=squeezenet'):
        assert flag in command


def test_bad_label_map_is_named(folder_flags, tmp_path):
    data = program.write_folders(tmp_path / 'data')
    label = np.asarray(Image.open(data / 'train_label' / '2.png')).copy()
    label[5, 7] = 200
    Image.fromarray(label).save(data / 'train_label' / '2.png')
    message = refusal(f'--workdir={tmp_path}/run', *folder_flags, f'--data_dir={data}')
    for part in ('train_label/2.png', 'label id 200', 'x=7, y=5', '--num_classes=201'):
        assert part in message


def test_missing_label_map_is_named(folder_flags, tmp_path):
    data = program.write_folders(tmp_path / 'data')
    os.remove(data / 'train_label' / '2.png')
    message = refusal(f'--workdir={tmp_path}/run', *folder_flags, f'--data_dir={data}')
    assert 'train_img/2.jpg has no label map' in message


def test_results_among_images_are_refused(folder_flags, folders):
    """Sample grids and the contact sheet would be images without label maps from then on."""
    place = folders / 'train_img' / 'new'
    for flags in ([f'--workdir={place}'], ['--mode=validate_data', f'--output_dir={place}']):
        assert f'={place} is inside of train_image_dir=' in refusal(*flags, *folder_flags)
    assert not place.exists()


def test_workdir_in_use_is_refused(folder_flags, tmp_path):
    with exclusive_lock(str(tmp_path)):
        message = refusal(f'--workdir={tmp_path}', *folder_flags)
    assert f'is in use: process {os.getpid()} on' in message


@pytest.mark.parametrize('name', ['checkpoints', 'samples', 'tensorboard'])
def test_file_in_place_of_a_directory_is_refused_at_the_start(name, folder_flags, tmp_path):
    (tmp_path / name).write_text('')
    message = refusal(f'--workdir={tmp_path}', *folder_flags)
    assert f'{tmp_path}/{name} cannot be used (File exists); make it a directory' in message


def test_diverged_run_stops_and_saves_nothing(folder_flags, tmp_path):
    flags = [*folder_flags, '--learning_rate=1e30', '--max_steps=8']
    result = run_inline(f'--workdir={tmp_path}', *flags)
    assert result.status == 3, result
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert 'is not finite' in line
    assert 'new --workdir' in line
    with Checkpointer(str(tmp_path), read_only=True) as checkpointer:
        assert checkpointer.latest_step() is None


@pytest.fixture(scope='module')
def uninterrupted(folder_flags, tmp_path_factory):
    """A run of ten steps, and its flags."""
    workdir = tmp_path_factory.mktemp('runs') / 'uninterrupted'
    flags = [*folder_flags, '--max_steps=10', '--sample_every=100']
    succeed_inline(f'--workdir={workdir}', *flags)
    return workdir, flags


def test_preempted_run_resumes_exactly_despite_corruption(uninterrupted, tmp_path, monkeypatch):
    """SIGTERM after step 6, whose checkpoint is corrupt: it resumes from step 4."""
    whole, flags = uninterrupted
    log_scalars = RunLog.scalars

    def log_and_signal(log, step, values):
        log_scalars(log, step, values)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, 'scalars', log_and_signal)
        result = run_inline(f'--workdir={tmp_path}', *flags)
    assert result.status == 128 + signal.SIGTERM, result
    (message,) = re.findall(r'SIGTERM: stopped after step (\d+), which is saved', result.stderr)
    stopped = int(message)
    assert stopped in (6, 7)
    assert checkpoints_in(tmp_path) == {'4', str(stopped)}

    flip_bits(tmp_path / 'checkpoints' / str(stopped) / GENERATOR)
    expected = f'corrupt checkpoint .*checkpoints/{stopped}.*--checkpoint_step=4 '
    with pytest.raises(UserError, match=expected):
        spade_jax.load(str(tmp_path))
    assert spade_jax.load(str(tmp_path), step=4)

    result = run_inline(f'--workdir={tmp_path}', *flags)
    assert result.status == 0, result
    assert f'corrupt checkpoint {tmp_path}/checkpoints/{stopped}' in result.stderr
    assert 'resuming from step 4, the newest intact one' in result.stderr
    assert_same_state(final_state(tmp_path), final_state(whole))


def flip_bits(directory):
    """Change a bit in the middle of each file that has arrays."""
    for path in directory.rglob('*'):
        if path.is_file() and path.stat().st_size > 5000:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)


def test_killed_run_resumes_exactly(uninterrupted, tmp_path):
    """SIGKILL between checkpoints, then at random moments of the saves."""
    (whole, flags), killed = uninterrupted, tmp_path / 'killed'
    random, kills = np.random.default_rng(), int(os.environ.get('SPADE_JAX_KILLS', '2'))
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
        if done < 1:  # Checkpoints are at 4, 8 and 10.
            assert wait_for(process, lambda: last_step(killed) >= 6)
        elif wait_for(process, lambda before=before: checkpoints_in(killed) - before):
            time.sleep(random.uniform(0, 0.3))  # A save has begun.
        process.kill()
        stderr = process.communicate()[1]
        assert 'corrupt' not in stderr
        in_saves += any('tmp' in name for name in checkpoints_in(killed))
        done += process.returncode == -signal.SIGKILL
        if process.returncode == 0:  # It was faster: back to an earlier checkpoint.
            for step in ('8', '10'):
                shutil.rmtree(killed / 'checkpoints' / step)
    print(f'{kills} kills, {in_saves} of them within a save')
    result = run_inline(f'--workdir={killed}', *flags)
    assert result.status == 0, result
    assert 'corrupt' not in result.stderr
    assert not any('tmp' in name for name in checkpoints_in(killed))

    assert_same_state(final_state(killed), final_state(whole))
    records, expected = read_scalars(killed), read_scalars(whole)
    assert [record['step'] for record in records] == [2, 4, 6, 8, 10]
    assert [record['g_gan'] for record in records] == [record['g_gan'] for record in expected]
    output = succeed_inline(f'--workdir={killed}', *flags)
    assert 'has done 10 of 10 steps already' in output


def checkpoints_in(workdir):
    """Names of the directories of checkpoints, those of unfinished saves included."""
    directory = pathlib.Path(workdir) / 'checkpoints'
    if not directory.is_dir():
        return set()
    return {name for name in os.listdir(directory) if name[0].isdigit()}


def wait_for(process, condition):
    """True once the condition holds, False if the process ended before."""
    while not condition():
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def last_step(workdir):
    return max((record['step'] for record in read_scalars(workdir)), default=0)
