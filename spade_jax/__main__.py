"""`python -m spade_jax` is the program `spade-jax`."""

from spade_jax.main import run

if __name__ == '__main__':
    run()
