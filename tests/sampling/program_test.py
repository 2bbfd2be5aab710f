"""--mode=sample and --mode=export with checkpoints of untrained generators."""

import re

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from tests import program
from tests.fixtures.cli import refusal, run_inline, succeed_inline
from tests.sampling import tiny


@pytest.fixture(scope='module')
def plain_run(tmp_path_factory):
    return tiny.write_checkpoint(tiny.PLAIN, tmp_path_factory.mktemp('runs') / 'plain')


@pytest.fixture(scope='module')
def styled_run(tmp_path_factory):
    return tiny.write_checkpoint(tiny.STYLED, tmp_path_factory.mktemp('runs') / 'styled')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data')
    tiny.write_labels(directory / 'labels', 'a', 'b')
    tiny.write_photos(directory / 'photos', 'a', 'b')
    return directory


def files_below(directory):
    files = [path for path in directory.rglob('*') if path.is_file()]
    return sorted(str(path.relative_to(directory)) for path in files)


def test_images_gallery_and_progress(plain_run, data, tmp_path):
    arguments = ['--mode=sample', f'--workdir={plain_run}', f'--label_dir={data}/labels']
    arguments += [f'--photo_dir={data}/photos', f'--output_dir={tmp_path}', '--sample_size=64x32']
    result = run_inline(*arguments)
    expected = [f'2 images: {tmp_path}', f'Gallery: {tmp_path}/index.html']
    assert result.stdout.splitlines() == expected
    assert '2/2' in result.stderr  # the progress bar
    assert files_below(tmp_path) == [
        'a.png',
        'b.png',
        'contact_sheet.png',
        'gallery/labels/a.png',
        'gallery/labels/b.png',
        'gallery/photos/a.jpg',
        'gallery/photos/b.jpg',
        'index.html',
    ]
    assert Image.open(tmp_path / 'a.png').size == (64, 32)


def test_nogallery_writes_images_only(plain_run, data, tmp_path):
    flags = [f'--label_dir={data}/labels', f'--output_dir={tmp_path}', '--nogallery']
    succeed_inline('--mode=sample', f'--workdir={plain_run}', *flags)
    assert files_below(tmp_path) == ['a.png', 'b.png']


def test_validation_set_is_default_and_has_photos(tmp_path):
    data = program.write_folders(tmp_path / 'data', count=2)
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(data))
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    message = refusal('--mode=sample', f'--workdir={workdir}', f'--output_dir={data}/val_label')
    assert f'is inside of validation_label_dir={data}/val_label' in message
    succeed_inline('--mode=sample', f'--workdir={workdir}')
    files = ['labels/0.png', 'labels/1.png', 'photos/0.jpg', 'photos/1.jpg']
    assert files_below(workdir / 'images' / 'gallery') == files


def test_default_output_of_demo_is_not_in_the_package(styled_run, data, tmp_path, monkeypatch):
    monkeypatch.setattr(spade_jax, 'DEMO', str(styled_run))
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in styled_run.rglob('*')}
    output = succeed_inline('--mode=sample', '--workdir=demo', f'--label_dir={data}/labels')
    assert '2 images: demo_images' in output
    assert (tmp_path / 'demo_images' / 'a.png').exists()
    assert {path: path.stat().st_mtime_ns for path in styled_run.rglob('*')} == before


@pytest.fixture
def sample_styled(styled_run, data, tmp_path):
    """From flags to the images by file name."""

    def sample(name, *flags):
        arguments = [f'--workdir={styled_run}', f'--label_dir={data}/labels', '--nogallery']
        succeed_inline('--mode=sample', *arguments, f'--output_dir={tmp_path}/{name}', *flags)
        files = files_below(tmp_path / name)
        return {file: np.asarray(Image.open(tmp_path / name / file)).astype(int) for file in files}

    return sample


def test_flags_of_image_styles(sample_styled, data):
    ends = [f'--style_image={data}/photos/a.jpg', f'--style_image_to={data}/photos/b.jpg']
    first = sample_styled('first', ends[0])
    images = sample_styled('interpolation', *ends, '--style_interpolation=3')
    assert list(images) == [f'{name}_{i}.png' for name in 'ab' for i in range(3)]
    np.testing.assert_allclose(images['a_0.png'], first['a.png'], atol=1)
    assert np.any(images['a_2.png'] != first['a.png'])


