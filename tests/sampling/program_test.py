"""--mode=sample and --mode=export from the command line, with checkpoints of untrained generators."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from PIL import Image

from tests import program
from tests.sampling import tiny


def test_the_readme_has_every_flag_of_sampling():
    readme, source = (
        (program.ROOT / file).read_text() for file in ('README.md', 'spade_jax/main.py')
    )
    flags = re.findall(r"DEFINE_\w+\('(\w+)', [^']*(?:'[^']*', )?\s*'sample[:,]", source)
    table = readme[
        readme.index('| flag of `--mode=sample` |') : readme.index('In Colab or any notebook')
    ]
    assert len(flags) >= 12
    assert [flag for flag in flags if f'--{flag}' not in table and f'--no{flag}' not in table] == []


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


def succeed(*arguments):
    result = program.run(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def files_below(directory):
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob('*') if path.is_file()
    )


@pytest.mark.slow
def test_pictures_gallery_and_progress(plain_run, data, tmp_path):
    arguments = ['--mode=sample', f'--workdir={plain_run}', f'--label_dir={data}/labels']
    result = succeed(
        *arguments,
        f'--photo_dir={data}/photos',
        f'--output_dir={tmp_path}/a',
        '--sample_size=64x32',
    )
    assert result.stdout.splitlines() == [
        f'2 pictures: {tmp_path}/a',
        f'Gallery: {tmp_path}/a/index.html',
    ]
    assert '2/2' in result.stderr  # the progress bar
    assert files_below(tmp_path / 'a') == [
        'a.png',
        'b.png',
        'contact_sheet.png',
        'gallery/labels/a.png',
        'gallery/labels/b.png',
        'gallery/photos/a.jpg',
        'gallery/photos/b.jpg',
        'index.html',
    ]
    assert Image.open(tmp_path / 'a' / 'a.png').size == (64, 32)
    succeed(*arguments, f'--output_dir={tmp_path}/b', '--nogallery')
    assert files_below(tmp_path / 'b') == ['a.png', 'b.png']


@pytest.mark.slow
def test_the_validation_set_brings_its_photographs(tmp_path):
    data = program.write_folders(tmp_path / 'data', count=2)
    workdir = tiny.write_checkpoint(
        dataclasses.replace(tiny.PLAIN, dataset='folders', data_dir=str(data)), tmp_path / 'run'
    )
    succeed('--mode=sample', f'--workdir={workdir}')
    assert files_below(workdir / 'pictures' / 'gallery') == [
        'labels/0.png',
        'labels/1.png',
        'photos/0.jpg',
        'photos/1.jpg',
    ]
    assert 'photograph' in (workdir / 'pictures' / 'index.html').read_text()


@pytest.mark.slow
def test_styles_from_the_command_line(styled_run, data, tmp_path):
    arguments = [
        '--mode=sample',
        f'--workdir={styled_run}',
        f'--label_dir={data}/labels',
        '--nogallery',
    ]

    def pictures(name, *more):
        succeed(*arguments, f'--output_dir={tmp_path}/{name}', *more)
        return {
            file: np.asarray(Image.open(tmp_path / name / file)).astype(int)
            for file in files_below(tmp_path / name)
        }

    photo = f'{data}/photos/a.jpg'
    of_photo = pictures('photo', f'--style_image={photo}')
    way = pictures(
        'way',
        f'--style_image={photo}',
        f'--style_image_to={data}/photos/b.jpg',
        '--style_interpolation=3',
    )
    assert list(way) == [f'{name}_{i}.png' for name in 'ab' for i in range(3)]
    assert np.abs(way['a_0.png'] - of_photo['a.png']).max() <= 1 and np.any(
        way['a_2.png'] != of_photo['a.png']
    )
    between = pictures(
        'seeds',
        '--seed=1',
        '--seed_to=2',
        '--style_interpolation=2',
        '--fixed_style',
        '--truncation=0.5',
    )
    ends = [
        pictures(f'seed_{seed}', f'--seed={seed}', '--fixed_style', '--truncation=0.5')
        for seed in (1, 2)
    ]
    for i in range(2):
        np.testing.assert_allclose(between[f'b_{i}.png'], ends[i]['b.png'], atol=1)


@pytest.mark.slow
def test_sampling_refuses_in_one_line(plain_run, styled_run, data, tmp_path):
    def refusal(workdir, *more, labels=data / 'labels'):
        return program.refusal(
            '--mode=sample',
            f'--workdir={workdir}',
            f'--label_dir={labels}',
            f'--output_dir={tmp_path}/out',
            *more,
        )

    assert 'truncation=2.0 is not in [0, 1]' in refusal(styled_run, '--truncation=2')
    assert 'this model has no style encoder' in refusal(
        plain_run, f'--style_image={data}/photos/a.jpg'
    )
    assert (
        'labels/a.png' not in (message := refusal(plain_run, '--sample_size=100x64'))
        and 'use 96 or 128' in message
    )
    assert 'no such directory' in refusal(tmp_path / 'nowhere')
    assert (
        'label_dir=' in (message := refusal(plain_run, labels=tmp_path / 'nowhere'))
        and 'no such directory' in message
    )
    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    assert 'broken.jpg: the style picture cannot be read' in refusal(
        styled_run, f'--style_image={tmp_path}/broken.jpg'
    )
    assert 'a.png: label id 4 at pixel' in refusal(
        plain_run, labels=tiny.write_labels(tmp_path / 'beyond', 'a', num_classes=9)
    )
    assert 'photo_dir=photos without label_dir' in program.refusal(
        '--mode=sample', f'--workdir={plain_run}', '--photo_dir=photos'
    )


@pytest.mark.slow
def test_export(styled_run, tmp_path):
    file = tmp_path / 'generator.jaxexport'
    result = succeed('--mode=export', f'--workdir={styled_run}', f'--output_file={file}')
    assert result.stdout.strip().endswith(
        'MB, (labels int32[batch, 32, 32], style float32[batch, 4]) -> pictures uint8[batch, height, width, 3]'
    )
    drawing = jax.export.deserialize(bytearray(file.read_bytes()))
    assert drawing.call(np.zeros((2, 32, 32), np.int32), np.zeros((2, 4), np.float32)).shape == (
        2,
        32,
        32,
        3,
    )
    assert 'sample_size=native, but a file is for one size' in program.refusal(
        '--mode=export', f'--workdir={styled_run}', f'--output_file={file}', '--sample_size=native'
    )
