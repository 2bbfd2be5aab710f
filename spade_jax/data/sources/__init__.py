"""Sources of examples: directories, public data sets, TFDS, and procedural scenes."""