def test_flags_of_random_styles(sample_styled):
    flags = ['--fixed_style', '--truncation=0.5']
    seeds = ['--seed=1', '--seed_to=2', '--style_interpolation=2']
    images = sample_styled('interpolation', *flags, *seeds)
    for i, seed in enumerate((1, 2)):
        end = sample_styled(f'seed_{seed}', *flags, f'--seed={seed}')
        np.testing.assert_allclose(images[f'b_{i}.png'], end['b.png'], atol=1)


@pytest.fixture
def refusal_of(data, tmp_path):
    """From a work directory and flags to the refusal of sampling."""

    def refuse(workdir, *flags, labels=data / 'labels'):
        arguments = [f'--label_dir={labels}', f'--output_dir={tmp_path}/out', *flags]
        return refusal('--mode=sample', f'--workdir={workdir}', *arguments)

    return refuse


def test_illegal_truncation_is_refused(refusal_of, styled_run):
    assert 'truncation=2.0 is not in [0, 1]' in refusal_of(styled_run, '--truncation=2')


def test_style_without_latent_is_refused(refusal_of, plain_run, data):
    message = refusal_of(plain_run, f'--style_image={data}/photos/a.jpg')
    assert 'this model has no style latent; leave --style_image out' in message


def test_illegal_size_is_refused(refusal_of, plain_run):
    message = refusal_of(plain_run, '--sample_size=100x64')
    assert 'use 96 or 104' in message
    assert 'labels/a.png' not in message


def test_workdir_without_checkpoint_is_refused(refusal_of, tmp_path):
    assert 'no such directory' in refusal_of(tmp_path / 'nowhere')
    assert 'has no checkpoint' in refusal_of(tmp_path)


@pytest.mark.parametrize('name, message', [('nowhere', 'no such directory'), ('', 'no label map')])
def test_label_dir_without_label_maps_is_refused(name, message, refusal_of, plain_run, tmp_path):
    error = refusal_of(plain_run, labels=tmp_path / name)
    assert 'label_dir=' in error
    assert message in error


