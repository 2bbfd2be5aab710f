"""Every data set in miniature: file names as in the downloads, small images of colored blocks.

`MINIATURES` has a function for each, which writes the files to a directory and returns the flags
with which a user trains on them.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from spade_jax.config.catalog import builtin_classes
from spade_jax.data.files.palette import rgb
from spade_jax.data.sources.celebamask import MAPPING, PARTS

# (width, height) in pixels, used in turn.
SIZES = ((48, 40), (56, 44), (40, 48), (52, 40))
_EQUAL_SIZES = ((64, 36),)  # For data sets whose images have one size.
_BLOCKS = 4


def coco_stuff(directory: pathlib.Path) -> list[str]:
    """COCO-Stuff as downloaded: photos, `stuffthingmaps`, and the annotations as JSON."""
    for split, numbers in {'train2017': (9, 25, 30, 34), 'val2017': (139, 285)}.items():
        images, annotations = [], []
        for place, (number, label) in enumerate(
            _label_maps(numbers, ids=(0, 17, 90, 91, 156, 181, 255))
        ):
            name, (height, width) = f'{number:012d}', label.shape
            _save(directory / split / f'{name}.jpg', _photo(label))
            _save(directory / 'stuffthingmaps' / split / f'{name}.png', label)
            images.append(
                {
                    'license': 1,
                    'file_name': f'{name}.jpg',
                    'coco_url': f'http://images.cocodataset.org/{split}/{name}.jpg',
                    'height': height,
                    'width': width,
                    'date_captured': '2013-11-14 11:18:45',
                    'flickr_url': '',
                    'id': number,
                }
            )
            if place:  # The first photo shows no things.
                annotations += _annotations(number, width, height)
        content = {
            'info': {'description': 'COCO 2017 Dataset', 'year': 2017},
            'licenses': [{'url': '', 'id': 1, 'name': 'none'}],
            'images': images,
            'annotations': annotations,
            'categories': [{'supercategory': 'animal', 'id': 18, 'name': 'dog'}],
        }
        _write(directory / 'annotations' / f'instances_{split}.json', json.dumps(content))
    return ['--dataset=coco_stuff', f'--data_dir={directory}']


def pairs(directory: pathlib.Path) -> list[str]:
    """Facades as for pix2pix: the photo on the left, its label map in colors on the right."""
    for split, numbers in {'train': (1, 2, 3, 4), 'val': (1, 2), 'test': (1,)}.items():
        for number, label in _label_maps(numbers, ids=range(4)):
            colors = np.random.default_rng(1).integers(0, 255, (4, 3)).astype(np.uint8)[label]
            pair = np.concatenate([_photo(label), colors], axis=1)
            _save(directory / split / f'{number}.jpg', pair)
    return ['--dataset=pairs', f'--data_dir={directory}', '--direction=b_to_a']


def coco_stuff_folders(directory: pathlib.Path) -> list[str]:
    """COCO-Stuff in the folders of the published implementation, with its instance maps."""
    for split, numbers in {'train': (9, 25, 30, 34), 'val': (139, 285)}.items():
        for number, label in _label_maps(numbers, ids=(0, 17, 90, 91, 156, 181, 255)):
            name = f'{number:012d}'
            _save(directory / f'{split}_img' / f'{name}.jpg', _photo(label))
            _save(directory / f'{split}_label' / f'{name}.png', label)
            _save(directory / f'{split}_inst' / f'{name}.png', _instances(label).astype(np.uint8))
    return ['--dataset=coco_stuff', f'--data_dir={directory}']


def ade20k(directory: pathlib.Path) -> list[str]:
    """ADEChallengeData2016: ids 1 to 150, 0 for unknown."""
    for split, short, numbers in (
        ('training', 'train', (1, 2, 3, 4)),
        ('validation', 'val', (1, 2)),
    ):
        for number, label in _label_maps(numbers, ids=(0, 1, 3, 5, 17, 150)):
            name = f'ADE_{short}_{number:08d}'
            _save(directory / 'images' / split / f'{name}.jpg', _photo(label))
            _save(directory / 'annotations' / split / f'{name}.png', label)
    _write(
        directory / 'objectInfo150.txt',
        'Idx\tRatio\tTrain\tVal\tName\n1\t0.1576\t11664\t1172\twall\n',
    )
    _write(directory / 'sceneCategories.txt', 'ADE_train_00000001 airport_terminal\n')
    return ['--dataset=ade20k', f'--data_dir={directory}']


def cityscapes(directory: pathlib.Path) -> list[str]:
    """Cityscapes: a directory for each town, four annotation files for each photo."""
    frames = {
        'train': (
            'aachen_000000_000019',
            'aachen_000001_000019',
            'bochum_000000_000313',
            'bochum_000000_000600',
        ),
        'val': ('frankfurt_000000_000294', 'munster_000000_000019'),
    }
    for split, names in frames.items():
        for name, label in _label_maps(
            names, ids=(0, 4, 7, 11, 21, 23, 26, 33), sizes=_EQUAL_SIZES
        ):
            town, (height, width) = name.split('_')[0], label.shape
            _save(
                directory / 'leftImg8bit' / split / town / f'{name}_leftImg8bit.png', _photo(label)
            )
            annotations = directory / 'gtFine' / split / town
            _save(annotations / f'{name}_gtFine_labelIds.png', label)
            _save(
                annotations / f'{name}_gtFine_instanceIds.png',
                np.where(label >= 24, label.astype(np.uint16) * 1000 + 1, label).astype(np.uint16),
            )
            _save(
                annotations / f'{name}_gtFine_color.png',
                np.dstack([_photo(label), np.full_like(label, 255)]),
            )
            polygons = {
                'imgHeight': height,
                'imgWidth': width,
                'objects': [{'label': 'road', 'polygon': [[0, 0], [width, 0], [width, height]]}],
            }
            _write(annotations / f'{name}_gtFine_polygons.json', json.dumps(polygons))
    return ['--dataset=cityscapes', f'--data_dir={directory}']


def cityscapes_19(directory: pathlib.Path) -> list[str]:
    """The same files for the 19 classes of the benchmark."""
    return ['--dataset=cityscapes_19', *cityscapes(directory)[1:]]


def facades(directory: pathlib.Path) -> list[str]:
    """CMP Facades: photos, label maps (palette indices 1 to 12) and rectangles in a directory."""
    palette = [(index * 37 % 256, index * 91 % 256, index * 19 % 256) for index in range(13)]
    for part, letter, numbers in (('base', 'b', (1, 2, 3, 4)), ('extended', 'x', (1, 2))):
        for number, label in _label_maps(numbers, ids=range(1, 13)):
            name = directory / part / f'cmp_{letter}{number:04d}'
            _save(name.with_suffix('.jpg'), _photo(label))
            indices = Image.fromarray(label)
            indices.putpalette([value for color in palette for value in color])
            indices.save(name.with_suffix('.png'))
            _write(
                name.with_suffix('.xml'),
                '<object>\n <points>\n  <x>0.1</x>\n </points>\n <label>1</label>\n</object>\n',
            )
    return ['--dataset=facades', f'--data_dir={directory}']


def camvid(directory: pathlib.Path) -> list[str]:
    """CamVid as in the tutorial of SegNet: ids 0 to 10, 11 for unknown, and lists of paths."""
    frames = {
        'train': ('0001TP_006690', '0001TP_006720', '0006R0_f00930', '0016E5_00390'),
        'val': ('0016E5_07959', '0016E5_07961'),
        'test': ('0001TP_008550',),
    }
    for split, names in frames.items():
        for name, label in _label_maps(names, ids=range(12), sizes=_EQUAL_SIZES):
            _save(directory / split / f'{name}.png', _photo(label))
            _save(directory / f'{split}annot' / f'{name}.png', label)
        _write(
            directory / f'{split}.txt',
            ''.join(
                f'/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n'
                for name in names
            ),
        )
    return ['--dataset=camvid', f'--data_dir={directory}']


def camvid_32(directory: pathlib.Path) -> list[str]:
    """CamVid as its authors published it: color masks, no splits."""
    classes = {entry.id: rgb(entry.color) for entry in builtin_classes('camvid_32')}
    colors = np.array([classes[number] for number in range(32)], np.uint8)
    names = (
        '0001TP_006690',
        '0001TP_006720',
        '0006R0_f00930',
        '0016E5_00390',
        '0016E5_07959',
        'Seq05VD_f00000',
    )
    for name, label in _label_maps(names, ids=range(32), sizes=_EQUAL_SIZES):
        _save(directory / '701_StillsRaw_full' / f'{name}.png', _photo(label))
        _save(directory / 'LabeledApproved_full' / f'{name}_L.png', colors[label])
    return ['--dataset=camvid_32', f'--data_dir={directory}']


def celebamask_hq(directory: pathlib.Path) -> list[str]:
    """CelebAMask-HQ: a mask file for each part of a face, half the size of the photo."""
    originals = {
        0: 5,
        1: 162770,
        2: 182638,
        3: 162771,
        1999: 100,
        2000: 101,
        2001: 182637,
        2002: 202599,
    }
    for face in originals:
        masks = directory / 'CelebAMask-HQ-mask-anno' / str(face // 2000)
        _save(
            directory / 'CelebA-HQ-img' / f'{face}.jpg',
            np.random.default_rng(face).integers(0, 256, (96, 96, 3)).astype(np.uint8),
        )
        for number, part in enumerate(PARTS):
            if part in ('skin', 'nose', 'hair') or (face + number) % 3 == 0:
                _save(
                    masks / f'{face:05d}_{part}.png', _white_box(48, 2 * number, number + face % 7)
                )
    lines = [
        f'{face:<12}{original:<12}{original + 1:06d}.jpg' for face, original in originals.items()
    ]
    _write(directory / MAPPING, '\n'.join(['idx         orig_idx    orig_file', *lines]) + '\n')
    _write(directory / 'CelebAMask-HQ-attribute-anno.txt', '8\n5_o_Clock_Shadow\n')
    return ['--dataset=celebamask_hq', f'--data_dir={directory}']


def tfds(directory: pathlib.Path) -> list[str]:
    """A data set that TFDS has prepared, without the code that made it."""
    import tensorflow_datasets

    features = tensorflow_datasets.features.FeaturesDict(
        {
            'file_name': tensorflow_datasets.features.Text(),
            'image': tensorflow_datasets.features.Image(
                shape=(None, None, 3), encoding_format='jpeg'
            ),
            'segmentation_mask': tensorflow_datasets.features.Image(
                shape=(None, None, 1), encoding_format='png'
            ),
            'species': tensorflow_datasets.features.ClassLabel(num_classes=2),
        }
    )

    def examples(names):
        return [
            {
                'file_name': name,
                'image': _photo(label),
                'segmentation_mask': label[..., None],
                'species': 0,
            }
            for name, label in _label_maps(names, ids=range(3))
        ]

    prepare_tfds(
        directory, 'block_images', features, {'train': examples('abcd'), 'test': examples('ef')}
    )
    return [
        '--dataset=tfds',
        '--tfds_name=block_images',
        f'--data_dir={directory}',
        '--tfds_validation_split=test',
        '--num_classes=3',
    ]


def color_masks(directory: pathlib.Path) -> list[str]:
    """The user's own folders, with color masks, a palette and a color for "unknown"."""
    colors = np.array([(128, 192, 255), (0, 96, 0), (96, 64, 0), (0, 0, 0)], np.uint8)
    for split, names in {
        'train': ('beach', 'forest/path', 'hill', 'lake'),
        'val': ('meadow', 'river'),
    }.items():
        for name, label in _label_maps(names, ids=range(4)):
            _save(directory / f'{split}_img' / f'{name}.jpg', _photo(label))
            _save(directory / f'{split}_label' / f'{name}.png', colors[label])
    palette = {
        'classes': [
            {'name': 'sky', 'color': '#80c0ff'},
            {'name': 'grass', 'color': '#006000'},
            {'name': 'earth', 'color': [96, 64, 0]},
        ],
        'void': {'color': '#000000'},
    }
    _write(directory / 'palette.json', json.dumps(palette))
    return [
        '--dataset=folders',
        f'--data_dir={directory}',
        f'--palette={directory / "palette.json"}',
    ]


