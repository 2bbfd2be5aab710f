"""Files: atomic writes, texts, locks, weights, image grids, HTML pages, the compilation cache."""
