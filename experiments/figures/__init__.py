"""Figures, and the demo checkpoint."""
