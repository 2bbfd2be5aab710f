"""Writing and reading files safely: atomic writes, locks, weights, image grids, pages."""
