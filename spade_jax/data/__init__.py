"""Training data: files, sources, prepared records, and the input pipeline."""
