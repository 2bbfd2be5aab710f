"""Golden numbers of evaluation networks, whose weights follow from their names."""

import hashlib
import json
import os
import pathlib
import re
import zlib

import numpy as np

_OWN = pathlib.Path(__file__).parents[1] / 'golden'
# Where files are looked for, the first directory first.
_DIRECTORIES = pathlib.Path(os.environ.get('SPADE_JAX_PARITY_DIR', _OWN)), _OWN
_CLASSIFIER = re.compile(r'seg\.weight|conv_last\.1\.weight|base\.aspp\.c\d\.weight')


class Golden:
    """The arrays of a file and what its meta says of them."""

    def __init__(self, name):
        with np.load(_find(f'{name}.npz')) as arrays:
            self.arrays = {key: arrays[key] for key in arrays}
        self.meta = json.loads(str(self.arrays.pop('meta')))

    def __getitem__(self, key):
        return self.arrays[key]

    def parts(self, depth):
        """The parts of the keys at a depth: 1 -> cases."""
        return list(dict.fromkeys(k.split('/')[depth] for k in self.arrays if k.count('/') > depth))

    def check(self, actual, key, noise_of=None):
        """Asserts that `actual` is an array; `noise_of` is the key of its noise, if another one."""
        expected, noise = self.arrays[key], self.meta['noise'].get(noise_of or key, 0.0)
        scale = float(np.abs(expected).max())
        actual = np.asarray(actual)
        assert actual.shape == expected.shape, key
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=max(20 * noise, 1e-5 * scale), err_msg=key
        )


def assert_same_classes(actual, expected):
    """Predictions agree but for ties."""
    assert actual.shape == expected.shape
    assert np.mean(actual != expected) <= 1e-3


def remember_scores(network):
    """The segmentation network, which computes the scores of an image once."""
    compute, known = network.scores, {}

    def scores(image, *, multi_scale):
        key = image.tobytes(), multi_scale
        if key not in known:
            known[key] = compute(image, multi_scale=multi_scale)
        return known[key]

    network.scores = scores
    return network


def cases(name):
    """The cases of a file, for parametrization."""
    return Golden(name).parts(1)


def shapes_of(network):
    """What a JSON file says of a network; 'shapes' are the names and shapes of its arrays."""
    return json.loads(_find(f'shapes_{network}.json').read_text())


def _find(name):
    paths = [directory / 'evaluation' / name for directory in _DIRECTORIES]
    return next(path for path in paths if path.exists())


def recipe_state(shapes, salt=''):
    """A state dictionary of these names and shapes."""
    return {name: recipe_array(name, shape, salt) for name, shape in shapes.items()}


def recipe_array(name, shape, salt=''):
    if name == 'up.weight':  # Not drawn: it interpolates linearly.
        t = 1 - np.abs(np.arange(16) / 8 - 0.9375)
        return np.broadcast_to(np.outer(t, t), shape).astype(np.float32)
    random = np.random.default_rng(zlib.crc32((salt + name).encode()))
    last = name.rsplit('.', 1)[-1]
    if last in ('running_mean', 'bias'):
        values = 0.1 * random.standard_normal(shape)
    elif last == 'running_var':
        values = 0.5 + random.random(shape)
    elif len(shape) == 1:
        closes_branch = name.endswith(('.bn3.weight', '.increase.bn.weight'))
        values = (0.8 + 0.4 * random.random(shape)) * (0.3 if closes_branch else 1)
    else:
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        values = np.abs(values) if re.match(r'lin\d', name) else values
        values = 0.1 * values if _CLASSIFIER.fullmatch(name) else values
    return values.astype(np.float32)


def sha256(state):
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(np.ascontiguousarray(state[name], '<f4').tobytes())
    return digest.hexdigest()
