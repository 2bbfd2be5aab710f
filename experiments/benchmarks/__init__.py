"""Benchmarks; README.md explains them."""
