"""Model FLOPs and peaks: published numbers, and numbers that follow from shapes."""

import pytest

from experiments.benchmarks import model_flops
from experiments.benchmarks.device_peaks import peak_flops
from spade_jax.config.config import Config


def coco_config(**options):
    return Config.create(num_classes=182, dontcare=True, condition='labels+edges', **options)


def ade20k_config():
    return Config.create(num_classes=150, dontcare=True)


def cityscapes_config():
    size = dict(crop_size=512, load_size=512, aspect_ratio=2.0, upsampling='more')
    return Config.create(num_classes=35, condition='labels+edges', **size)


# Billions of multiply-adds.
@pytest.mark.parametrize(
    'config, expected',
    [(coco_config(), 191), (ade20k_config(), 181), (cityscapes_config(), 281)],
    ids=['coco_stuff', 'ade20k', 'cityscapes'],
)
def test_sampling_flops_match_published_numbers(config, expected):
    assert model_flops.sampling_flops(config) / 2e9 == pytest.approx(expected, abs=0.5)


def test_discriminator_flops_match_published_number():
    flops = model_flops.forward_flops(model_flops.discriminator_convs(ade20k_config()))
    assert flops / 2e9 == pytest.approx(7.8, abs=0.05)


def test_perceptual_loss_adds_three_passes_of_vgg19():
    without = model_flops.training_flops(coco_config(perceptual_weight=0.0))
    vgg19 = model_flops.training_flops(coco_config()) - without
    assert vgg19 / 3 / 2e9 == pytest.approx(23.7, abs=0.05)


def test_kernels_of_generator_have_published_number_of_weights():
    convs = model_flops.generator_convs(coco_config())
    biases = 97_480_899 - sum(conv.weights for conv in convs)
    assert 0 < biases < 100_000


def test_flops_of_one_conv_count_border_positions():
    conv = model_flops.ConvShape('conv', 2, 3, 3, in_channels=5, out_channels=7)
    assert conv.weights == 9 * 5 * 7
    assert conv.flops == 2 * 6 * 9 * 5 * 7


@pytest.mark.parametrize(
    'device, precision, expected',
    [
        ('NVIDIA H100 80GB HBM3', 'bfloat16', 989e12),
        ('NVIDIA H100 PCIe', 'bfloat16', 756e12),
        ('NVIDIA A100-SXM4-40GB', 'float32', 156e12),
        ('NVIDIA L4', 'bfloat16', 121e12),
        ('Tesla T4', 'float32', 8.1e12),
        ('NVIDIA GeForce RTX 4090', 'bfloat16', 165e12),
        ('TPU v5 lite', 'bfloat16', 197e12),
        ('TPU v5p', 'bfloat16', 459e12),
        ('TPU v6 lite', 'bfloat16', 918e12),
        ('NVIDIA L40S', 'bfloat16', 362e12),
        ('an abacus', 'float32', None),
    ],
)
def test_peak_is_that_of_data_sheet(device, precision, expected):
    assert peak_flops(device, precision) == expected
