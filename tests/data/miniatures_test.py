"""Every data set in miniature, from the flags of a user to an example of the training size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spade_jax.config import flags as config_flags
from spade_jax.data.pipeline.paired_transforms import Geometry, transform
from spade_jax.data.sources.open_source import check_source, open_source
from tests.data.miniatures import MINIATURES
from tests.fixtures.cli import parsed_flags

SMALL = [
    '--crop_size=32',
    '--load_size=36',
    '--aspect_ratio=1',
    '--batch_size=4',
    '--data_workers=2',
]
WITHOUT_VALIDATION = {'camvid_32'}


def config_from(arguments):
    """The Config that a command line with these flags describes."""
    with parsed_flags(*arguments) as values:
        return config_flags.config_from_flags(values)


@pytest.mark.parametrize('name', MINIATURES)
def test_flags_lead_to_readable_examples(name, tmp_path):
    config = config_from([*MINIATURES[name](tmp_path), *SMALL])
    sources = {split: open_source(config.data, split) for split in ('train', 'validation')}
    assert (sources['validation'] is None) == (name in WITHOUT_VALIDATION)
    for split, source in sources.items():
        if source is None:
            continue
        assert (
            len(source)
            == len(source.names)
            == len(set(source.names))
            == len(source.locations)
            >= (4 if split == 'train' else 2)
        )
        assert check_source(source, config.data) == {}
        for index in range(len(source)):
            example, maps = source.read(index), source.read_maps(index)
            assert maps.image is None
            assert np.array_equal(maps.label, example.label)
            assert example.image.dtype == np.uint8
            assert example.image.ndim == 3


@pytest.mark.parametrize('name', MINIATURES)
def test_examples_are_brought_to_training_size(name, tmp_path):
    config = config_from([*MINIATURES[name](tmp_path), *SMALL]).data
    example = open_source(config, 'train').read(0)
    image, label, instance = transform(example, Geometry.from_config(config))
    assert image.shape == (32, 32, 3)
    assert image.std() > 10
    if config.uses_labels:
        assert label.shape == (32, 32)
        known = [*range(config.label_channels), *([255] if config.dontcare else [])]
        assert np.isin(label, known).all()
        assert len(np.unique(label)) > 1
    else:
        assert label.shape == (32, 32, 3)
        assert label.dtype == np.uint8
    if config.instance_edges:
        assert instance.shape == (32, 32)
        assert len(np.unique(instance)) > 1
    else:
        assert instance is None


@pytest.mark.parametrize(
    'name, expected',
    [
        ('coco_stuff', dict(num_classes=182, dontcare=True, condition='labels+edges')),
        ('ade20k', dict(num_classes=150, dontcare=True, condition='labels')),
        ('cityscapes_19', dict(num_classes=19, dontcare=True, condition='labels+edges')),
        ('facades', dict(num_classes=12, dontcare=False)),
        ('camvid', dict(num_classes=11, dontcare=True)),
        ('celebamask_hq', dict(num_classes=19, flip=False)),
        ('color_masks', dict(num_classes=3, dontcare=True)),
        ('pairs', dict(condition='rgb', direction='b_to_a', layout_channels=3)),
        ('edge_images', dict(condition='rgb', layout_channels=3)),
    ],
)
def test_dataset_flag_sets_options(name, expected, tmp_path):
    config = config_from(
        MINIATURES[name](tmp_path) + ['--crop_size=256', '--load_size=256', '--aspect_ratio=1']
    )
    assert {field: getattr(config.data, field) for field in expected} == expected


def test_facades_have_every_id(tmp_path):
    config = config_from([*MINIATURES['facades'](tmp_path), *SMALL])
    source = open_source(config.data, 'train')
    assert set(
        itertools.chain.from_iterable(
            np.unique(source.read_maps(index).label) for index in range(len(source))
        )
    ) == set(range(12))
