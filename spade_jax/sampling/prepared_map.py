"""A label map that is sampled in many styles."""

import functools

import jax
import numpy as np

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.forking import check_not_forked
from spade_jax.models.model import build_model
from spade_jax.sampling import arguments, jitted
from spade_jax.sampling.arguments import whole_number
from spade_jax.sampling.jitted import BATCH_SIZE
from spade_jax.sampling.styles import random_styles


class PreparedMap:
    """A label map with what does not depend on the style, made by `TrainedGenerator.prepare`.

    It holds gamma and beta of all SPADE layers on the device, 5 kB a pixel at the published width.

    Attributes:
      nbytes: Of what it holds; 0 if nothing of the model depends on the label map alone.
    """

    def __init__(self, config: Config, variables, labels, instances, clusters=None, cache=None):
        # The map enters only through the cache among the variables.
        options = config, False, False  # running statistics, not portable
        self._sampler = functools.partial(jitted.sample, *options, variables, labels, instances)
        self._latent_dim = build_model(config).latent_dim or 0
        self._size, self._clusters = labels.shape[1:3], clusters
        self.nbytes = sum(array.nbytes for array in jax.tree.leaves(cache))

    def __call__(
        self,
        style: np.ndarray | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
        truncation: float = 1.0,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """Sample images [N, H, W, 3] of the map in styles [N, latent_dim].

        One style [latent_dim], or the random style of (seed, sample), gives one image [H, W, 3].
        See `TrainedGenerator.__call__` for the arguments and errors; its images are the same up to
        rounding.
        """
        check_not_forked()
        dim, batch_size = self._latent_dim, whole_number('batch_size', batch_size, 1)
        if style is None:
            options = truncation, self._clusters
            style = random_styles(dim, seed, sample, np.arange(1), *options)[0]
        else:
            arguments.check_has_no_random(seed=seed, sample=sample, truncation=truncation)
        style = arguments.check_latents(style)
        if style.ndim not in (1, 2) or style.shape[-1] != dim:
            remedy = f'give [N, {dim}], or [{dim}] for one style'
            raise UserError(f'styles of shape {style.shape}', remedy)
        if style.ndim == 1:
            return self(style[None], batch_size=batch_size)[0]
        if not len(style):
            return np.zeros((0, *self._size, 3), np.uint8)
        return jitted.in_batches(self._sampler, (style,), batch_size)
