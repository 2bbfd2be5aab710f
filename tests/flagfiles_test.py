"""Every flagfile is a legal configuration whose networks have the expected sizes."""

import pytest

from spade_jax.config.flags import config_from_flags
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import abstract_networks, parameter_count
from tests.fixtures.cli import parsed_flags
from tests.program import ROOT

CONFIGS = ROOT / 'experiments' / 'configs'
# Parameters of generator, discriminator and encoder. Those of the first three are published.
PARAMETERS = {
    'coco_stuff': (97_480_899, 5_904_514),
    'ade20k': (96_492_483, 5_836_930),
    'cityscapes': (93_048_003, 5_601_410),
}


def config_of(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # Flagfiles include others by their path from the root.
    with parsed_flags(f'--flagfile={CONFIGS}/{name}.flags') as values:
        assert values.workdir.startswith('runs/')
        return config_from_flags(values)


def test_table_has_every_flagfile():
    assert set(PARAMETERS) == {path.stem for path in CONFIGS.glob('*.flags')}


@pytest.mark.parametrize('name', PARAMETERS)
def test_networks_have_expected_sizes(name, monkeypatch):
    config = config_of(name, monkeypatch)
    networks = abstract_networks(config, build_networks(config))
    counts = tuple(parameter_count(variables) for variables in networks if variables)
    assert counts == PARAMETERS[name]


def test_quickstart_is_the_packaged_one(tmp_path, monkeypatch):
    config = config_of('quickstart', monkeypatch)
    monkeypatch.chdir(tmp_path)
    with parsed_flags('--flagfile=quickstart') as values:
        assert config_from_flags(values) == config


PUBLISHED_256 = dict(batch_size=32, image_size=(256, 256), constant_epochs=100)


@pytest.mark.parametrize(
    'name, expected',
    [
        ('coco_stuff', dict(layout_channels=184, decay_epochs=0, **PUBLISHED_256)),
        ('ade20k', dict(layout_channels=151, decay_epochs=100, **PUBLISHED_256)),
        (
            'cityscapes',
            dict(
                layout_channels=36,
                batch_size=16,
                image_size=(256, 512),
                constant_epochs=100,
                decay_epochs=100,
            ),
        ),
    ],
)
def test_published_recipes(name, expected, monkeypatch):
    config = config_of(name, monkeypatch)
    data, optimizer = config.data, config.optimizer
    assert expected == dict(
        layout_channels=data.layout_channels,
        image_size=(data.image_height, data.image_width),
        batch_size=optimizer.batch_size,
        constant_epochs=optimizer.constant_epochs,
        decay_epochs=optimizer.decay_epochs,
    )
