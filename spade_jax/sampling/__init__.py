"""Sample images from label maps with a trained generator.

loading            work directory -> generator
trained_generator  arrays -> arrays; its compiled functions are in jitted
arguments          checks of arrays and numbers
styles             style latents; style_flags makes them from the flags
sizes              sizes of label maps
sample_files       label map files -> image files; gallery shows them on a page
label_files        label map files -> arrays; image_row shows images in a notebook
"""

from spade_jax.sampling.image_row import ImageRow
from spade_jax.sampling.loading import load
from spade_jax.sampling.sizes import check_size
from spade_jax.sampling.trained_generator import TrainedGenerator

__all__ = ['ImageRow', 'TrainedGenerator', 'check_size', 'load']
