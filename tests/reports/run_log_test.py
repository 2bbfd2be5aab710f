from spade_jax.reports.run_log import progress_fields

VALUES = {
    'g_gan': 0.41234,
    'd_real': 0.8,
    'd_logits_real': 0.1,
    'g_gradient_norm': 3.0,
    'generator_weight_norm': 7.0,
    'generator_learning_rate': 1e-4,
}


def test_progress_fields_are_losses_without_diagnostics():
    assert progress_fields(VALUES) == {'g_gan': '0.412', 'd_real': '0.8'}


def test_progress_fields_begin_with_speed():
    timed = VALUES | {'images_per_second': 12.345, 'share_of_time_waiting_for_data': 0.031}
    expected = {'images/s': '12.3', 'waiting': '3%', 'g_gan': '0.412', 'd_real': '0.8'}
    assert progress_fields(timed) == expected
