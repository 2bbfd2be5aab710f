"""How the mean IoU of generated images is computed, in papers as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from spade_jax.evaluation.confusion import ALL, IN_EITHER, IN_LABELS

UNKNOWN = 'protocol'  # What options call a choice that is left to the protocol.
AS_GENERATED, LABEL_SIZE = 'as_generated', 'label_size'
IMAGE_SIZE, IMAGE_SIZE_PYTORCH = 'image_size', 'image_size_pytorch'
ONE, SEVERAL = 'one', 'several'


class Choices(NamedTuple):
    """What decides the mean IoU besides network and weights, as far as it is known.

    Attributes:
      input: Size of the network's input: `AS_GENERATED`, or `LABEL_SIZE` (Pillow's bicubic).
      compare: Where labels are compared: at `LABEL_SIZE`, to which the scores of the network are
        resized, or at `IMAGE_SIZE`, with the nearest labels by Pillow's indices or PyTorch's.
      scales: Inputs of `ONE` size, or of `SEVERAL` as the scripts of the network take them.
      mean_over: Classes of the mean; a convention of `Confusion`.
    """

    input: str = UNKNOWN
    compare: str = UNKNOWN
    scales: str = UNKNOWN
    mean_over: str = UNKNOWN

    def over(self, other: Choices) -> Choices:
        """These choices, and those of `other` where these are not known."""
        pairs = zip(self, other, strict=True)
        return Choices(*(theirs if mine == UNKNOWN else mine for mine, theirs in pairs))


# What the scripts of the networks do by themselves.
SCRIPTS: Mapping[str, Choices] = {
    'cityscapes': Choices(AS_GENERATED, IMAGE_SIZE, ONE, IN_EITHER),
    'ade20k': Choices(AS_GENERATED, IMAGE_SIZE, SEVERAL, ALL),
    'coco_stuff': Choices(AS_GENERATED, IMAGE_SIZE, SEVERAL, IN_LABELS),
}
_REDUCED = Choices(AS_GENERATED, IMAGE_SIZE)
# By protocol and data set; of papers, what they, their code or their authors tell.
PROTOCOLS: Mapping[str, Mapping[str, Choices]] = {
    'scripts': SCRIPTS,
    'spade': {},
    'cc_fpse': {'coco_stuff': _REDUCED},
    'oasis': {'cityscapes': _REDUCED},
    'clade': {'cityscapes': _REDUCED._replace(scales=ONE)},
    'gan_compression': {
        'cityscapes': Choices(AS_GENERATED, LABEL_SIZE, ONE, IN_EITHER),
        'coco_stuff': Choices(LABEL_SIZE, LABEL_SIZE, SEVERAL, IN_LABELS),
    },
}


def resolve(given: Choices, protocol: str, data_set: str) -> tuple[Choices, dict[str, str]]:
    """The choices (those given, else of a protocol, else of `SCRIPTS`), and how results name them.

    `protocol` is a key of `PROTOCOLS`, `data_set` of `SCRIPTS`.
    """
    known = given.over(PROTOCOLS[protocol].get(data_set, Choices()))
    choices, described = known.over(SCRIPTS[data_set]), {'protocol': protocol}
    for name, value in choices._asdict().items():
        is_known = getattr(known, name) != UNKNOWN
        described[name] = value if is_known else f'not published; assumed {value}'
    return choices, described


def mean_without_network(given: str) -> str:
    """The convention of the mean where no segmentation network has scripts."""
    return IN_LABELS if given == UNKNOWN else given
