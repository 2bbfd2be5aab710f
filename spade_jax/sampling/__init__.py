"""From a work directory and label maps to pictures.

    trained_generator   arrays -> arrays
    styles              what the pictures are to look like
    drawing, gallery    files -> files, and a page to look at them
"""

from spade_jax.sampling.trained_generator import TrainedGenerator, check_size, load

__all__ = ['TrainedGenerator', 'check_size', 'load']
