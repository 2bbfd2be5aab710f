"""The devices that JAX offers, checked before the first computation."""

import jax

from spade_jax.errors import UserError


def check_backend() -> None:
    """Raises UserError if environment variables of JAX leave no device or other number formats."""
    if jax.config.read('jax_enable_x64'):  # No array would have the type of its checkpoint.
        problem = 'JAX_ENABLE_X64 (jax_enable_x64) is set, but the models compute in 32 bits'
        raise UserError(problem, 'unset it')
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that it found a device.
        reason = ' '.join(str(error).split())[:300] or 'there is none'
        platforms = f'JAX_PLATFORMS={jax.config.jax_platforms or ""}'  # pyright: ignore
        problem = f'JAX cannot use a device of {platforms} ({reason})'
        raise UserError(problem, 'unset JAX_PLATFORMS, or install JAX for that device') from error
