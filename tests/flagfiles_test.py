"""Every flagfile is a legal configuration whose networks have the expected sizes."""

import dataclasses
import functools

import pytest

from spade_jax.config.config import Config
from spade_jax.config.flags import config_from_flags
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_networks, parameter_count
from tests.fixtures.cli import parsed_flags
from tests.program import ROOT

CONFIGS = ROOT / 'spade_jax' / 'configs'
# Parameters of generator, discriminator and encoder. Those of the first three are published.
PARAMETERS = {
    'coco_stuff': (97_480_899, 5_904_514),
    'ade20k': (96_492_483, 5_836_930),
    'cityscapes': (93_048_003, 5_601_410),
    'camvid': (92_329_155, 5_552_258),
    'camvid_cpu': (5_026_179, 1_399_874),
    'demo': (3_623_683, 1_400_898, 261_072),
    'demo_128': (3_592_979, 1_400_898, 261_072),
    'demo_64': (3_507_747, 1_400_898, 261_072),
    'facades': (92_329_155, 5_552_258),
    'gan_landscapes': (428_196, 298_505),
    'gan_photos': (18_358_645, 14_171_425),
    'pix2pix_day2night': (54_413_955, 2_768_705),
    'pix2pix_edges2shoes': (54_413_955, 2_768_705),
    'pix2pix_facades': (54_413_955, 2_768_705),
    'pix2pix_maps': (54_413_955, 2_768_705),
    'pix2pixhd_ade20k': (182_907_395, 5_838_722),
    'pix2pixhd_cityscapes_1024': (182_546_755, 5_603_202),
    'pix2pixhd_cityscapes_2048': (182_857_059, 8_404_803),
    'quickstart': (1_122_467, 348_226, 261_072),
    'scenes_256': (109_101_763, 5_556_354, 10_463_424),
    'tour/gan': (427_851, 296_905),
    'tour/gan_least_squares': (427_851, 296_905),
    'tour/gan_growing': (428_196, 297_353),
    'tour/pix2pix': (1_833_123, 174_497),
    'tour/pix2pixhd': (1_977_443, 348_610),
    'tour/spade_input_only': (4_208_115, 348_226),
    'tour/spade_concat': (4_447_107, 348_226),
    'tour/spade': (5_030_067, 348_226),
    'ablations/compact_decoder': (60_642_771, 5_836_930),
    'ablations/decoder_concat': (79_248_003, 5_836_930),
    'ablations/pix2pixhdpp_spade': (236_879_235, 5_836_930),
    'ablations/pix2pixhdpp_concat': (195_453_315, 5_836_930),
    'ablations/pix2pixhdpp': (182_928_771, 5_836_930),
    'ablations/compact_pix2pixhdpp': (102_996_003, 5_836_930),
    'ablations/noise_start': (111_942_595, 5_836_930),
    'ablations/kernel_5x5': (146_885_571, 5_836_930),
    'ablations/kernel_1x1': (71_295_939, 5_836_930),
    'ablations/wide_decoder': (140_682_163, 5_836_930),
    'ablations/batch_norm': (96_492_483, 5_836_930),
    'ablations/instance_norm': (96_492_483, 5_836_930),
    'ablations/without_perceptual_loss': (96_492_483, 5_836_930),
    'ablations/without_feature_matching': (96_492_483, 5_836_930),
    'ablations/deep_discriminator': (96_492_483, 14_225_538),
    'ablations/pix2pixhdpp_instance_norm': (182_886_019, 5_836_930),
    'ablations/pix2pixhdpp_without_spectral_norm': (182_886_019, 5_836_930),
}
# Millions of parameters of the generators in tables 3 and 4 of Park et al. 2019.
MILLIONS = {
    'ade20k': 96,
    'ablations/compact_decoder': 61,
    'ablations/decoder_concat': 79,
    'ablations/pix2pixhdpp_spade': 237,
    'ablations/pix2pixhdpp_concat': 195,
    'ablations/pix2pixhdpp': 183,
    'ablations/compact_pix2pixhdpp': 103,
    'ablations/wide_decoder': 141,
}


def config_of(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # Where there is no checkout.
    with parsed_flags(f'--flagfile={name}') as values:
        assert values.workdir.startswith('runs/')
        return config_from_flags(values)


def test_table_has_every_flagfile():
    paths = (path.relative_to(CONFIGS) for path in CONFIGS.rglob('*.flags'))
    assert set(PARAMETERS) == {path.with_suffix('').as_posix() for path in paths}


@pytest.mark.parametrize('name', MILLIONS)
def test_table_has_millions_of_the_paper(name):
    assert round(PARAMETERS[name][0] / 1e6) == MILLIONS[name]


@functools.cache  # Some ablations have the same networks.
def parameter_counts(model, data):
    """Network -> number of its parameters; fastest to trace with the choices of an accelerator."""
    config = dataclasses.replace(Config.create(), model=model, data=data)
    networks = abstract_networks(build_model(config))
    return {network: parameter_count(variables) for network, variables in networks.items()}


@pytest.mark.parametrize('name', PARAMETERS)
def test_networks_have_expected_sizes(name, monkeypatch, tmp_path):
    config = config_of(name, monkeypatch, tmp_path)
    counts = parameter_counts(config.model.on_accelerator(), config.data)
    names = ('generator', 'discriminator', 'encoder')[: len(PARAMETERS[name])]
    assert counts == dict(zip(names, PARAMETERS[name], strict=True))


@pytest.mark.parametrize('name', PARAMETERS)
def test_flagfiles_are_also_files_of_the_checkout(name, tmp_path, monkeypatch):
    config = config_of(name, monkeypatch, tmp_path)
    with parsed_flags(f'--flagfile={ROOT}/experiments/configs/{name}.flags') as values:
        assert config_from_flags(values) == config


PUBLISHED_256 = dict(batch_size=32, image_size=(256, 256), constant_epochs=100)


@pytest.mark.parametrize(
    'name, expected',
    [
        ('coco_stuff', dict(layout_channels=184, decay_epochs=0, **PUBLISHED_256)),
        ('ade20k', dict(layout_channels=151, decay_epochs=100, **PUBLISHED_256)),
        (
            'pix2pix_facades',
            dict(
                layout_channels=3,
                batch_size=1,
                image_size=(256, 256),
                constant_epochs=100,
                decay_epochs=100,
            ),
        ),
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
def test_published_recipes(name, expected, monkeypatch, tmp_path):
    config = config_of(name, monkeypatch, tmp_path)
    data, optimizer = config.data, config.optimizer
    assert expected == dict(
        layout_channels=data.layout_channels,
        image_size=(data.image_height, data.image_width),
        batch_size=optimizer.batch_size,
        constant_epochs=optimizer.constant_epochs,
        decay_epochs=optimizer.decay_epochs,
    )


@pytest.mark.parametrize('name', ['quickstart', 'demo', 'camvid', 'camvid_cpu', 'scenes_256'])
def test_recipes_of_the_package_have_a_perceptual_loss_without_download(
    name, monkeypatch, tmp_path
):
    losses = config_of(name, monkeypatch, tmp_path).losses
    assert (losses.perceptual_network, losses.perceptual_weight) == ('squeezenet', 10)
