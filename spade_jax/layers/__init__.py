"""Layers in their plain forms; faster forms of them are in `cpu`."""
