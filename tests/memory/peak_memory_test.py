import jax
import jax.numpy as jnp
import pytest

from spade_jax.memory.peak_memory import live_bytes

MATRIX = jax.ShapeDtypeStruct((10, 10), jnp.float32)  # 400 bytes


def test_operations_that_a_compiler_takes_together_need_no_memory():
    assert live_bytes(lambda x: jnp.sum(jnp.tanh(x + 1) * 2), MATRIX) == (400, 4, 404)


def test_arrays_live_from_their_making_to_their_last_reading():
    def three_products(x):
        return x @ (x @ (x @ x))

    assert live_bytes(three_products, MATRIX) == (
        400,
        400,
        400 + 2 * 400,
    )  # one product and the next

    def read_again(x):
        first = x @ x
        return first @ (x @ (x @ first))

    assert live_bytes(read_again, MATRIX).peak == 400 + 3 * 400


def test_donated_arguments_make_room_for_results():
    assert live_bytes(lambda x: x + 1, MATRIX).peak == 800
    assert live_bytes(lambda x: x + 1, MATRIX, donated=1).peak == 400
    assert (
        live_bytes(lambda x: (x @ x) @ x, MATRIX, donated=1).peak == 1200
    )  # both products, and x until the second is done


@pytest.mark.parametrize('depth', [2, 8])
def test_what_the_backward_pass_reads_is_kept(depth):
    def loss(weights, x):
        for weight in weights:
            x = jnp.sin(weight @ x)
        return jnp.sum(x)

    weights = [MATRIX] * depth
    grow = live_bytes(jax.grad(loss), weights, MATRIX).peak - live_bytes(loss, weights, MATRIX).peak
    # Of every layer its input and the cosine, but as the gradients of the weights are made the layers behind them are done with.
    residuals = sum(
        leaf.size * 4
        for leaf in jax.tree.leaves(
            jax.eval_shape(lambda weights, x: jax.vjp(loss, weights, x)[1], weights, MATRIX)
        )
    )
    kept = residuals - 400 * (depth + 1)  # what vjp counts of the arguments
    assert kept >= 400 * (2 * depth - 2)
    assert kept - 400 <= grow <= kept + 4 * 400


def test_recomputation_keeps_less():
    def layer(weight, x):
        return jnp.sin(jnp.cos(weight @ jnp.sin(weight @ x)) @ weight)

    def loss(weights, x, layer):
        for weight in weights:
            x = layer(weight, x)
        return jnp.sum(x)

    plain, again = (
        live_bytes(jax.grad(lambda weights, x: loss(weights, x, each)), [MATRIX] * 12, MATRIX).peak
        for each in (layer, jax.checkpoint(layer))
    )
    assert again < plain - 12 * 2 * 400


def test_a_loop_holds_what_one_turn_of_it_holds():
    def loop(x, count):
        return jax.lax.scan(
            lambda carry, _: (carry @ (carry @ carry), None), x, None, length=count
        )[0]

    few, many = (live_bytes(lambda x: loop(x, count), MATRIX).peak for count in (2, 200))
    assert few == many and 400 * 3 <= few <= 400 * 5


def test_of_forms_for_several_platforms_the_one_of_all_others_counts():
    def work(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: (x @ x) @ x, default=lambda x: x @ x)

    assert live_bytes(work, MATRIX) == live_bytes(lambda x: x @ x, MATRIX)


def test_constants_and_literals_count_once():
    constant = jnp.ones((10, 10))
    assert live_bytes(lambda x: constant @ x + 1.0, MATRIX).peak == 3 * 400


def test_what_can_be_computed_again_from_an_array_that_is_kept_is_not_kept_itself():
    def work(x, w, with_mask):
        mask = x > 0  # read before and after the products
        y = jnp.where(mask, x, 0) @ w @ w @ w @ w
        return jnp.where(mask, y, 0) if with_mask else y

    big = jax.ShapeDtypeStruct((100, 10), jnp.float32)
    with_mask, without = (
        live_bytes(lambda x, w: work(x, w, again), big, MATRIX).peak for again in (True, False)
    )
    assert abs(with_mask - without) < 100  # the mask has 1,000 bytes


def test_of_a_result_and_what_it_is_computed_from_the_smaller_is_kept():
    def work(x, y, compute):
        kept = compute(x @ x)
        return jnp.sum(kept) + (y @ y @ y @ y) * kept

    def of_half_the_size(big):
        return big.astype(jnp.bfloat16)

    def of_the_same_size(big):
        return big + 1

    def from_half_the_size(big):
        return (big.astype(jnp.bfloat16) @ big.astype(jnp.bfloat16)).astype(jnp.float32) * 2

    def from_half_the_size_and_statistics(big):
        half = big.astype(jnp.bfloat16) @ big.astype(jnp.bfloat16)
        return half.astype(jnp.float32) - half.astype(jnp.float32).mean(0)

    products = 2 * 400 + 2 * 400  # the arguments, and one product and the next
    for compute, size in (
        (of_half_the_size, 200),
        (of_the_same_size, 400),
        (from_half_the_size, 200),
        (from_half_the_size_and_statistics, 240),
    ):
        assert (
            live_bytes(lambda x, y: work(x, y, compute), MATRIX, MATRIX).peak // 10 * 10
            == products + size
        )


def test_arguments_and_results_that_live_anyway_cost_nothing_to_keep():
    def work(x, y, w):
        product = x * y
        return (w @ w @ w @ w @ w) * product

    assert live_bytes(work, MATRIX, MATRIX, MATRIX).peak == 5 * 400


def test_what_is_computed_twice_is_stored_once():
    assert live_bytes(lambda x: jnp.sin(x) @ jnp.sin(x), MATRIX).peak == 3 * 400
    assert live_bytes(lambda x: (x * 2) @ (x * 3), MATRIX).peak == 4 * 400
    assert (
        live_bytes(
            lambda x: jax.lax.dot_general(x[:5], x[5:], (((1,), (1,)), ((), ()))), MATRIX
        ).peak
        == 400 + 200 + 200 + 100
    )
    assert (
        live_bytes(
            lambda x: (jnp.zeros((10, 10), jnp.bfloat16), jnp.zeros((10, 10), jnp.float32)), MATRIX
        ).results
        == 200 + 400
    )


def test_recomputation_does_not_find_what_was_computed_before():
    def layer(x, weight):
        return jnp.sin(jnp.exp(x) * x) @ weight

    def loss(weights, x, layer):
        for weight in weights:
            x = layer(x, weight)
        return jnp.sum(x)

    plain, again = (
        live_bytes(jax.grad(lambda weights, x: loss(weights, x, each)), [MATRIX] * 12, MATRIX).peak
        for each in (layer, jax.checkpoint(layer))
    )
    assert again <= plain - 10 * 400  # the operand of each product


def test_parts_of_an_array_are_read_where_they_are():
    def work(x, combine):
        return combine(*jnp.split(x @ x, 2, axis=-1))

    assert (
        live_bytes(lambda x: work(x, lambda one, other: one * other), MATRIX).peak == 400 + 400
    )  # the result in the place of the parts
    assert (
        live_bytes(lambda x: work(x, lambda one, other: one.T @ other), MATRIX).peak
        >= 400 + 2 * 200 + 100
    )  # a product reads whole arrays
