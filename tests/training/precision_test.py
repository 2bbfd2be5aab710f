"""What stays float32 in a train step that computes in bfloat16."""

import math

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from spade_jax.config.config import Config
from spade_jax.memory.step_memory import abstract_step

FEW = 16  # terms, whose sum may be bfloat16


@pytest.mark.parametrize(
    'options',
    [
        dict(label_conv='dense', discriminator_norm='sync_batch'),
        dict(label_conv='dedup', generator_norm='instance'),
        dict(rematerialize='blocks'),
    ],
)
def test_no_sum_over_pixels_is_in_bfloat16(options):
    """In bfloat16 256 + 1 is 256: a sum over the pixels of a picture, as the gradient of a bias is, would come to nothing like it."""
    config = Config.create(
        num_classes=5,
        dontcare=True,
        condition='labels+edges',
        style_encoder=True,
        generator_width=4,
        spade_hidden=8,
        encoder_width=4,
        discriminator_width=4,
        batch_size=4,
        compute_dtype='bfloat16',
        **options,
    )
    step, arguments = abstract_step(config)
    trace = jax.make_jaxpr(step)(*arguments)
    sums = [entry for entry in sums_of(trace.jaxpr) if entry[1] > FEW]
    assert len([name for name, _, dtype in sums if dtype == jnp.float32]) > 100
    assert not [entry for entry in sums if entry[-1] == jnp.bfloat16]


def test_the_search_finds_such_sums():
    def step(y, bias):
        return jax.grad(lambda bias: jax.jit(lambda y: y + bias)(y).astype(jnp.float32).sum())(bias)

    found = list(
        sums_of(
            jax.make_jaxpr(step)(
                jnp.zeros((4, 64, 64, 2), jnp.bfloat16), jnp.zeros(2, jnp.bfloat16)
            ).jaxpr
        )
    )
    assert ('reduce_sum', 4 * 64 * 64, jnp.bfloat16) in found


def sums_of(jaxpr):
    """Name, number of terms and type of every sum in a program and in what it calls; of a sum by index, the largest number of terms that an entry may get."""
    for equation in jaxpr.eqns:
        for inner in core.jaxprs_in_params(equation.params):
            yield from sums_of(inner)
        name = equation.primitive.name
        if name in ('reduce_sum', 'cumsum', 'reduce_window_sum'):
            operand, result = equation.invars[0].aval, equation.outvars[0].aval
            window = equation.params.get('window_dimensions')
            yield (
                name,
                math.prod(window)
                if window
                else operand.size
                if name == 'cumsum'
                else operand.size // max(result.size, 1),
                result.dtype,
            )
        elif name == 'scatter-add':
            yield name, equation.invars[1].aval.size, equation.outvars[0].aval.dtype
