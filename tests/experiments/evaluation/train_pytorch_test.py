"""The weights that PyTorch trained are read as published ones, and sample the same images."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import spade_jax  # noqa: E402
from experiments.benchmarks.pytorch_peer import Sampling, Settings  # noqa: E402
from experiments.evaluation import train_pytorch  # noqa: E402
from spade_jax.config.config import Config  # noqa: E402
from spade_jax.errors import UserError  # noqa: E402
from tests.fixtures.cli import succeed_inline  # noqa: E402

SMALL = dict(generator_width=2, spade_hidden=4, discriminator_width=4, num_discriminators=1)
SMALL |= dict(crop_size=32, load_size=32, perceptual_weight=0.0, ttur=False, num_classes=13)
SMALL |= dict(batch_size=4)


@pytest.fixture
def config(tmp_path):
    return Config.create(
        **SMALL, dataset='scenes', data_dir=str(tmp_path / 'data'), scenes_train_examples=8
    )


def test_weights_become_a_work_directory_with_the_same_images(config, tmp_path):
    training = train_pytorch.make_training(config, Settings(), seed=0)
    before = training.generator.conv_img.weight.detach().clone()
    steps, losses = train_pytorch.train(training, config, seconds=0.5)
    assert steps > 1 and all(np.isfinite(loss.item()) for loss in losses.values())
    assert not torch.equal(training.generator.conv_img.weight, before)
    with torch.no_grad():
        training.generator.conv_img.weight.mul_(1000)  # Few steps leave the image gray.
    state = train_pytorch.published(training.generator)
    torch.save(state, tmp_path / train_pytorch.WEIGHTS)
    flags = [f'--{name}={value}' for name, value in SMALL.items() if name != 'ttur']
    flags += ['--nottur', '--dataset=scenes', '--upsampling=normal', '--generator_norm=batch']
    files = f'--torch_checkpoint_dir={tmp_path}', f'--workdir={tmp_path}/converted'
    succeed_inline('--mode=convert', *flags, *files)
    labels = np.arange(32 * 32, dtype=np.uint8).reshape(1, 32, 32) // 80
    image = spade_jax.load(str(tmp_path / 'converted'))(labels)
    expected = Sampling(training.generator, training.run)(labels)
    np.testing.assert_allclose(image, expected, atol=1)
    assert np.ptp(expected) > 10


@pytest.mark.parametrize(
    'change, flag',
    [(dict(perceptual_weight=10.0), '--perceptual_weight=0'), (dict(ttur=True), '--nottur')],
)
def test_other_recipes_are_refused(config, change, flag):
    with pytest.raises(UserError, match=f'plain recipe alone; use {flag}'):
        train_pytorch.check(config.replace(**change))
