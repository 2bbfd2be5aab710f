"""Files: atomic writes, locks, weights, image grids, HTML pages, the compilation cache."""
