"""Orbax checkpoints with checksums."""
