"""Sample images from label maps with a trained generator.

loading            work directory -> generator
trained_generator  arrays -> arrays
styles             style latents; style_flags: from the flags
sizes              sizes of the label maps
sample_files       label map files -> image files
gallery            page and contact sheet of the samples
"""

from spade_jax.sampling.loading import load
from spade_jax.sampling.trained_generator import TrainedGenerator, check_size

__all__ = ['TrainedGenerator', 'check_size', 'load']