def test_unreadable_style_image_is_refused(refusal_of, styled_run, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    message = refusal_of(styled_run, f'--style_image={tmp_path}/broken.jpg')
    assert 'broken.jpg: the style image cannot be read' in message


def test_unknown_id_is_refused(refusal_of, plain_run, tmp_path):
    labels = tiny.write_labels(tmp_path / 'beyond', 'a', num_classes=9)
    assert 'a.png: label id 4 at pixel' in refusal_of(plain_run, labels=labels)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('bad', ['b', 'photo'])
def test_bad_map_stops_before_anything_is_written_or_is_skipped(bad, plain_run, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', *'abc')
    flags = [f'--label_dir={labels}', f'--output_dir={tmp_path}/out', '--batch_size=1']
    path = labels / f'{bad}.png'
    if bad == 'photo':
        path = tiny.write_photos(tmp_path / 'photos', *'abc') / 'b.jpg'
        flags.append(f'--photo_dir={tmp_path}/photos')
    path.write_bytes(path.read_bytes()[:50])
    arguments = ['--mode=sample', f'--workdir={plain_run}', *flags]
    message = refusal(*arguments)
    assert f'{path}: the ' in message
    assert message.endswith('; --on_bad_example=skip samples the others')
    assert not (tmp_path / 'out').exists()
    output = succeed_inline(*arguments, '--on_bad_example=skip')
    assert [name for name in files_below(tmp_path / 'out') if len(name) == 5] == ['a.png', 'c.png']
    assert f'2 images: {tmp_path}/out\n1 label maps were skipped:\n  {path}: the ' in output


def test_maps_that_are_all_bad_are_not_skipped(refusal_of, plain_run, tmp_path):
    labels = tiny.write_labels(tmp_path / 'beyond', 'a', 'b', num_classes=9)
    message = refusal_of(plain_run, '--on_bad_example=skip', labels=labels)
    assert 'label id' in message
    assert 'on_bad_example' not in message


def test_output_over_label_maps_is_refused(refusal_of, plain_run, data):
    message = refusal_of(plain_run, f'--output_dir={data}/labels')
    assert 'would overwrite the label map' in message


def test_flags_that_contradict_checkpoint_are_refused(refusal_of, plain_run):
    assert 'num_classes: 3 -> 5' in refusal_of(plain_run, '--num_classes=5')
    assert 'batch_size=0 is too small' in refusal_of(plain_run, '--batch_size=0')


@pytest.mark.parametrize(
    'flag, message',
    [
        ('--seed=-1', 'seed=-1 is too small; use 0 or more'),
        ('--batch_size=0', 'batch_size=0 is too small'),
        ('--label_remap=x', 'label_remap: "x" is not an entry'),
        ('--palette=x', 'palette=x: no such file'),
    ],
)
def test_bad_values_are_refused_before_the_model_is_loaded(flag, message, refusal_of, monkeypatch):
    monkeypatch.setattr(spade_jax, 'load', None)
    assert message in refusal_of('nowhere', flag)


def test_photo_dir_without_label_dir_is_refused(plain_run):
    message = refusal('--mode=sample', f'--workdir={plain_run}', '--photo_dir=photos')
    assert 'photo_dir=photos without label_dir' in message


def test_exported_file_needs_only_jax(styled_run, tmp_path):
    file = tmp_path / 'generator.jaxexport'
    output = succeed_inline('--mode=export', f'--workdir={styled_run}', f'--output_file={file}')
    arguments = '(labels int32[batch, 32, 32], style float32[batch, 4])'
    assert output.strip().endswith(f'MB, {arguments} -> images uint8[batch, height, width, 3]')
    program = jax.export.deserialize(bytearray(file.read_bytes()))
    images = program.call(np.zeros((2, 32, 32), np.int32), np.zeros((2, 4), np.float32))
    assert images.shape == (2, 32, 32, 3)


def test_output_among_inputs_is_refused(refusal_of, plain_run, data):
    """A later run would take the images for label maps, or find two photos of a map."""
    message = refusal_of(plain_run, f'--output_dir={data}/labels/new')
    assert f'is inside of label_dir={data}/labels: ' in message
    assert not (data / 'labels' / 'new').exists()
    photos = f'--photo_dir={data}/photos'
    assert 'of photo_dir=' in refusal_of(plain_run, photos, f'--output_dir={data}/photos')


def test_style_image_is_not_overwritten(refusal_of, styled_run, data, tmp_path):
    Image.open(data / 'photos' / 'a.jpg').save(tmp_path / 'a.png')
    style = f'--style_image={tmp_path}/a.png'
    message = refusal_of(styled_run, style, f'--output_dir={tmp_path}')
    assert f'labels/a.png would overwrite the input {tmp_path}/a.png' in message


SEED = '{"kind": "seed", "seed": 2, "truncation": 0.5}'


def test_style_of_the_studio_is_for_all_maps(styled_run, data, tmp_path):
    where = [
        '--mode=sample',
        f'--workdir={styled_run}',
        f'--label_dir={data}/labels',
        '--nogallery',
    ]
    succeed_inline(*where, f'--style_json={SEED}', f'--output_dir={tmp_path}/json')
    flags = ['--seed=2', '--fixed_style', '--truncation=0.5']
    succeed_inline(*where, *flags, f'--output_dir={tmp_path}/flags')
    for name in ('a.png', 'b.png'):
        assert (tmp_path / 'json' / name).read_bytes() == (tmp_path / 'flags' / name).read_bytes()


@pytest.mark.parametrize(
    'flags, reason',
    [
        ([f'--style_json={SEED}', '--seed=1'], 'is the whole style; leave out the other flags'),
        (['--style_json={"kind": "seed"}'], r'style_json=.* needs the fields seed, truncation'),
        (['--style_json=seed'], r'style_json=seed \(.*; copy the command of the studio'),
    ],
)
def test_wrong_styles_of_the_studio_are_refused(styled_run, data, flags, reason):
    where = ['--mode=sample', f'--workdir={styled_run}', f'--label_dir={data}/labels']
    assert re.search(reason, refusal(*where, *flags))
