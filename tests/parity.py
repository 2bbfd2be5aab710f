"""Golden numbers of the reference implementation: random weights in, its results out.

`tests/golden` holds a small set of files. If the environment variable SPADE_JAX_PARITY_DIR names a
directory of such files, the tests run over all of those instead, kind by kind: of a kind that it
lacks they take the small set. Everything about a case comes from
the options in its file; a case with an option that is not offered here is skipped.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from flax import traverse_util

from spade_jax.config.config import Config
from spade_jax.models.patch_discriminator import MultiscaleDiscriminator, PatchDiscriminator
from spade_jax.models.spade.encoder import StyleEncoder
from spade_jax.models.spade.generator import SpadeGenerator
from spade_jax.models.spade.options import UPSAMPLINGS
from spade_jax.models.vgg19 import torchvision_names

_OWN = pathlib.Path(__file__).parent / 'golden'
# Where files are looked for, the first directory first.
_DIRECTORIES = pathlib.Path(os.environ.get('SPADE_JAX_PARITY_DIR', _OWN)), _OWN
# (what, largest error, scale of the expected array) of each comparison, for the test summary
COMPARED: list[tuple[str, float, float]] = []

# The reference's word for an option's value -> the word here.
NORMS = {
    'syncbatch': 'sync_batch',
    'sync_batch': 'sync_batch',
    'batch': 'batch',
    'instance': 'instance',
    'none': 'none',
    '': 'none',
}
GAN_LOSSES = {
    'hinge': 'hinge',
    'ls': 'least_squares',
    'original': 'cross_entropy',
    'w': 'wasserstein',
}
INITIALIZATIONS = {'xavier': 'glorot', 'normal': 'normal', 'kaiming': 'kaiming'}
# The reference's values of options that a golden file may leave out.
DEFAULTS = {
    'netG': 'spade',
    'netD': 'multiscale',
    'norm_G': 'spectralspadesyncbatch3x3',
    'norm_D': 'spectralinstance',
    'norm_E': 'spectralinstance',
    'num_upsampling_layers': 'normal',
    'aspect_ratio': 1.0,
    'use_vae': False,
    'z_dim': 256,
    'num_D': 2,
    'n_layers_D': 4,
    'crop_size': 256,
    'contain_dontcare_label': False,
    'no_instance': False,
    'gan_mode': 'hinge',
    'init_type': 'xavier',
    'init_variance': 0.02,
}
NORM_PATTERNS = {
    'norm_G': r'(spectral)?spade(syncbatch|batch|instance)(\d+)x\3',
    'norm_D': r'(spectral)?(|none|sync_?batch|batch|instance)',
    'norm_E': r'spectral(sync_?batch|batch|instance)',
}


class Norm(NamedTuple):
    """The content of the reference's option norm_G, norm_D or norm_E.

    `kernel_size` is that of the convolutions of a SPADE layer, else None.
    """

    spectral: bool
    kind: str
    kernel_size: int | None


def norm_of(option: str) -> Norm:
    """'spectralspadebatch3x3' -> (True, 'batch', 3); 'spectral' -> (True, 'none', None)."""
    found = re.fullmatch(r'(spectral)?(?:spade)?([a-z_]*?)(?:(\d+)x\d+)?', option)
    assert found, option
    spectral, kind, side = found.groups()
    return Norm(spectral is not None, NORMS[kind], None if side is None else int(side))


def unavailable(options: dict[str, Any]) -> list[str]:
    """The options that are not offered here, as 'name=value'."""
    options = DEFAULTS | options
    offered = {name: re.fullmatch(p, options[name]) for name, p in NORM_PATTERNS.items()}
    if not options['use_vae']:
        offered.pop('norm_E')
    offered |= {
        'netG': options['netG'] == 'spade',
        'netD': options['netD'] == 'multiscale',
        'num_upsampling_layers': options['num_upsampling_layers'] in UPSAMPLINGS,
        'gan_mode': options['gan_mode'] in GAN_LOSSES,
        'init_type': options['init_type'] in INITIALIZATIONS,
    }
    return [f'{name}={options[name]}' for name, is_offered in offered.items() if not is_offered]


def with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """The reference's options with its defaults; skips the test if one is not offered here."""
    if names := unavailable(options):
        pytest.skip(f'not offered: {", ".join(names)}')
    return DEFAULTS | options


