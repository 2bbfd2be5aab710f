"""What stays float32 in a train step that computes in bfloat16."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from spade_jax.config.config import Config
from spade_jax.memory.step_memory import abstract_step

FEW_TERMS = 16  # Their sum may be bfloat16.
SMALL = dict(
    num_classes=5,
    dontcare=True,
    condition='labels+edges',
    style_encoder=True,
    generator_width=4,
    generator_multipliers='2,1',
    spade_hidden=8,
    encoder_width=4,
    discriminator_width=4,
    discriminator_depth=2,
    num_discriminators=1,
    batch_size=4,
)


class Sum(NamedTuple):
    """A sum in a program: the primitive, the number of terms and the type of the result."""

    primitive: str
    terms: int
    dtype: Any


@pytest.mark.parametrize(
    'options',
    [
        dict(label_conv='dense', discriminator_norm='sync_batch'),
        dict(label_conv='dedup', generator_norm='instance'),
        dict(rematerialize='blocks'),
    ],
    ids=lambda options: '-'.join(options),
)
def test_no_sum_over_pixels_is_bfloat16(options):
    """In bfloat16, 256 + 1 is 256: a sum over pixels, as the gradient of a bias, stops growing."""
    config = Config.create(**SMALL, compute_dtype='bfloat16', **options)
    step, arguments = abstract_step(config)
    trace = jax.make_jaxpr(step)(*arguments)
    large = [found for found in sums_of(trace.jaxpr) if found.terms > FEW_TERMS]
    assert sum(found.dtype == jnp.float32 for found in large) > 50
    assert not [found for found in large if found.dtype == jnp.bfloat16]


def test_search_finds_sum_of_bias_gradient():
    def gradient(y, bias):
        total = jax.jit(lambda y, bias: (y + bias).astype(jnp.float32).sum())
        return jax.grad(total, argnums=1)(y, bias)

    y, bias = jnp.zeros((4, 64, 64, 2), jnp.bfloat16), jnp.zeros(2, jnp.bfloat16)
    found = list(sums_of(jax.make_jaxpr(gradient)(y, bias).jaxpr))
    assert Sum('reduce_sum', 4 * 64 * 64, jnp.bfloat16) in found


def sums_of(jaxpr):
    """Every sum in a program and in the programs that it calls.

    The terms of a sum by index are the most that one entry can have.
    """
    for equation in jaxpr.eqns:
        for inner in core.jaxprs_in_params(equation.params):
            yield from sums_of(inner)
        name = equation.primitive.name
        if name not in ('reduce_sum', 'cumsum', 'reduce_window_sum', 'scatter-add'):
            continue
        operand, result = equation.invars[0].aval, equation.outvars[0].aval
        if name == 'reduce_sum':
            terms = operand.size // max(result.size, 1)
        elif name == 'cumsum':
            terms = operand.size
        elif name == 'reduce_window_sum':
            terms = math.prod(equation.params['window_dimensions'])
        else:
            terms = equation.invars[1].aval.size
        yield Sum(name, terms, result.dtype)
