"""Flagfiles, benchmarks, evaluations and figures of spade_jax."""
