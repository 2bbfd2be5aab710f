import jax
import jax.numpy as jnp
import pytest

from spade_jax.memory.peak_memory import live_bytes

MATRIX = jax.ShapeDtypeStruct((10, 10), jnp.float32)
BYTES = 400  # of the matrix
KEPT = 4 * BYTES  # two arguments, one product and the next


def peak(function, *arguments, **options):
    return live_bytes(function, *arguments, **options).peak


def training_peak(layer, depth=12):
    """Of the gradients of a chain of layers by their weights."""

    def loss(weights, x):
        for weight in weights:
            x = layer(weight, x)
        return jnp.sum(x)

    return peak(jax.grad(loss), [MATRIX] * depth, MATRIX)


def test_fused_operations_need_no_memory():
    assert live_bytes(lambda x: jnp.sum(jnp.tanh(x + 1) * 2), MATRIX) == (BYTES, 4, BYTES + 4)


def test_array_dies_after_its_last_reader():
    # One product and the next.
    assert live_bytes(lambda x: x @ (x @ (x @ x)), MATRIX) == (BYTES, BYTES, 3 * BYTES)


def test_array_lives_until_its_last_reader():
    def read_again(x):
        first = x @ x
        return first @ (x @ (x @ first))

    assert peak(read_again, MATRIX) == 4 * BYTES


def test_donated_argument_makes_room_for_result():
    assert peak(lambda x: x + 1, MATRIX) == 2 * BYTES
    assert peak(lambda x: x + 1, MATRIX, donated=1) == BYTES


def test_donated_argument_lives_until_its_last_reader():
    # Both products, and x until the second is computed.
    assert peak(lambda x: (x @ x) @ x, MATRIX, donated=1) == 3 * BYTES


@pytest.mark.parametrize('depth', [2, 8])
def test_residuals_of_the_backward_pass_are_kept(depth):
    def loss(weights, x):
        for weight in weights:
            x = jnp.sin(weight @ x)
        return jnp.sum(x)

    def backward(weights, x):
        return jax.vjp(loss, weights, x)[1]

    weights = [MATRIX] * depth
    growth = peak(jax.grad(loss), weights, MATRIX) - peak(loss, weights, MATRIX)
    # Each layer keeps its input and the cosine. Layers whose gradient is computed keep nothing.
    residuals = jax.tree.leaves(jax.eval_shape(backward, weights, MATRIX))
    kept = sum(leaf.size * 4 for leaf in residuals) - BYTES * (depth + 1)  # without arguments
    assert kept >= BYTES * (2 * depth - 2)
    assert kept - BYTES <= growth <= kept + 4 * BYTES


def test_checkpoint_keeps_less():
    def layer(weight, x):
        return jnp.sin(jnp.cos(weight @ jnp.sin(weight @ x)) @ weight)

    assert training_peak(jax.checkpoint(layer)) < training_peak(layer) - 12 * 2 * BYTES


def test_checkpoint_recomputes_rather_than_reuses():
    def layer(weight, x):
        return jnp.sin(jnp.exp(x) * x) @ weight

    # Without the operand of each product.
    assert training_peak(jax.checkpoint(layer)) <= training_peak(layer) - 10 * BYTES


def test_loop_holds_what_one_iteration_holds():
    def loop_peak(count):
        def body(carry, _):
            return carry @ (carry @ carry), None

        return peak(lambda x: jax.lax.scan(body, x, None, length=count)[0], MATRIX)

    assert loop_peak(2) == loop_peak(200)
    assert 3 * BYTES <= loop_peak(2) <= 5 * BYTES


def test_default_branch_of_platforms_counts():
    def work(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: (x @ x) @ x, default=lambda x: x @ x)

    assert live_bytes(work, MATRIX) == live_bytes(lambda x: x @ x, MATRIX)


def test_constants_count_once():
    constant = jnp.ones((10, 10))
    assert peak(lambda x: constant @ x + 1.0, MATRIX) == 3 * BYTES


def test_result_is_recomputed_from_array_that_is_kept():
    def work_peak(with_mask):
        def work(x, w):
            mask = x > 0  # read before and after the products
            y = jnp.where(mask, x, 0) @ w @ w @ w @ w
            return jnp.where(mask, y, 0) if with_mask else y

        return peak(work, jax.ShapeDtypeStruct((100, 10), jnp.float32), MATRIX)

    assert abs(work_peak(True) - work_peak(False)) < 100  # The mask has 1,000 bytes.


def half_size(x):
    return x.astype(jnp.bfloat16)


def same_size(x):
    return x + 1


def from_half_size(x):
    return (half_size(x) @ half_size(x)).astype(jnp.float32) * 2


def from_half_size_and_statistics(x):
    product = half_size(x) @ half_size(x)
    return product.astype(jnp.float32) - product.astype(jnp.float32).mean(0)


@pytest.mark.parametrize(
    'compute, kept',
    [
        (half_size, 200),
        (same_size, 400),
        (from_half_size, 200),
        (from_half_size_and_statistics, 240),
    ],
)
def test_smaller_of_result_and_operand_is_kept(compute, kept):
    def work(x, y):
        result = compute(x @ x)
        return jnp.sum(result) + (y @ y @ y @ y) * result

    assert peak(work, MATRIX, MATRIX) // 10 * 10 == KEPT + kept


def test_recomputation_from_arguments_is_free():
    def work(x, y, w):
        product = x * y
        return (w @ w @ w @ w @ w) * product

    assert peak(work, MATRIX, MATRIX, MATRIX) == 5 * BYTES


def test_equal_expressions_are_computed_once():
    assert peak(lambda x: jnp.sin(x) @ jnp.sin(x), MATRIX) == 3 * BYTES


def test_expressions_with_other_constants_are_different():
    assert peak(lambda x: (x * 2) @ (x * 3), MATRIX) == 4 * BYTES


def test_expressions_with_other_parameters_are_different():
    def work(x):
        return jax.lax.dot_general(x[:5], x[5:], (((1,), (1,)), ((), ())))

    assert peak(work, MATRIX) == BYTES + 200 + 200 + 100


def test_expressions_with_other_dtypes_are_different():
    def work(x):
        return jnp.zeros((10, 10), jnp.bfloat16), jnp.zeros((10, 10), jnp.float32)

    assert live_bytes(work, MATRIX).results == 200 + BYTES


def test_fused_reader_reads_views():
    def work(x):
        first, second = jnp.split(x @ x, 2, axis=-1)
        return first * second

    assert peak(work, MATRIX) == 2 * BYTES  # The result replaces the halves.


def test_product_reads_whole_arrays():
    def work(x):
        first, second = jnp.split(x @ x, 2, axis=-1)
        return first.T @ second

    assert peak(work, MATRIX) >= BYTES + 2 * 200 + 100
