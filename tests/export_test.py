"""The file of --mode=export, read as docs/sampling.md says, in a process without this package."""

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
sample = jax.export.deserialize(open('generator', 'rb').read())
assert sample.platforms == {PLATFORMS}
inputs = np.load('inputs.npz')
np.save('images.npy', jax.jit(sample.call)(*inputs.values()))
"""
CONFIGS = {
    'labels': (tiny.PLAIN, None),
    'larger': (tiny.PLAIN, (48, 32)),
    'style': (tiny.STYLED, None),
    'edges and style': (tiny.STYLED.replace(condition='labels+edges'), None),
    'rgb': (tiny.PLAIN.replace(condition='rgb', dontcare=False), None),
}


def run_python(script, directory):
    """The output of a script in a process that does not find this package."""
    environment = program.environment(1) | {'PYTHONPATH': ''}
    options = dict(capture_output=True, text=True, cwd=directory, env=environment)
    result = subprocess.run([sys.executable, '-c', script], **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def random_inputs(config, count, height, width):
    """Arguments of an exported function, by name."""
    random = np.random.default_rng(0)
    # Few different neighborhoods, so that the generator looks them up.
    quarters = random.integers(0, 3, (count, 2, 2), np.int32)
    labels = np.kron(quarters, np.ones((height // 2, width // 2), np.int32))
    if config.data.condition == 'rgb':
        labels = random.integers(0, 256, (*labels.shape, 3), np.uint8)
    if config.data.dontcare:
        labels[0, :8] = 255
    inputs = {'labels': labels}
    if config.data.instance_edges:
        inputs['instances'] = random.integers(0, 2, labels.shape, np.int32)
    if config.model.style_encoder:
        inputs['style'] = random.standard_normal((count, 4), np.float32)
    return inputs


@pytest.mark.parametrize('name', CONFIGS)
def test_exported_generator_returns_the_same_images(name, tmp_path):
    config, size = CONFIGS[name]
    generator = tiny.generator(config)
    width, height = size or (32, 32)
    inputs = random_inputs(config, 3, height, width)
    assert list(export(generator, str(tmp_path / 'generator'), size)) == list(inputs)
    np.savez(tmp_path / 'inputs.npz', **inputs)
    run_python(READER, tmp_path)
    images = np.load(tmp_path / 'images.npy')
    assert images.dtype == np.uint8
    assert np.ptp(images) > 20
    np.testing.assert_array_equal(images, generator(**inputs, batch_size=3))


def test_example_of_sampling_page_runs(tmp_path):
    blocks = (program.ROOT / 'docs' / 'sampling.md').read_text().split('```')
    (example,) = (block for block in blocks if 'jax.export.deserialize' in block)
    export(tiny.generator(tiny.PLAIN), str(tmp_path / 'generator.jaxexport'))
    script = example.removeprefix('python\n').replace('256, 256', '32, 32')
    output = run_python(f'{script}print(images.shape, images.dtype)', tmp_path)
    assert output == '(4, 32, 32, 3) uint8\n'


@pytest.mark.parametrize(
    'path, size, message',
    [
        ('new/generator', (36, 32), 'its width is not divisible by 8'),
        ('file/generator', None, 'output_file=.*generator cannot be written .*choose another file'),
        ('', None, 'is a directory; give the name of a file'),
    ],
)
def test_export_rejects(path, size, message, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=message):
        export(tiny.generator(tiny.PLAIN), str(tmp_path / path), size)
    assert [entry.name for entry in tmp_path.iterdir()] == ['file']
