"""Layers that know neither the configuration nor flags."""