def config_of(options: dict[str, Any], **fields: Any) -> Config:
    """The Config for the reference's options, and `fields` that they do not describe."""
    given, options = options, with_defaults(options)
    norm_g, norm_d = norm_of(options['norm_G']), norm_of(options['norm_D'])
    described = {
        'num_classes': options.get('label_nc'),
        'dontcare': options['contain_dontcare_label'],
        'condition': 'labels' if options['no_instance'] else 'labels+edges',
        'crop_size': options['crop_size'],
        'load_size': options['crop_size'],
        'aspect_ratio': options['aspect_ratio'],
        'generator_width': options.get('ngf'),
        'upsampling': options['num_upsampling_layers'],
        'generator_norm': norm_g.kind,
        'generator_spectral_norm': norm_g.spectral,
        'spade_kernel_size': norm_g.kernel_size,
        'style_encoder': options['use_vae'],
        'style_dim': options['z_dim'],
        'encoder_width': options.get('ngf'),
        'encoder_norm': norm_of(options['norm_E']).kind if options['use_vae'] else None,
        'discriminator_width': options.get('ndf'),
        'discriminator_depth': options['n_layers_D'],
        'num_discriminators': options['num_D'],
        'discriminator_norm': norm_d.kind,
        'discriminator_spectral_norm': norm_d.spectral,
        'init_gain': options['init_variance'],
    }
    if 'gan_mode' in given:  # options of training
        described |= _training_fields(options)
    fields = described | fields
    return Config.create(**{name: value for name, value in fields.items() if value is not None})


def _training_fields(options: dict[str, Any]) -> dict[str, Any]:
    return {
        'gan_loss': GAN_LOSSES[options['gan_mode']],
        'feature_matching_weight': 0.0 if options['no_ganFeat_loss'] else options['lambda_feat'],
        'perceptual_weight': 0.0 if options['no_vgg_loss'] else options['lambda_vgg'],
        # The reference sums the KL divergence over the batch.
        'kl_weight': options['lambda_kld'] * options['batchSize'],
        'learning_rate': options['lr'],
        'ttur': not options['no_TTUR'],
        'adam_beta1': options['beta1'],
        'adam_beta2': options['beta2'],
        'batch_size': options['batchSize'],
        'constant_epochs': options['niter'],
        'decay_epochs': options['niter_decay'],
    }


def generator_of(options: dict[str, Any], **attributes: Any) -> SpadeGenerator:
    """The generator for the reference's options."""
    options = with_defaults(options)
    norm = norm_of(options['norm_G'])
    last = (0.5,) if options['num_upsampling_layers'] == 'most' else ()
    return SpadeGenerator(
        width=options['ngf'],
        multipliers=(16, 16, 16, 8, 4, 2, 1, *last),
        num_upsamplings=UPSAMPLINGS[options['num_upsampling_layers']],
        style_dim=options['z_dim'] if options['use_vae'] else None,
        norm=norm.kind,
        spade_kernel_size=norm.kernel_size,
        spectral_norm=norm.spectral,
        **attributes,
    )


def discriminator_of(options: dict[str, Any]) -> MultiscaleDiscriminator:
    """The discriminator for the reference's options."""
    options = with_defaults(options)
    norm = norm_of(options['norm_D'])
    patch_discriminator = functools.partial(
        PatchDiscriminator,
        width=options['ndf'],
        depth=options['n_layers_D'],
        norm=norm.kind,
        spectral_norm=norm.spectral,
    )
    return MultiscaleDiscriminator(patch_discriminator, options['num_D'])


def encoder_of(options: dict[str, Any]) -> StyleEncoder:
    """The style encoder for the reference's options."""
    options = with_defaults(options | {'use_vae': True})
    return StyleEncoder(
        width=options['ngf'],
        style_dim=options['z_dim'],
        depth=6 if options['crop_size'] >= 256 else 5,
        norm=norm_of(options['norm_E']).kind,
    )


