"""Compare images with photos: FID, KID, LPIPS, L1, PSNR, SSIM; and label maps by mean IoU.

Any program may have made the images. Each score is printed with the choices that decide it, and
written to evaluation.json in --output_dir. docs/evaluation.md explains the scores.
"""

import json
import math
import os
from typing import Any

from absl import flags

from spade_jax.commands import shared
from spade_jax.errors import UserError

IMAGE_DIR = flags.DEFINE_string('image_dir', None, 'Images to evaluate.')
EVALUATE = flags.DEFINE_list(
    'evaluate',
    ['fid'],
    'Scores: fid, kid; of pairs lpips, l1, psnr, ssim; of predicted label maps miou.',
)
OPTIONS = (
    shared.LABEL_DIR,
    flags.DEFINE_enum(
        'fid_mode',
        'pytorch_fid',
        ['pytorch_fid', 'clean', 'legacy_tensorflow', 'pytorch_fid_2019_02', 'pytorch_fid_2018'],
        'How fid and kid prepare images: as pytorch-fid, as clean-fid, as TensorFlow, or as '
        'pytorch-fid before May 2019, with the ImageNet weights of torchvision.',
    ),
    flags.DEFINE_string('inception_weights', '', 'Published weights of Inception for fid and kid.'),
    flags.DEFINE_string(
        'photo_statistics', '', 'Statistics (.npz of mu and sigma) in place of --photo_dir for fid.'
    ),
    flags.DEFINE_string(
        'feature_cache_dir', '~/.cache/spade_jax/features', 'Directory that keeps features.'
    ),
    flags.DEFINE_integer('kid_subset_size', 1000, 'Images of a subset.', 2, 10**6),
    flags.DEFINE_integer('kid_subsets', 100, 'Number of subsets.', 1, 10**4),
    flags.DEFINE_enum('lpips_network', 'alex', ['alex', 'vgg'], 'Backbone of LPIPS.'),
    flags.DEFINE_string('lpips_weights', '', "torchvision's weights of the backbone."),
    flags.DEFINE_string(
        'prediction_dir', '', 'Label maps that a segmentation network predicted, for miou.'
    ),
    flags.DEFINE_integer('iou_classes', 0, 'Classes of miou; other ids are unlabeled.', 0, 4096),
    flags.DEFINE_enum(
        'iou_mean',
        'in_labels',
        ['in_labels', 'in_either', 'all'],
        'The classes over which miou is the mean: those in the label maps; those in label maps or '
        'predictions; or all, with 0 for a class that is in neither.',
    ),
)
FLAGS = (
    *(IMAGE_DIR, shared.PHOTO_DIR, EVALUATE, shared.OUTPUT_DIR),
    *(*OPTIONS, shared.COMPILATION_CACHE_DIR),
)
SECTIONS = ()
FIRST_FLAGS = {
    'Images': ('image_dir', 'photo_dir', 'output_dir'),
    'Scores': ('evaluate', 'fid_mode', 'inception_weights', 'lpips_network', 'lpips_weights'),
    'Label maps': ('label_dir', 'prediction_dir', 'iou_classes'),
}


def run() -> None:
    """Print the scores and write them."""
    from spade_jax.distributed.devices import start_devices
    from spade_jax.evaluation.image_folder import ImageFolder, warn_of_differences
    from spade_jax.evaluation.scores import SCORES, Comparison, Options
    from spade_jax.files.atomic_write import atomic_write
    from spade_jax.files.compilation_cache import keep_compilations

    if unknown := [name for name in EVALUATE.value if name not in SCORES]:
        raise UserError(f'evaluate={unknown[0]} is no score', f'use {", ".join(SCORES)}')
    keep_compilations(shared.COMPILATION_CACHE_DIR.value)
    start_devices()
    output_dir = shared.make_output_dir(default='evaluation')
    images, photos = (
        ImageFolder(flag.name, flag.value) if flag.value else None
        for flag in (IMAGE_DIR, shared.PHOTO_DIR)
    )
    if images and photos:
        warn_of_differences(images, photos)
    values: dict[str, Any] = {flag.name: flag.value for flag in OPTIONS}
    comparison, record = Comparison(images, photos, Options(**values), EVALUATE.value), {}
    for name in EVALUATE.value:
        value, deviation, protocol = SCORES[name].compute(comparison)
        number = value if math.isfinite(value) else str(value)  # JSON has no infinity.
        record[name] = {'value': number, 'deviation': deviation, 'protocol': protocol}
        spread = '' if deviation is None else f' +- {deviation:.4g}'
        choices = ', '.join(f'{key}={choice}' for key, choice in protocol.items())
        score = SCORES[name]
        print(
            f'{name:<6} {value:.6g}{spread}  {score.help}; {score.is_better} is better; {choices}'
        )
    path = os.path.join(output_dir, 'evaluation.json')
    with atomic_write(path) as unfinished, open(unfinished, 'w', encoding='utf-8') as file:
        json.dump(record, file, indent=1)
    print(f'Scores: {path}')
