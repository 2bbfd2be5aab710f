"""Published PyTorch weights <-> work directories."""