def cases(prefix: str) -> list[str]:
    """Names of the golden files that begin with `prefix`; for parametrized tests."""
    by_directory = (sorted(directory.glob(f'{prefix}*.npz')) for directory in _DIRECTORIES)
    return [path.stem for path in next(filter(None, by_directory), [])]


def split_state(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Of 'netG.up_0...', the arrays with the prefix 'netG', as 'up_0...'."""
    prefix += '.'
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def vgg19_variables(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """The variables of VGG19 from a state with names such as 'vgg.slice2.5.weight'."""
    arrays = {f'features.{name.split(".", 2)[2]}': array for name, array in state.items()}
    params = {
        name: {
            'kernel': arrays[f'{torch}.weight'].transpose(2, 3, 1, 0),
            'bias': arrays[f'{torch}.bias'],
        }
        for name, torch in torchvision_names().items()
    }
    return {'params': params}


def usable_encoders() -> list[str]:
    """The golden encoders that are offered here and that the reference can run to the end."""
    goldens = {case: Golden(case) for case in cases('encoder')}
    return [
        case
        for case, golden in goldens.items()
        if not golden.meta.get('error') and not unavailable(golden.options | {'use_vae': True})
    ]


class Golden:
    """One golden file: its arrays with channels last, its options, the tolerance of each array."""

    def __init__(self, name: str):
        paths = (directory / f'{name}.npz' for directory in _DIRECTORIES)
        with np.load(next(path for path in paths if path.exists())) as file:
            self.arrays = dict(file)
        self.meta = json.loads(str(self.arrays.pop('meta')))

    def __getitem__(self, key: str) -> np.ndarray:
        """The array `key`; images and features as [B, H, W, C]."""
        array = self.arrays[key]
        return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    @property
    def options(self) -> dict:
        return self.meta['options']

    @property
    def norm(self) -> str:
        """The normalization inside of SPADE, by the name here."""
        return self.spade.kind

    @property
    def spade(self) -> Norm:
        """The SPADE layers."""
        return norm_of(self.meta.get('config') or with_defaults(self.options)['norm_G'])

    def state(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays below `prefix`, by the names of the reference."""
        return {
            key[len(prefix) + 1 :]: array
            for key, array in self.arrays.items()
            if key.startswith(prefix + '/')
        }

    def tolerance(self, key: str) -> float:
        """20 times the rounding noise of the reference, or 1e-4 of the array's scale."""
        scale = float(np.abs(self.arrays[key]).max()) if key in self.arrays else 0.0
        return max(20 * self.meta['noise'].get(key, 0.0), 1e-4 * scale, 1e-7)

    def check(self, actual, key: str) -> None:
        """Asserts that `actual` is the array `key`."""
        assert_close(actual, self[key], self.tolerance(key), key)


def assert_close(actual, expected, tolerance: float, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (
        f'{what}: shape {actual.shape}, expected {expected.shape}'
    )
    error = float(np.abs(actual - expected).max())
    COMPARED.append((what, error, float(np.abs(expected).max())))
    assert error <= tolerance, f'{what}: off by {error:.3g}, tolerance {tolerance:.3g}'


def assert_trees_close(actual: dict, expected: dict, tolerance, what: str = '') -> None:
    """Compares the leaves that `expected` has; all of them must exist.

    `tolerance`: function of (path, expected array), or a number.
    """
    actual, expected = (traverse_util.flatten_dict(tree, sep='/') for tree in (actual, expected))
    assert expected, f'{what}: nothing to compare'
    for path, array in expected.items():
        limit = tolerance(path, array) if callable(tolerance) else tolerance
        assert_close(actual[path], array, limit, f'{what} {path}')


def relative(factor: float = 1e-4, absolute: float = 1e-6):
    """A tolerance for `assert_trees_close`: a fraction of each array's scale."""
    return lambda path, array: max(factor * float(np.abs(array).max()), absolute)