def edge_images(directory: pathlib.Path) -> list[str]:
    """The user's own folders with images of edges as conditions: gray PNG and RGB JPEG files."""
    for split, names in {'train': ('a', 'b', 'c', 'd'), 'val': ('e', 'f')}.items():
        for place, (name, label) in enumerate(_label_maps(names, ids=range(6))):
            edges = np.where(
                np.diff(label.astype(int), axis=1, append=label[:, -1:]) != 0, 0, 255
            ).astype(np.uint8)
            _save(directory / f'{split}_img' / f'{name}.jpg', _photo(label))
            if place % 2:
                _save(directory / f'{split}_label' / f'{name}.jpg', np.dstack([edges] * 3))
            else:
                _save(directory / f'{split}_label' / f'{name}.png', edges)
    return ['--dataset=folders', f'--data_dir={directory}', '--condition=rgb']


MINIATURES: Mapping[str, Callable[[pathlib.Path], list[str]]] = {
    miniature.__name__: miniature
    for miniature in (
        coco_stuff,
        coco_stuff_folders,
        ade20k,
        cityscapes,
        cityscapes_19,
        facades,
        camvid,
        camvid_32,
        celebamask_hq,
        pairs,
        tfds,
        color_masks,
        edge_images,
    )
}


def prepare_tfds(
    directory: pathlib.Path,
    name: str,
    features,
    examples: Mapping[str, Sequence[Mapping]],
    file_format: str = 'array_record',
) -> pathlib.Path:
    """Let TFDS prepare a data set that afterwards exists without its code.

    Args:
      directory: The data_dir of TFDS.
      name: Of the data set, in lower case.
      features: A FeaturesDict.
      examples: By split.
      file_format: 'array_record' or 'tfrecord'.

    Returns:
      The directory with dataset_info.json.
    """
    from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow

    import_tensorflow()
    import tensorflow_datasets

    class Builder(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tensorflow_datasets.core.Version('1.0.0')

        def _info(self):
            return tensorflow_datasets.core.DatasetInfo(
                builder=self,
                description='Colored blocks.',
                features=features,
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in examples}

        def _generate_examples(self, split):
            yield from enumerate(examples[split])

    Builder.name = name
    tensorflow_datasets.disable_progress_bar()
    builder = Builder(data_dir=directory, file_format=file_format)
    builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


def _label_maps(
    names: Iterable, ids: Iterable[int], sizes: Sequence[tuple[int, int]] = SIZES
) -> Iterable[tuple]:
    """Yield (name, label map [H, W] uint8) of blocks of random ids, all of which occur."""
    ids = np.array(list(ids), np.uint8)
    for place, name in enumerate(names):
        width, height = sizes[place % len(sizes)]
        blocks = np.random.default_rng(place).choice(ids, (_BLOCKS, _BLOCKS))
        blocks[0, :] = np.take(ids, np.arange(_BLOCKS) + _BLOCKS * place, mode='wrap')
        rows, columns = (np.arange(side) * _BLOCKS // side for side in (height, width))
        yield name, blocks[rows][:, columns]


def _photo(label: np.ndarray) -> np.ndarray:
    """Return [H, W, 3] uint8: a color for each id, brighter to the right, so that flips show."""
    colors = np.random.default_rng(0).integers(0, 200, (256, 3))
    return (colors[label] + np.linspace(0, 55, label.shape[1])[:, None]).astype(np.uint8)


def _instances(label: np.ndarray) -> np.ndarray:
    """Return [H, W] int: a number for each block."""
    height, width = label.shape
    return (np.arange(height) * _BLOCKS // height * _BLOCKS)[:, None] + np.arange(
        width
    ) * _BLOCKS // width


def _annotations(image_id: int, width: int, height: int) -> list[dict]:
    """Return three things: one of two pieces, one of one, and a crowd, the columns 2 and 3."""

    def annotation(number, segmentation, crowd):
        return {
            'segmentation': segmentation,
            'area': 100.0,
            'iscrowd': crowd,
            'image_id': image_id,
            'bbox': [1.0, 1.0, 10.0, 10.0],
            'category_id': 18,
            'id': image_id * 10 + number,
        }

    counts = [2 * height, 2 * height, (width - 4) * height]
    return [
        annotation(
            0,
            [[1.5, 1.5, 10.25, 1.5, 10.25, 9.0], [20.0, 5.0, 30.0, 5.0, 30.0, 12.5, 20.0, 12.5]],
            0,
        ),
        annotation(1, [[5.0, 20.0, 15.0, 20.0, 15.0, 30.0, 5.0, 30.0]], 0),
        annotation(2, {'counts': counts, 'size': [height, width]}, 1),
    ]


def _white_box(size: int, left: int, top: int) -> np.ndarray:
    """Return [size, size, 3] uint8: a white box of a third of the side on black."""
    mask = np.zeros((size, size, 3), np.uint8)
    mask[top : top + size // 3, left : left + size // 3] = 255
    return mask


def _save(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
