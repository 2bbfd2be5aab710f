"""Generate images from label maps with a trained model.

The configuration is in the checkpoint: flags of the model are not needed, and may not contradict
it. --seed chooses the random styles (default: 0), --batch_size the number of label maps sampled
together (default: 8); --palette and --label_remap may differ from the training. --workdir=demo
is the demo of the package, which has its own label maps; its images go to demo_images.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from absl import flags

import spade_jax
from spade_jax.commands import shared
from spade_jax.config.flags import given_options
from spade_jax.errors import UserError

if TYPE_CHECKING:
    from spade_jax.config.config import Config
    from spade_jax.data.files.label_maps import LabelMaps

LABEL_DIR = flags.DEFINE_string(
    'label_dir', None, 'Directory of label maps. Default: the validation set of the run.'
)
INSTANCE_DIR = flags.DEFINE_string(
    'instance_dir', '', 'Directory of the instance maps, named as the label maps.'
)
PHOTO_DIR = flags.DEFINE_string(
    'photo_dir', '', 'Directory of photos, named as the label maps, to show in the gallery.'
)
GALLERY = flags.DEFINE_bool(
    'gallery', True, 'Write index.html and contact_sheet.png: label maps, images and photos.'
)
BATCH_STATISTICS = flags.DEFINE_enum(
    'batch_statistics',
    'running',
    ['running', 'batch', 'recalibrated'],
    'Statistics of batch normalization: the running statistics of the training; those of the '
    'label maps sampled together (--batch_size); or recalibrated: recomputed over the label maps '
    'being sampled (at most 64 batches).',
)
STYLE_FLAGS = (
    flags.DEFINE_integer(
        'num_samples', 1, 'Images of each label map, in different styles.', lower_bound=1
    ),
    flags.DEFINE_string(
        'style_image',
        '',
        'Sample in the style of this image, or of the images of a directory, one for each label '
        'map and named as it.',
    ),
    flags.DEFINE_string(
        'style_image_to', '', 'Last style of an interpolation that starts at --style_image.'
    ),
    flags.DEFINE_integer(
        'seed_to', None, 'Last style of an interpolation that starts at --seed.', lower_bound=0
    ),
    flags.DEFINE_integer(
        'style_interpolation',
        0,
        'Images of each label map in an interpolation between two styles, both included.',
        lower_bound=0,
    ),
    flags.DEFINE_float(
        'truncation', 1.0, 'Scale of random styles in [0, 1]; small: close to the mean style.'
    ),
    flags.DEFINE_bool(
        'fixed_style', False, 'Use one random style for all label maps, as for frames of a video.'
    ),
)
FLAGS = (
    *(LABEL_DIR, INSTANCE_DIR, PHOTO_DIR, shared.OUTPUT_DIR, GALLERY, shared.SAMPLE_SIZE),
    *(*STYLE_FLAGS, BATCH_STATISTICS, *shared.GENERATOR_FLAGS),
)
SECTIONS = ('data',)


def run() -> None:
    """Write the images and the gallery."""
    workdir = shared.given_workdir(may_be_demo=True)
    given = given_options(flags.FLAGS)
    from spade_jax.sampling import gallery, sample_files, sizes, style_flags

    style_values: dict[str, Any] = {flag.name: flag.value for flag in STYLE_FLAGS}
    style_options = style_flags.StyleOptions(seed=given.get('seed', 0), **style_values)
    generator = shared.load_generator(workdir)
    size = sizes.parse_size(shared.SAMPLE_SIZE.value, generator.config)
    output_dir = os.path.expanduser(shared.OUTPUT_DIR.value or _default_output_dir(workdir))
    shared.make_directory('output_dir', output_dir)
    config = generator.config.replace(**given)
    maps = _label_maps(config, workdir)
    styles = style_options.styles(generator, maps)
    request = sample_files.SampleRequest(maps, styles, size, given.get('batch_size', 8))
    viewer = None
    if GALLERY.value:
        title = os.path.basename(os.path.abspath(workdir))
        viewer = gallery.Gallery(config, maps, output_dir, styles.num_samples, title)
    generator = sample_files.with_statistics(generator, BATCH_STATISTICS.value, request)
    files = sample_files.write_samples(generator, request, output_dir, viewer)
    print(f'{len(files)} images: {output_dir}')
    if viewer:
        print(f'Gallery: {os.path.join(output_dir, gallery.PAGE)}')


def _is_demo(workdir: str) -> bool:
    return os.path.realpath(workdir) == os.path.realpath(spade_jax.DEMO)


def _default_output_dir(workdir: str) -> str:
    # The directory of the demo is part of the package: no place for the user's files.
    return 'demo_images' if _is_demo(workdir) else os.path.join(workdir, 'images')


def _label_maps(config: Config, workdir: str) -> LabelMaps:
    """The label maps of --label_dir, else those of the demo or of the validation set."""
    from spade_jax.data.files.label_maps import LabelFolder, LabelsOfSource
    from spade_jax.data.sources.open_source import open_source

    if LABEL_DIR.value is not None:
        flag_values = (LABEL_DIR.value, INSTANCE_DIR.value, PHOTO_DIR.value)
        label_dir, instance_dir, photo_dir = map(os.path.expanduser, flag_values)
        return LabelFolder(config.data, label_dir, instance_dir, photo_dir)
    for flag in (INSTANCE_DIR, PHOTO_DIR):
        if flag.value:
            problem = f'{flag.name}={flag.value} without label_dir'
            raise UserError(problem, 'add --label_dir; the default label maps have their own')
    if _is_demo(workdir):
        labels, photos = (os.path.join(workdir, name) for name in ('labels', 'photos'))
        return LabelFolder(config.data, labels, photo_dir=photos)
    if (source := open_source(config.data, 'validation')) is None:
        problem = '--label_dir is missing, and the run has no validation set'
        raise UserError(problem, 'give a directory of label maps')
    return LabelsOfSource(source, config.data)
