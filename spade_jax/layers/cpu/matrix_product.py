"""Matrix products in the forms that are fast on a CPU.

XLA leaves them to a library that uses the chip's bfloat16 instructions, in some forms only.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

MIN_ROWS_TO_TRANSPOSE = 256


def dot_float32(a: jax.Array, b: jax.Array, contract: tuple[int, int] = (1, 0)) -> jax.Array:
    """Multiply a [M, K] by b [K, N] with a float32 result; `contract` are their axes of size K.

    For that type of result, XLA passes bfloat16 to the library instead of converting it first.
    """
    axes = (contract[:1], contract[1:]), ((), ())
    return lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def transposed(a: jax.Array) -> jax.Array:
    """a.T in memory: bfloat16 products with a transposed view are two to three times slower."""
    return with_layout_constraint(a.T, Layout(major_to_minor=(0, 1)))


@jax.custom_vjp
def matrix_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiply a [M, K] by b [K, N] in their type, summed in float32; fast gradients on a CPU."""
    forms = dict(cpu=lambda a, b: dot_float32(a, b).astype(a.dtype), default=jnp.matmul)
    return lax.platform_dependent(a, b, **forms)


def _backward(residuals, cotangent):
    def default(a, b, cotangent):
        return jax.vjp(jnp.matmul, a, b)[1](cotangent)

    def on_cpu(a, b, cotangent):
        if a.dtype == jnp.float32 or a.shape[0] < MIN_ROWS_TO_TRANSPOSE:
            b_gradient = a.astype(jnp.float32).T @ cotangent.astype(jnp.float32)
        else:
            b_gradient = dot_float32(transposed(a), cotangent)
        a_gradient = dot_float32(cotangent, b, contract=(1, 1))
        return a_gradient.astype(a.dtype), b_gradient.astype(b.dtype)

    return lax.platform_dependent(*residuals, cotangent, cpu=on_cpu, default=default)


matrix_product.defvjp(lambda a, b: (matrix_product(a, b), (a, b)), _backward)
