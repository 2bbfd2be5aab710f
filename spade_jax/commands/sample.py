"""Generate images from label maps with a trained model, or from nothing but --seed.

The configuration is in the checkpoint: flags of the model are not needed, and may not contradict
it. --palette and --label_remap may differ from the training. --workdir=demo is the demo of the
package, which has its own label maps; its images go to demo_images.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from absl import flags

from spade_jax.commands import shared
from spade_jax.config.flags import given_flags, given_options
from spade_jax.config.option import LARGEST_SEED
from spade_jax.errors import UserError, user_errors
from spade_jax.files.html_page import GALLERY_PAGE

if TYPE_CHECKING:
    from spade_jax.config.config import Config
    from spade_jax.data.files.label_maps import LabelMaps
    from spade_jax.sampling import TrainedGenerator
    from spade_jax.sampling.style_flags import StyleOptions
    from spade_jax.sampling.styles import Styles

GALLERY = flags.DEFINE_bool('gallery', True, 'Write a page with all images, and a contact sheet.')
BATCH_STATISTICS = flags.DEFINE_enum(
    'batch_statistics',
    'running',
    ['running', 'batch', 'recalibrated'],
    'Statistics of batch normalization: the running ones of the training, those of the label maps '
    'sampled together (--batch_size), or recalibrated over the label maps (at most 64 batches).',
)
STYLE_IMAGE = flags.DEFINE_string(
    'style_image', '', 'Image of the style, or directory with one for each label map.'
)
STYLE_IMAGE_TO = flags.DEFINE_string(
    'style_image_to', '', 'End of an interpolation from --style_image.'
)
STYLE_LABEL = flags.DEFINE_string(
    'style_label',
    '',
    'Label map of --style_image, or directory of them, for models with a style of each class.',
)
STYLE_INSTANCE = flags.DEFINE_string(
    'style_instance', '', 'Instance map of --style_image, or directory, as --style_label.'
)
STYLE_FLAGS = (
    *(STYLE_LABEL, STYLE_INSTANCE),
    flags.DEFINE_integer(
        'style_cluster',
        None,
        'Number, from 0, of the cluster of features of each class, the largest first.',
        0,
        10**4,
    ),
    flags.DEFINE_integer(
        'num_samples', 1, 'Number of images of each label map, or of all without them.', 1, 10**4
    ),
    *(STYLE_IMAGE, STYLE_IMAGE_TO),
    flags.DEFINE_integer('seed_to', None, 'End of an interpolation from --seed.', 0, LARGEST_SEED),
    flags.DEFINE_integer(
        'style_interpolation', 0, 'Images of an interpolation, both ends included.', 0, 10**4
    ),
    flags.DEFINE_float('truncation', 1.0, 'Scale of random styles in [0, 1]; 0: the mean style.'),
    flags.DEFINE_bool('fixed_style', False, 'Use one random style for all label maps.'),
)
STYLE_JSON = flags.DEFINE_string(
    'style_json', '', 'Style as the studio writes it, in the command that it copies.'
)
FLAGS = (
    *(
        shared.LABEL_DIR,
        shared.INSTANCE_DIR,
        shared.PHOTO_DIR,
        shared.OUTPUT_DIR,
        GALLERY,
        shared.SAMPLE_SIZE,
    ),
    *(*STYLE_FLAGS, STYLE_JSON, BATCH_STATISTICS, *shared.GENERATOR_FLAGS),
)
SECTIONS = ('data',)
OTHER_OPTIONS = shared.OPTIONS_OF_SAMPLING
FIRST_FLAGS = {
    'Run': ('workdir', 'output_dir', 'batch_size'),
    'Label maps': ('label_dir', 'instance_dir', 'palette', 'label_remap', 'sample_size'),
    'Styles': ('num_samples', 'seed', 'style_image', 'style_interpolation', 'truncation'),
}


def run() -> None:
    """Write the images and the gallery."""
    workdir = shared.given_workdir(may_be_demo=True)
    given = given_flags(flags.FLAGS)
    from spade_jax.data.files.label_maps import EvenlySpaced
    from spade_jax.sampling import gallery, sample_files, sizes, style_flags

    style_values: dict[str, Any] = {flag.name: flag.value for flag in STYLE_FLAGS}
    style_options = style_flags.StyleOptions(seed=given.get('seed', 0), **style_values)
    generator = shared.load_generator(workdir)
    size = sizes.parse_size(shared.SAMPLE_SIZE.value, generator.config)
    # The directory of the demo is part of the package: no place for the user's files.
    images = 'demo_images' if shared.is_demo(workdir) else os.path.join(workdir, 'images')
    config = generator.config.replace(**given_options(flags.FLAGS, generator.config))
    maps, style_options = _maps(config, workdir, style_options)
    inputs = _inputs(config)
    output_dir = shared.checked_output_dir(images, inputs)
    bad = sample_files.check_maps(maps, config, size, with_photos=GALLERY.value)
    if bad:
        maps = EvenlySpaced(maps, len(maps.names), bad)
    styles = _style_of_studio(generator, style_options) or style_options.styles(generator, maps)
    request = sample_files.SampleRequest(
        maps, styles, size, given.get('batch_size', shared.MAPS_TOGETHER), tuple(inputs.values())
    )
    page = None
    if GALLERY.value:
        title = os.path.basename(os.path.abspath(workdir))
        page = gallery.Gallery(config, maps, output_dir, styles.num_samples, title)
    generator = sample_files.with_statistics(generator, BATCH_STATISTICS.value, request)
    files = sample_files.write_samples(generator, request, output_dir, page)
    print(f'{len(files)} images: {output_dir}')
    if bad:
        print(f'{len(bad)} label maps were skipped:', *map(str, bad.values()), sep='\n  ')
    if page:
        print(f'Gallery: {os.path.join(output_dir, GALLERY_PAGE)}')


def _maps(config: Config, workdir: str, styles: StyleOptions) -> tuple[LabelMaps, StyleOptions]:
    """The label maps, and the options of their styles."""
    if not config.data.unconditional or shared.LABEL_DIR.value is not None:
        return shared.label_maps(config, workdir), styles
    from spade_jax.data.files.label_maps import EmptyMaps

    # One map for each image: its number decides the latent, as in a call from Python.
    maps = EmptyMaps(config.data, styles.num_samples)
    return maps, dataclasses.replace(styles, num_samples=1)


def _style_of_studio(generator: TrainedGenerator, options: StyleOptions) -> Styles | None:
    """The style of --style_json for all label maps; None without it."""
    text = STYLE_JSON.value
    if not text:
        return None
    from spade_jax.sampling.style_flags import StyleOptions
    from spade_jax.sampling.styles import GivenStyles
    from spade_jax.studio.style_messages import latent_of, parse_style

    problem = f'style_json={text[:60]}'
    if options != StyleOptions():
        remedy = 'leave out the other flags of styles, such as --seed'
        raise UserError(f'{problem} is the whole style', remedy)
    if generator.latent_dim is None:
        raise UserError(f'{problem}, but this model has no style latent', 'leave it out')
    with user_errors(problem, "copy the command of the studio, which begins it with a '"):
        style = parse_style(json.loads(text))
    return GivenStyles(latent_of(style, generator.latent_dim, generator.clusters)[None])


def _inputs(config: Config) -> dict[str, str]:
    """Flag -> file or directory that sampling with these flags reads."""
    read = (shared.LABEL_DIR, shared.INSTANCE_DIR, shared.PHOTO_DIR)
    read = (*read, STYLE_IMAGE, STYLE_IMAGE_TO, STYLE_LABEL, STYLE_INSTANCE)
    given = {flag.name: os.path.expanduser(flag.value) for flag in read if flag.value}
    if shared.LABEL_DIR.value is not None or config.data.unconditional:
        return given
    of_validation = (f'validation_{role}_dir' for role in ('image', 'label', 'instance'))
    return given | shared.data_directories(config.data, of_validation)
