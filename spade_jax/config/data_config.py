"""The section of the configuration that describes the data."""

import dataclasses

from spade_jax.config.label_format import LARGEST_ID, parse_palette, parse_remap
from spade_jax.config.option import LARGEST_SIDE, Section, option
from spade_jax.errors import UserError

# The data sets of the catalog (`catalog.py` has their settings) and forms of one's own data.
DATASETS = (
    *('scenes', 'folders', 'pairs', 'tfds'),
    *('coco_stuff', 'ade20k', 'cityscapes', 'cityscapes_19'),
    *('facades', 'camvid', 'camvid_32', 'celebamask_hq'),
)
CONDITIONS = ('labels', 'labels+edges', 'rgb', 'none')
CROPPING_MODES = ('resize_and_crop', 'crop', 'scale_width_and_crop', 'scale_shortside_and_crop')
PREPROCESS_MODES = (*CROPPING_MODES, 'scale_width', 'scale_shortside', 'fixed', 'none')
DONTCARE_ID = 255


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
    """What the examples are, where they are, and how they become images and layouts."""

    dataset: str = option(
        'scenes',
        'The data: "scenes" (procedural landscapes that ship with the package), "folders" (paired '
        'image and label files), "pairs" (condition and image side by side in one file, as for '
        'pix2pix), "tfds" (any data set of TensorFlow Datasets with an image and a '
        'segmentation), or a public data set in the layout of its download. It sets the defaults '
        "of the flags that describe the data: directories, classes, don't-care, sizes.",
        choices=DATASETS,
    )
    data_dir: str = option(
        '',
        'Directory of the data; all directories below are relative to it. scenes, tfds: directory '
        'of the prepared records (default: the TFDS directory, ~/tensorflow_datasets).',
        mutable=True,
        path=True,
    )
    records_dir: str = option(
        '',
        'Read the examples that --mode=prepare_data wrote here, not the files of the data set.',
        mutable=True,
        path=True,
    )
    train_image_dir: str = option('train_img', 'Training images.', mutable=True, path=True)
    train_label_dir: str = option('train_label', 'Training label maps.', mutable=True, path=True)
    train_instance_dir: str = option(
        'train_inst',
        'Training instance maps, or a JSON file of COCO annotations, for --condition=labels+edges.',
        mutable=True,
        path=True,
    )
    train_list: str = option(
        '',
        'File (relative to data_dir) that lists the training examples, one a line: "stem", or '
        '"train/stem", "val/stem" from the directories of that split. Default: every pair.',
        mutable=True,
        path=True,
    )
    validation_image_dir: str = option('val_img', 'Validation images.', mutable=True, path=True)
    validation_label_dir: str = option(
        'val_label', 'Validation label maps.', mutable=True, path=True
    )
    validation_instance_dir: str = option(
        'val_inst', 'As train_instance_dir.', mutable=True, path=True
    )
    validation_list: str = option('', 'As train_list, for validation.', mutable=True, path=True)
    direction: str = option(
        'a_to_b',
        'pairs: from the left half of a file (A) to the right one (B), or b_to_a.',
        choices=('a_to_b', 'b_to_a'),
    )
    image_suffix: str = option('', 'End of image stems, e.g. "_leftImg8bit".', mutable=True)
    label_suffix: str = option('', 'That of label maps, e.g. "_gtFine_labelIds".', mutable=True)
    instance_suffix: str = option('', 'That of instance maps.', mutable=True)
    scenes_train_examples: int = option(
        2048, 'scenes: number of training examples.', at_least=1, at_most=10**6
    )
    tfds_name: str = option(
        '', 'tfds: name[/configuration][:version] of the data set, e.g. oxford_iiit_pet:4.0.0.'
    )
    tfds_train_split: str = option('train', 'Training split, e.g. "train[:90%]".', mutable=True)
    tfds_validation_split: str = option('', 'Validation split; empty: none.', mutable=True)
    tfds_image_feature: str = option('', 'Feature of the images. Default: the only candidate.')
    tfds_label_feature: str = option('', 'Feature of the label maps. Default: the only candidate.')
    tfds_instance_feature: str = option('', 'Feature of the instance maps (labels+edges).')
    condition: str = option(
        'labels',
        'What the generator is conditioned on: label maps; label maps and the edges between '
        'instances; rgb, any image (edges, sketches) instead of a label map; or none: the data are '
        'images alone (the default of --model=gan).',
        choices=CONDITIONS,
    )
    num_classes: int = option(
        13,
        "Number of label classes, without the don't-care class. folders and tfds need it unless a "
        'palette gives it (--mode=validate_data counts the classes); other data sets set it.',
        at_least=1,
        at_most=LARGEST_ID + 1,
    )
    dontcare: bool = option(False, 'Label maps have 255 for "unknown": one more class.')
    palette: str = option(
        '',
        'JSON file with names and colors of the classes, or a built-in table: ade20k, camvid, '
        'camvid_32, celebamask_hq, cityscapes, cityscapes_19, coco_stuff, facades, gaugan, scenes. '
        'Label maps may then be color masks.',
    )
    palette_tolerance: int = option(
        0,
        'Color masks: how far each of red, green and blue may be from the color of a class. A '
        'color takes the nearest class.',
        at_least=0,
        at_most=127,
    )
    label_remap: str = option(
        '', 'Renumber the ids of label maps: "7:0" one, "1-12:0-11" a range, "*:255" all others.'
    )
    resize_labels: bool = option(
        False,
        'Scale label maps that are smaller or larger copies to the size of their photo (nearest).',
    )
    preprocess_mode: str = option(
        'resize_and_crop', 'How images are brought to the training size.', choices=PREPROCESS_MODES
    )
    load_size: int = option(
        286, 'Width (or shorter side) before the crop.', at_least=1, at_most=2 * LARGEST_SIDE
    )
    crop_size: int = option(
        256, 'Width of the generated image in pixels.', at_least=1, at_most=LARGEST_SIDE
    )
    aspect_ratio: float = option(
        1.0, 'Width divided by height of the generated image.', at_least=1 / 16, at_most=16
    )
    flip: bool = option(True, 'Augmentation: mirror half of the training examples.')
    coarsen_labels: float = option(
        0.0,
        'Augmentation: share of the training label maps whose outlines are blurred or straightened '
        'and whose small parts are dropped, so that the generator answers to hand-painted ones. '
        'For --condition=labels.',
        at_least=0,
        at_most=1,
    )
    on_bad_example: str = option(
        'error',
        'For an unusable file: error stops the training; skip takes another and counts it.',
        choices=('error', 'skip'),
        mutable=True,
    )
    data_workers: int = option(
        4, 'Examples decoded in parallel.', at_least=1, at_most=1024, mutable=True
    )

    def __post_init__(self):
        super().__post_init__()
        self._check_pairs()
        self._check_labels()
        if self.preprocess_mode in CROPPING_MODES and self.preprocess_mode != 'crop':
            side, needed = 'width', self.image_width
            if self.preprocess_mode == 'scale_shortside_and_crop':
                side, needed = 'shorter side', min(self.image_width, self.image_height)
            if self.load_size < needed:
                problem = f'load_size={self.load_size} is smaller than the {side} of the crop'
                raise UserError(problem, f'use --load_size={needed} or more')

    def _check_pairs(self):
        if self.dataset == 'pairs' and self.uses_labels:
            problem = f'condition={self.condition}, but dataset=pairs has images, not label maps'
            raise UserError(problem, 'use --condition=rgb')
        if self.dataset != 'pairs' and self.direction != 'a_to_b':
            problem = f'direction={self.direction}, but dataset={self.dataset} is not of pairs'
            raise UserError(problem, 'add --dataset=pairs, or leave --direction out')

    def _check_labels(self):
        if self.coarsen_labels and self.condition != 'labels':
            problem = f'coarsen_labels={self.coarsen_labels:g}, but condition={self.condition} '
            has = 'has edges that would not fit' if self.instance_edges else 'has no label maps'
            raise UserError(problem + has, 'use --condition=labels, or --coarsen_labels=0')
        remap = parse_remap(self.label_remap)
        classes = parse_palette(self.palette) if self.palette else []
        if not self.uses_labels:
            for name in ('palette', 'label_remap', 'dontcare'):
                if getattr(self, name):
                    problem = f'{name} is set, but condition={self.condition} reads images without '
                    problem += 'classes'
                    raise UserError(problem, f'leave --{name} out')
            return
        if self.palette_tolerance and not self.palette:
            problem = f'palette_tolerance={self.palette_tolerance}, but there is no palette'
            raise UserError(problem, 'add --palette=FILE')
        given = f'num_classes={self.num_classes}'
        if self.dontcare and self.num_classes > DONTCARE_ID:
            problem = f'{given} with dontcare: 255 would be both a class and "unknown"'
            raise UserError(problem, 'use --nodontcare')
        ids = {remap.new_id(entry.id): entry.name for entry in classes}
        for number, name in ids.items():
            if number >= self.label_channels and not (self.dontcare and number == DONTCARE_ID):
                remedy = f'use --num_classes={max(ids) + 1} or more'
                if number == DONTCARE_ID:
                    remedy = 'use --dontcare if 255 stands for "unknown"'
                problem = f'{given}, but the palette has the id {number} ({name})'
                raise UserError(problem, remedy)

    @property
    def image_width(self) -> int:
        """Width of the generated image in pixels."""
        return self.crop_size

    @property
    def image_height(self) -> int:
        """Height of the generated image in pixels."""
        return round(self.crop_size / self.aspect_ratio)

    @property
    def uses_labels(self) -> bool:
        """True if the condition is a label map; False if it is an RGB image or nothing."""
        return self.condition not in ('rgb', 'none')

    @property
    def unconditional(self) -> bool:
        """True if there is no condition: an image without channels has its place."""
        return self.condition == 'none'

    @property
    def instance_edges(self) -> bool:
        """True if the layout has a channel with the edges between instances."""
        return self.condition == 'labels+edges'

    @property
    def label_channels(self) -> int:
        """Channels of the one-hot classes, don't-care included; or of a condition image."""
        if self.uses_labels:
            return self.num_classes + self.dontcare
        return 0 if self.unconditional else 3

    @property
    def layout_channels(self) -> int:
        """All channels of the layout: those of the label map, then the instance edges."""
        return self.label_channels + self.instance_edges
