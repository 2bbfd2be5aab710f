"""Paired folders of noise, and their configuration."""

import itertools
import pathlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.errors import UserError

SIZES = [(48, 40), (40, 52), (44, 44), (37, 61), (64, 36)]  # (width, height)
SQUARES = [(40, 40), (36, 36), (50, 50)]


def write_examples(
    root,
    sizes=SIZES,
    *,
    splits=('train', 'val'),
    num_classes=4,
    label_dtype=np.uint8,
    wide_instances=False,
    rgb=False,
) -> pathlib.Path:
    """Write noise images, label maps and instance maps of these sizes; return `root`."""
    random = np.random.default_rng(1)
    for split, (number, (width, height)) in itertools.product(splits, enumerate(sizes)):
        paths = [root / f'{split}_{role}' for role in ('img', 'label', 'inst')]
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
        image, condition = random.integers(0, 256, (2, height, width, 3), np.uint8)
        label = random.integers(0, num_classes, (height, width)).astype(label_dtype)
        ids = random.integers(0, 60000, (height, width))
        ids = ids.astype(np.int32) * 1000 if wide_instances else ids.astype(np.uint16)
        Image.fromarray(image).save(paths[0] / f'{number}.png')
        Image.fromarray(condition if rgb else label).save(paths[1] / f'{number}.png')
        Image.fromarray(ids).save(paths[2] / f'{number}.{"tif" if wide_instances else "png"}')
    return root


def config_of(root, **changes) -> DataConfig:
    """The configuration of `write_examples(root)`, with its records in root/records."""
    settings = dict(dataset='folders', data_dir=str(root), records_dir=str(root / 'records'))
    sizes = dict(num_classes=4, load_size=36, crop_size=32, data_workers=2)
    return DataConfig(**(settings | sizes | changes))


def assert_same(one, other):
    """Assert that two examples or batches have the same pixels and dtypes."""
    for part, other_part in zip(one, other, strict=True):
        assert (part is None) == (other_part is None)
        if part is not None:
            assert part.dtype == other_part.dtype
            np.testing.assert_array_equal(part, other_part)


def message(call, *arguments) -> str:
    """The text of the UserError that a call raises."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value)
    return str(error.value)
