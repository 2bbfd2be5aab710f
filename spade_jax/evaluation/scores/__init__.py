"""The scores by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from spade_jax.errors import UserError
from spade_jax.evaluation.comparison import Score
from spade_jax.evaluation.scores import distances, judged, pairs, segmentation


def of_pairs(name: str, text: str, is_better: str = 'lower') -> Score:
    """A score of the pairs of an image and the photo of the same name."""
    prepare = functools.partial(pairs.prepare, name)
    return Score(functools.partial(pairs.mean, name), text, is_better, prepare=prepare)


# To add a score, add its row.
SCORES: Mapping[str, Score] = {
    'fid': Score(
        functools.partial(distances.frechet, 'inception'),
        'Frechet inception distance',
        prepare=functools.partial(distances.photo_gaussian, 'inception'),
    ),
    'kid': Score(
        functools.partial(distances.kernel, 'inception'),
        'kernel inception distance',
        prepare=functools.partial(distances.photo_features, 'inception'),
    ),
    'lpips': of_pairs('lpips', 'LPIPS to the photo of the same name'),
    'lpips_diversity': Score(
        pairs.style_diversity,
        'LPIPS between random styles of a label map',
        'higher',
        prepare=lambda comparison: comparison.lpips,
    ),
    'l1': of_pairs('l1', 'mean absolute difference, of 255'),
    'psnr': of_pairs('psnr', 'signal to noise in dB', 'higher'),
    'ssim': of_pairs('ssim', 'structural similarity', 'higher'),
    'layout': Score(
        judged.layout,
        'accuracy of a judge of color and texture, for one data set only',
        'higher',
        prepare=lambda comparison: comparison.layout_judge,
    ),
    'unet_miou': Score(
        judged.unet_mean_iou,
        'mean IoU of a U-Net trained here, for one data set only',
        'higher',
        prepare=lambda comparison: comparison.unet_judge,
    ),
    'miou': Score(
        segmentation.mean_iou,
        'mean IoU of predicted label maps',
        'higher',
        prepare=segmentation.prepare,
    ),
    'lite0_frechet': Score(
        functools.partial(distances.frechet, 'lite0'),
        'Frechet distance of EfficientNet-Lite0, not comparable with FID',
        prepare=functools.partial(distances.photo_gaussian, 'lite0'),
    ),
    'lite0_kernel': Score(
        functools.partial(distances.kernel, 'lite0'),
        'kernel distance of EfficientNet-Lite0, not comparable with KID',
        prepare=functools.partial(distances.photo_features, 'lite0'),
    ),
}


def parse_names(text: str) -> list[str]:
    """The names of --evaluate, each once; raises UserError if one is no score, or there is none."""
    names = list(dict.fromkeys(name.strip() for name in text.split(',') if name.strip()))
    if not names:
        raise UserError(f'evaluate={text} names no score', f'use {", ".join(SCORES)}')
    if unknown := [name for name in names if name not in SCORES]:
        raise UserError(f'evaluate={unknown[0]} is no score', f'use {", ".join(SCORES)}')
    return names
