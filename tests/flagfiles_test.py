"""Every flagfile is a legal configuration whose networks build, with the published numbers of parameters."""

import pathlib

import pytest
from absl import flags

from spade_jax import main as program  # noqa: F401  (its flags stand in the flagfiles too)
from spade_jax.config import flags as config_flags
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import abstract_networks, parameter_count

ROOT = pathlib.Path(__file__).parent.parent
FLAGFILES = sorted(path.name for path in (ROOT / 'experiments').glob('*.flags'))
PUBLISHED = {
    'coco_stuff.flags': (97_480_899, 5_904_514),
    'ade20k.flags': (96_492_483, 5_836_930),
    'cityscapes.flags': (93_048_003, 5_601_410),
}


def config_of(flagfile, monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles name one another from the root of the project
    values = {
        name: flag.value for name, flag in ((name, flags.FLAGS[name]) for name in flags.FLAGS)
    }
    try:
        flags.FLAGS(['program', f'--flagfile=experiments/{flagfile}'])
        assert flags.FLAGS.workdir.startswith('runs/')
        return config_flags.config_from_flags(flags.FLAGS)
    finally:
        for name, value in values.items():
            flags.FLAGS[name].value = value
            flags.FLAGS[name].present = 0
        flags.FLAGS.unparse_flags()


def test_the_recipes_are_there():
    assert {
        'quickstart.flags',
        'scenes_256.flags',
        'camvid.flags',
        'facades.flags',
        *PUBLISHED,
    } <= set(FLAGFILES)


@pytest.mark.parametrize('flagfile', FLAGFILES)
def test_networks_build(flagfile, monkeypatch):
    config = config_of(flagfile, monkeypatch)
    generator, discriminator, encoder = abstract_networks(config, build_networks(config))
    assert (encoder is not None) == config.model.style_encoder
    counts = parameter_count(generator), parameter_count(discriminator)
    assert counts == PUBLISHED.get(flagfile, counts)
    assert min(counts) > 10_000


@pytest.mark.parametrize(
    'flagfile, expected',
    [
        (
            'coco_stuff.flags',
            dict(
                layout_channels=184,
                batch_size=32,
                image_height=256,
                image_width=256,
                constant_epochs=100,
                decay_epochs=0,
            ),
        ),
        (
            'ade20k.flags',
            dict(
                layout_channels=151,
                batch_size=32,
                image_height=256,
                image_width=256,
                constant_epochs=100,
                decay_epochs=100,
            ),
        ),
        (
            'cityscapes.flags',
            dict(
                layout_channels=36,
                batch_size=16,
                image_height=256,
                image_width=512,
                constant_epochs=100,
                decay_epochs=100,
            ),
        ),
    ],
)
def test_published_recipes(flagfile, expected, monkeypatch):
    config = config_of(flagfile, monkeypatch)
    assert {name: getattr(config, name) for name in expected} == expected
