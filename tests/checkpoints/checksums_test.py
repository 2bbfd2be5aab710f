import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spade_jax.checkpoints import checksums


def tree():
    return {
        'generator': {
            'params': {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3), 'bias': jnp.zeros(3)}
        },
        'step': np.asarray(4, np.int32),
    }


def test_every_array_has_a_checksum_under_its_path():
    sums = checksums.checksums(tree())
    assert (
        set(sums) == {'generator/params/kernel', 'generator/params/bias', 'step'}
        and len(set(sums.values())) == 3
    )
    assert checksums.checksums(tree()) == sums
    checksums.check(tree(), sums, 'here')


def test_flipped_bit_is_reported_with_its_array():
    changed = tree()
    changed['generator']['params']['kernel'].view(np.uint8)[1, 5] ^= 1
    with pytest.raises(
        checksums.CorruptCheckpoint,
        match='here: generator/params/kernel of 3 arrays are not as saved',
    ):
        checksums.check(changed, checksums.checksums(tree()), 'here')


@pytest.mark.parametrize('other', [np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int32)])
def test_type_and_shape_count(other):
    assert checksums.checksums({'a': other}) != checksums.checksums(
        {'a': np.zeros((2, 3), np.float32)}
    )


def test_arrays_that_are_missing_or_new_are_named():
    with pytest.raises(checksums.CorruptCheckpoint, match='a, b of 1 arrays'):
        checksums.check({'b': np.zeros(2)}, checksums.checksums({'a': np.zeros(2)}), 'here')


def test_the_state_of_an_optimiser_has_paths():
    state = optax.adam(1e-3).init({'kernel': jnp.zeros(2)})
    assert '0/mu/kernel' in checksums.checksums(state)


def test_arrays_that_are_not_finite():
    assert checksums.not_finite(
        {
            'a': np.array([1.0, np.inf]),
            'b': {'c': np.array([np.nan], np.float32)},
            'd': np.array([7]),
            'e': np.zeros(3),
        }
    ) == ['a', 'b/c']


def test_record_with_changed_digit_is_refused():
    signed = checksums.with_checksum({'config': {'learning_rate': 2e-4}, 'num_examples': 12})
    assert checksums.verified(signed, 'here') == {
        'config': {'learning_rate': 2e-4},
        'num_examples': 12,
    }
    signed['record']['num_examples'] = 13
    with pytest.raises(checksums.CorruptCheckpoint, match='here: the record is not as saved'):
        checksums.verified(signed, 'here')
    for nothing in (None, {}, [], {'record': {}}):
        with pytest.raises(checksums.CorruptCheckpoint, match='no record'):
            checksums.verified(nothing, 'here')
