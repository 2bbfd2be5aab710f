"""Activation functions."""

from __future__ import annotations

import functools

from flax import linen as nn

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)
