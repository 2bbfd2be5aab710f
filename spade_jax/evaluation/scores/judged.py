"""Do the images follow their label maps? A judge that was fitted to the training set decides.

Beside each score are the same of the real images, which no generator should exceed by much, and the
same with the label maps of other images: what is right by chance, or because most images have it in
the same place. Scores compare with each other only if training set and judge are the same.
"""

from __future__ import annotations

from spade_jax.evaluation.comparison import Comparison, Result
from spade_jax.evaluation.judges import FittedJudge, judge_images
from spade_jax.evaluation.scores.segmentation import per_image_of
from spade_jax.evaluation.segmentation_protocols import mean_without_network

_MEASURES = ('mean_iou', 'pixel_accuracy', 'mean_accuracy')


def layout(comparison: Comparison) -> Result:
    """Pixel accuracy of the layout judge."""
    return _score(comparison, comparison.layout_judge, 'pixel_accuracy')


def unet_mean_iou(comparison: Comparison) -> Result:
    """Mean IoU of a U-Net."""
    return _score(comparison, comparison.unet_judge, 'mean_iou')


def _score(comparison: Comparison, fitted: FittedJudge, measure: str) -> Result:
    """The result by one of `_MEASURES`; the others are in its protocol."""
    verdict = judge_images(fitted.judge, comparison.images, comparison.labels)
    confusions = verdict.own, fitted.of_photos.own, verdict.others
    convention = mean_without_network(comparison.config.iou_mean)
    images, photos, others = (confusion.scores(convention)._asdict() for confusion in confusions)
    value, ceiling = images[measure], photos[measure]
    protocol = {'of_real_images': ceiling, 'ratio': value / ceiling if ceiling else None}
    protocol['with_other_label_maps'] = others[measure]
    for name in _MEASURES:
        if name != measure:
            protocol |= {name: images[name], f'{name}_of_real_images': photos[name]}
    protocol |= {'images': len(comparison.images), 'mean_over': convention}
    per_image = per_image_of(verdict.own, convention, measure)
    return Result(value, None, protocol | fitted.protocol, per_image)
