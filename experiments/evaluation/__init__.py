"""Measurements of trained runs."""
