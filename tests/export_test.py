"""The file of --mode=export, read as docs/sampling.md says, in a process without this package."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.export import PLATFORMS, export
from tests import program
from tests.sampling import tiny

READER = f"""
import sys
sys.modules['spade_jax'] = sys.modules['flax'] = None  # an import of them fails
import jax, numpy as np
drawing = jax.export.deserialize(open(sys.argv[1], 'rb').read())
assert drawing.platforms == {PLATFORMS}
inputs = np.load(sys.argv[2])
np.save(sys.argv[3], jax.jit(drawing.call)(*(inputs[name] for name in inputs)))
"""
CONFIGS = {
    'labels': (tiny.PLAIN, None),
    'larger': (tiny.PLAIN, (96, 64)),
    'style': (tiny.STYLED, None),
    'edges and style': (dataclasses.replace(tiny.STYLED, condition='labels+edges'), None),
    'rgb': (dataclasses.replace(tiny.PLAIN, condition='rgb', dontcare=False), None),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_jax_alone_draws_the_same_bits(name, tmp_path):
    config, size = CONFIGS[name]
    generator, random = tiny.generator(config), np.random.default_rng(0)
    file = tmp_path / 'new' / 'generator.jaxexport'
    wanted = export(generator, str(file), size)
    width, height = size or (32, 32)
    shape = 3, height, width  # as many as no shape of the file names
    regions = (
        random.integers(0, 3, (3, 2, 2), np.int32)
        .repeat(height // 2, axis=1)
        .repeat(width // 2, axis=2)
    )  # few kinds of neighbourhoods, so they are looked up
    inputs = {
        'labels': random.integers(0, 256, (*shape, 3), np.uint8)
        if config.data.condition == 'rgb'
        else regions
    }
    if config.data.instance_edges:
        inputs['instances'] = random.integers(0, 2, shape, np.int32)
    if config.model.style_encoder:
        inputs['style'] = random.standard_normal((3, 4), np.float32)
    assert list(wanted) == list(inputs)
    if config.data.dontcare:
        inputs['labels'][0, :8] = 255
    np.savez(tmp_path / 'inputs.npz', **inputs)
    result = subprocess.run(
        [
            sys.executable,
            '-c',
            READER,
            str(file),
            str(tmp_path / 'inputs.npz'),
            str(tmp_path / 'pictures.npy'),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in program.environment(1).items() if name != 'PYTHONPATH'},
    )
    assert result.returncode == 0, result.stderr
    pictures = np.load(tmp_path / 'pictures.npy')
    assert pictures.dtype == np.uint8 and np.ptp(pictures) > 20
    np.testing.assert_array_equal(pictures, generator(**inputs, batch_size=3))


def test_example_of_sampling_page_runs(tmp_path):
    (lines,) = [
        block
        for block in (program.ROOT / 'docs' / 'sampling.md').read_text().split('```')
        if 'jax.export.deserialize' in block
    ]
    export(tiny.generator(tiny.PLAIN), str(tmp_path / 'generator.jaxexport'), (256, 256))
    script = lines.removeprefix('python\n') + 'print(images.shape, images.dtype)'
    result = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=program.environment(1) | {'PYTHONPATH': ''},
    )
    assert result.stdout.strip() == '(4, 256, 256, 3) uint8', result.stderr


def test_what_cannot_be_exported(tmp_path):
    plain = tiny.generator(tiny.PLAIN)
    with pytest.raises(UserError, match='its width is not divisible by 32'):
        export(plain, str(tmp_path / 'file'), (40, 32))
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='output_file=.* cannot be written'):
        export(plain, str(tmp_path / 'file' / 'generator.jaxexport'))
    with pytest.raises(UserError, match='is a directory'):
        export(plain, str(tmp_path))
    assert not list(tmp_path.rglob('*.part'))
