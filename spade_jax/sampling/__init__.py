"""From a work directory and label maps to pictures.

loading             work directory -> generator
trained_generator   arrays -> arrays
recalibration       statistics that batch normalisation uses
styles              what the pictures are to look like
drawing, gallery    files -> files, and a page to look at them
"""

from spade_jax.sampling.loading import load
from spade_jax.sampling.trained_generator import TrainedGenerator, check_size

__all__ = ['TrainedGenerator', 'check_size', 'load']
