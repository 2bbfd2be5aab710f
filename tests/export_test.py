"""The file that `export` writes runs in a process that has JAX and flatbuffers alone."""

import os
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.export import PLATFORMS, export
from tests import program
from tests.sampling import tiny

# What JAX depends on, and flatbuffers, which jax.export needs.
JAX_ALONE = ('jax', 'jaxlib', 'ml_dtypes', 'numpy', 'opt_einsum', 'scipy', 'flatbuffers')
READER = f"""
import importlib.metadata, pathlib, sys
# Importing what `pip install jax flatbuffers` does not bring fails.
for name in importlib.metadata.packages_distributions():
    if name not in {JAX_ALONE}:
        sys.modules[name] = None
import jax, numpy as np

for directory in map(pathlib.Path, sys.argv[1:]):
    exported = jax.export.deserialize((directory / 'generator.jaxexport').read_bytes())
    assert exported.platforms == {PLATFORMS}
    inputs = np.load(directory / 'inputs.npz')
    images = jax.jit(exported.call)(*(inputs[name] for name in inputs))
    np.save(directory / 'images.npy', images)
"""
# No shape inside the file has this size.
BATCH = 3


class Case(NamedTuple):
    """A generator, the size to export, and the names of the arguments."""

    config: Config
    size: tuple[int, int] | None
    arguments: list[str]


CASES = {
    'labels': Case(tiny.PLAIN, None, ['labels']),
    'larger': Case(tiny.PLAIN, (48, 32), ['labels']),
    'style': Case(tiny.STYLED, None, ['labels', 'style']),
    'edges': Case(
        tiny.STYLED.replace(condition='labels+edges'), None, ['labels', 'instances', 'style']
    ),
    'rgb': Case(tiny.PLAIN.replace(condition='rgb', dontcare=False), None, ['labels']),
}


def random_inputs(case: Case) -> dict[str, np.ndarray]:
    """Label maps of few distinct patches, which are looked up; and what else the case needs."""
    random = np.random.default_rng(0)
    width, height = case.size or (32, 32)
    blocks = random.integers(0, 3, (BATCH, 2, 2), np.int32)
    labels = blocks.repeat(height // 2, axis=1).repeat(width // 2, axis=2)
    if case.config.data.dontcare:
        labels[0, :8] = 255
    if case.config.data.condition == 'rgb':
        labels = random.integers(0, 256, (BATCH, height, width, 3), np.uint8)
    inputs = {
        'labels': labels,
        'instances': random.integers(0, 2, (BATCH, height, width), np.int32),
        'style': random.standard_normal((BATCH, 4), np.float32),
    }
    return {name: inputs[name] for name in case.arguments}


class Exported(NamedTuple):
    """What `export` returned, the inputs and the images that another process sampled."""

    arguments: dict[str, Any]
    inputs: dict[str, np.ndarray]
    images: np.ndarray


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Name of a case -> Exported; one process samples all of them."""
    root = tmp_path_factory.mktemp('exported')
    arguments, inputs = {}, {name: random_inputs(case) for name, case in CASES.items()}
    for name, case in CASES.items():
        path = root / name / 'generator.jaxexport'
        arguments[name] = export(tiny.generator(case.config), str(path), case.size)
        np.savez(root / name / 'inputs.npz', **inputs[name])
    environment = dict(program.environment(1))
    del environment['PYTHONPATH']
    subprocess.run([sys.executable, '-c', READER, *CASES], cwd=root, env=environment, check=True)
    images = {name: np.load(root / name / 'images.npy') for name in CASES}
    return {name: Exported(arguments[name], inputs[name], images[name]) for name in CASES}


@pytest.mark.parametrize('name', CASES)
def test_export_returns_shapes_of_arguments(exported, name):
    arguments, inputs, _ = exported[name]
    shapes = {key: ('batch', *array.shape[1:]) for key, array in inputs.items()}
    actual = {key: (str(value.shape[0]), *value.shape[1:]) for key, value in arguments.items()}
    assert list(actual.items()) == list(shapes.items())


@pytest.mark.parametrize('name', CASES)
def test_export_returns_types_of_arguments(exported, name):
    arguments, inputs, _ = exported[name]
    types = {key: array.dtype for key, array in inputs.items()}
    assert {key: value.dtype for key, value in arguments.items()} == types


@pytest.mark.parametrize('name', CASES)
def test_jax_alone_samples_same_bits(exported, name):
    _, inputs, images = exported[name]
    expected = tiny.generator(CASES[name].config)(**inputs, batch_size=BATCH)
    assert np.ptp(images) > 20
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, expected)


def test_example_of_sampling_page_runs(tmp_path, monkeypatch):
    page = (program.ROOT / 'docs' / 'sampling.md').read_text()
    (lines,) = [block for block in page.split('```') if 'jax.export.deserialize' in block]
    export(tiny.generator(tiny.PLAIN), str(tmp_path / 'generator.jaxexport'), (256, 256))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines.removeprefix('python\n'), names)
    assert names['images'].shape == (4, 256, 256, 3)
    assert names['images'].dtype == np.uint8


@pytest.fixture(scope='module')
def generator():
    return tiny.generator(tiny.PLAIN)


def test_export_refuses_size_that_does_not_divide(generator, tmp_path):
    with pytest.raises(UserError, match='33x32: its width is not divisible by'):
        export(generator, str(tmp_path / 'file'), (33, 32))


def test_export_refuses_directory_as_file(generator, tmp_path):
    with pytest.raises(UserError, match='is a directory'):
        export(generator, str(tmp_path))


def test_export_replaces_its_own_files_only(generator, tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'my photo')
    with pytest.raises(UserError, match='file exists and is no exported generator; move it away'):
        export(generator, str(path))
    assert path.read_bytes() == b'my photo'
    path.write_bytes(b'')
    export(generator, str(path))
    assert export(generator, str(path))


def test_export_refuses_device_as_file(generator, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(UserError, match='pipe is not a regular file and is not replaced'):
        export(generator, str(tmp_path / 'pipe'))
    assert (tmp_path / 'pipe').is_fifo()


def test_export_refuses_path_through_a_file(generator, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='output_file=.* cannot be written'):
        export(generator, str(tmp_path / 'file' / 'generator.jaxexport'))
    assert [path.name for path in tmp_path.rglob('*')] == ['file']
