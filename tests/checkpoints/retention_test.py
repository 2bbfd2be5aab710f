from spade_jax.checkpoints.retention import kept_steps

METRICS = {4: {'g_gan': 3.0}, 8: {'g_gan': 1.0}, 12: {}, 16: {'g_gan': 2.0}, 20: {'g_gan': 1.0}}


def test_the_newest_are_kept():
    assert kept_steps(METRICS, 2) == {16, 20}
    assert kept_steps(METRICS, 9) == set(METRICS)


def test_the_best_is_kept_too():
    assert kept_steps(METRICS, 1, 'g_gan') == {8, 20}
    assert kept_steps(METRICS, 1, 'd_real') == {20}
    assert kept_steps({}, 1, 'g_gan') == set()
