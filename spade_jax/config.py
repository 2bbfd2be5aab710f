"""Every knob of a run, once: name, default, help and validation.

The absl flags (`config_flags.py`) are generated from the fields of `Config`, and a checkpoint carries its Config as JSON, so that sampling needs
no model flags.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from spade_jax.errors import UserError
from spade_jax.label_table import parse_palette, parse_remap
from spade_jax.step_range import parse_step_range

# Every data set of the catalogue (`data/catalog.py`, which has their settings) and three forms of one's own data.
DATASETS = ('scenes', 'folders', 'tfds', 'coco_stuff', 'ade20k', 'cityscapes', 'cityscapes_19', 'facades', 'camvid', 'camvid_32', 'celebamask_hq')
CONDITIONS = ('labels', 'labels+edges', 'rgb')
UPSAMPLINGS = {'normal': 5, 'more': 6, 'most': 7}
CROPPING_MODES = ('resize_and_crop', 'crop', 'scale_width_and_crop', 'scale_shortside_and_crop')
PREPROCESS_MODES = CROPPING_MODES + ('scale_width', 'scale_shortside', 'fixed', 'none')
DONTCARE_ID = 255


def knob(default, help, *, choices=None, at_least=None, above=None, may_change=False):
    """A field of `Config`.

    Args:
      default: its value when no flag is given; its type is the type of the flag.
      help: one sentence for `--help`.
      choices: the legal strings.
      at_least, above: closed and open lower bounds of a number.
      may_change: True where a resumed run may have another value than its checkpoint (paths, intervals of logging).
    """
    metadata = dict(help=help, choices=choices, at_least=at_least, above=above, may_change=may_change)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run of SPADE. The defaults are those of the published models (Park et al. 2019, section 4), unless the help says otherwise.

    Raises:
      UserError: on construction, when a value is out of range or two values contradict each other.
    """

    # Data.
    dataset: str = knob('scenes', 'The data: "scenes" (procedural landscapes, ships with the package), "folders" (paired image and label files), "tfds" (any '
                        'data set of TensorFlow Datasets with an image and a segmentation), or the name of a public data set in the layout of its download. '
                        'It sets the defaults of the flags that describe the data: directories, classes, don\'t-care, sizes.', choices=DATASETS)
    data_dir: str = knob('', 'Where the data lies: the directory that all directories below are relative to. scenes, tfds: where the prepared '
                         'records are (default: the TFDS directory, ~/tensorflow_datasets).', may_change=True)
    records_dir: str = knob('', 'Read the records that --mode=prepare_data wrote here, already decoded and scaled, instead of the files of the data set.',
                            may_change=True)
    train_image_dir: str = knob('train_img', 'Training photographs.', may_change=True)
    train_label_dir: str = knob('train_label', 'Training label maps.', may_change=True)
    train_instance_dir: str = knob('train_inst', 'Training instance maps, or a JSON file of COCO annotations to draw them from; read only with '
                                    '--condition=labels+edges.', may_change=True)
    train_list: str = knob('', 'Text file (relative to data_dir) that lists the training examples, one a line: "stem", found in the directories '
                           'above, or "train/stem", "val/stem", found in the directories of that split. Default: every pair.', may_change=True)
    validation_image_dir: str = knob('val_img', 'Validation photographs.', may_change=True)
    validation_label_dir: str = knob('val_label', 'Validation label maps.', may_change=True)
    validation_instance_dir: str = knob('val_inst', 'Validation instance maps, or a JSON file of COCO annotations.', may_change=True)
    validation_list: str = knob('', 'As train_list, for validation.', may_change=True)
    image_suffix: str = knob('', 'Ending of the photographs\' stems that the pairing ignores, for example "_leftImg8bit".', may_change=True)
    label_suffix: str = knob('', 'Ending of the label maps\' stems, for example "_gtFine_labelIds".', may_change=True)
    instance_suffix: str = knob('', 'Ending of the instance maps\' stems, for example "_gtFine_instanceIds".', may_change=True)
    scenes_train_examples: int = knob(2048, 'scenes: number of training pictures.', at_least=1)
    tfds_name: str = knob('', 'tfds: name of the data set, with configuration and version where wanted, for example "oxford_iiit_pet:4.0.0".')
    tfds_train_split: str = knob('train', 'tfds: training split, for example "train[:90%]".', may_change=True)
    tfds_validation_split: str = knob('', 'tfds: validation split; empty: none.', may_change=True)
    tfds_image_feature: str = knob('', 'tfds: feature with the photographs. Default: the only one that can be it.')
    tfds_label_feature: str = knob('', 'tfds: feature with the segmentations. Default: the only one that can be it.')
    tfds_instance_feature: str = knob('', 'tfds: feature with the instance maps, for --condition=labels+edges.')
    condition: str = knob('labels', 'What the generator draws from: label maps; label maps and the borders between instances; or rgb, any picture (edges, '
                          'drawings) in the place of the label map.', choices=CONDITIONS)
    num_classes: int = knob(13, 'Number of label classes, without the don\'t-care class. folders and tfds need it, unless a palette gives it '
                            '(--mode=validate_data counts them); all other data sets bring their own.', at_least=1)
    dontcare: bool = knob(False, 'The label maps hold 255 for "unknown"; it becomes one more class.')
    palette: str = knob('', 'JSON file with the names and colours of the classes. With it, label maps may be colour masks.')
    label_remap: str = knob('', 'Renumbers the ids of the label maps as they are read: "7:0" one id, "1-12:0-11" a range, "*:255" all that are not listed.')
    preprocess_mode: str = knob('resize_and_crop', 'How pictures are brought to the training size.', choices=PREPROCESS_MODES)
    load_size: int = knob(286, 'Width (with scale_shortside, shorter side) in pixels to which pictures are scaled before the crop.', at_least=1)
    crop_size: int = knob(256, 'Width in pixels of the generated picture.', at_least=1)
    aspect_ratio: float = knob(1.0, 'Width divided by height of the generated picture.', above=0)
    flip: bool = knob(True, 'Mirror half of the training examples.')
    reference_faults: bool = knob(False, 'Scale and crop as the published implementation does where it is wrong: scale_shortside stretches, and where the '
                                  'crop reaches beyond the picture there is black and id 0.')

    # Generator.
    generator_width: int = knob(64, 'Channels of the generator\'s last block; the first has 16 times as many.', at_least=1)
    upsampling: str = knob('normal', 'Number of doublings from the coarsest grid: normal 5, more 6, most 7 (with one more block).', choices=tuple(UPSAMPLINGS))
    generator_norm: str = knob('sync_batch', 'Parameter-free normalisation inside SPADE; sync_batch takes statistics over all devices, batch over each one.',
                               choices=('sync_batch', 'batch', 'instance'))
    generator_spectral_norm: bool = knob(True, 'Spectral normalisation of the convolutions of the residual blocks.')
    spade_hidden: int = knob(128, 'Channels of the hidden convolution of a SPADE layer.', at_least=1)
    spade_kernel_size: int = knob(3, 'Kernel size of the convolutions over the layout; odd.', at_least=1)

    # Style encoder.
    style_encoder: bool = knob(False, 'Train a style encoder (VAE): the generator starts from a latent instead of the layout.')
    style_dim: int = knob(256, 'Dimensions of the style latent.', at_least=1)
    encoder_width: int = knob(64, 'Channels of the encoder\'s first convolution.', at_least=1)
    encoder_input_size: int = knob(256, 'Side in pixels to which the encoder resizes its input.', at_least=1)

    # Discriminator.
    discriminator_width: int = knob(64, 'Channels of a discriminator\'s first convolution.', at_least=1)
    discriminator_depth: int = knob(4, 'Convolutions of a discriminator before its prediction.', at_least=1)
    num_discriminators: int = knob(2, 'Number of scales, each half the size of the one before.', at_least=1)
    discriminator_norm: str = knob('instance', 'Normalisation of the hidden layers.', choices=('instance', 'sync_batch', 'batch', 'none'))
    discriminator_spectral_norm: bool = knob(True, 'Spectral normalisation of the hidden layers.')

    # Losses.
    gan_loss: str = knob('hinge', 'Adversarial loss.', choices=('hinge', 'least_squares', 'cross_entropy', 'wasserstein'))
    feature_matching_weight: float = knob(10.0, 'Weight of the feature matching loss; 0 turns it off.', at_least=0)
    perceptual_weight: float = knob(10.0, 'Weight of the VGG19 loss; 0 turns it off.', at_least=0)
    vgg19_weights: str = knob('', 'File with the weights of VGG19: torchvision\'s .pth, or an .npz or .safetensors with the same names.', may_change=True)
    perceptual_input: str = knob('raw', 'Input of VGG19: "raw" [-1, 1] as the published models were trained, or "imagenet" mean and deviation.',
                                 choices=('raw', 'imagenet'))
    kl_weight: float = knob(0.05, 'Weight of the KL divergence of the style, summed over its dimensions and averaged over the batch. The published recipe '
                            'with 4 images a GPU equals 0.2.', at_least=0)

    # Optimisation.
    batch_size: int = knob(32, 'Images a step, over all devices.', at_least=1)
    accumulation_steps: int = knob(1, 'Parts of a batch that go through the networks one after the other, in the memory of one; batch statistics are those of '
                                   'each part.', at_least=1)
    constant_epochs: int = knob(50, 'Epochs at the full learning rate.', at_least=0)
    decay_epochs: int = knob(0, 'Epochs of linear decay to 0 after those.', at_least=0)
    max_steps: int = knob(0, 'Stop after so many steps; 0: after all epochs. The learning rate does not depend on it.', at_least=0, may_change=True)
    learning_rate: float = knob(2e-4, 'Base learning rate of Adam.', above=0)
    two_time_scales: bool = knob(True, 'Generator at half the base rate, discriminator at twice (Heusel et al. 2017).')
    adam_beta1: float | None = knob(None, 'Decay of Adam\'s first moment. Default: 0 with two time scales, 0.5 without.', at_least=0)
    adam_beta2: float | None = knob(None, 'Decay of Adam\'s second moment. Default: 0.9 with two time scales, 0.999 without.', at_least=0)
    discriminator_steps_per_generator_step: int = knob(1, 'Update the generator on every n-th step only.', at_least=1)
    discriminator_fakes: str = knob('redrawn', 'Pictures that the discriminator update judges: redrawn by the updated generator; or reused, those of the generator update, '
                                    'an approximation that saves a pass of the generator.', choices=('redrawn', 'reused'))
    initialization: str = knob('published', 'Start of the weights: Glorot normal; "published": but the spectrally normalised kernels uniform '
                               'in +-1/sqrt(fan_in), as the released models were; "glorot": those too.', choices=('published', 'glorot'))
    init_gain: float = knob(0.02, 'Gain of the Glorot initialisation.', above=0)
    compute_dtype: str = knob('float32', 'Type of activations and products; parameters, statistics and losses are float32.', choices=('float32', 'bfloat16'))
    seed: int = knob(0, 'Of the weights, the order of the data, crops, flips and latents.', at_least=0)

    average_decay: float = knob(0.0, 'Decay of an exponential average of the weights of generator and encoder, from which pictures are drawn, for example 0.999; 0: no '
                                'average, as the published models.', at_least=0)

    # The run.
    rematerialize: str = knob('none', 'Activations of the generator that the backward pass computes again, to save memory: none; modulation: the SPADE layers; blocks: '
                              'whole residual blocks.', choices=('none', 'modulation', 'blocks'), may_change=True)
    label_convolutions: str = knob('auto', 'How SPADE convolves the label map: everywhere; or, on grids of 64x64 and more, once for every neighbourhood that occurs in it '
                                   '(neighbourhoods): the same to rounding, two to three times as fast on a CPU for maps like those of photographs, a little slower for '
                                   'noise; on a GPU its sums come in any order, so runs do not repeat to the bit. auto: neighbourhoods on a CPU, everywhere on other devices.',
                                   choices=('auto', 'everywhere', 'neighbourhoods'), may_change=True)
    shard_optimizer: bool = knob(True, 'With several devices, each keeps its share of the optimisers\' state instead of all of it.', may_change=True)
    log_every: int = knob(20, 'Steps between two records of the losses.', at_least=1, may_change=True)
    sample_every: int = knob(500, 'Steps between two sample grids.', at_least=1, may_change=True)
    num_samples_shown: int = knob(8, 'Validation examples in a sample grid.', at_least=1, may_change=True)
    checkpoint_every: int = knob(500, 'Steps between two checkpoints.', at_least=1, may_change=True)
    profile_steps: str = knob('', 'Write a trace of these steps, FIRST-LAST, for example 10-12, to <workdir>/profile. The first step compiles: take later ones.',
                              may_change=True)
    keep_checkpoints: int = knob(3, 'Newest checkpoints that are kept.', at_least=1, may_change=True)
    keep_best: str = knob('', 'Name of a metric, for example g_perceptual: the checkpoint with its lowest value is kept too.', may_change=True)
    init_from: str = knob('', 'Start a new run from the networks of the newest checkpoint in this work directory, with fresh optimisers; arrays of other shapes '
                          '(other classes) start fresh.', may_change=True)
    on_nan: str = knob('stop', 'What a loss that is not finite does: stop the run, or rollback to the newest checkpoint and go on with other data order and noise.',
                       choices=('stop', 'rollback'), may_change=True)
    on_bad_example: str = knob('error', 'What a file that cannot be used does to training: stop it, or be skipped (another example takes its place) and counted '
                               'in the records.', choices=('error', 'skip'), may_change=True)
    data_timeout: float = knob(600.0, 'Seconds after which training stops because the data source gives nothing; 0: wait forever.', at_least=0, may_change=True)
    data_workers: int = knob(4, 'Examples that are read at the same time.', at_least=1, may_change=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_field(field, getattr(self, field.name))
        if self.spade_kernel_size % 2 == 0:
            raise UserError(f'spade_kernel_size={self.spade_kernel_size} is even, so its output would not be centred; use {self.spade_kernel_size + 1}')
        for name in ('adam_beta1', 'adam_beta2'):
            value = getattr(self, name)
            if value is not None and value >= 1:
                raise UserError(f'{name}={value} does not decay; use a value in [0, 1)')
        if self.profile_steps:
            parse_step_range('profile_steps', self.profile_steps)
        if self.average_decay >= 1:
            raise UserError(f'average_decay={self.average_decay} would never move', 'use a value below 1, for example 0.999')
        self._check_labels()
        if self.batch_size % self.accumulation_steps:
            raise UserError(f'batch_size={self.batch_size} cannot be divided into {self.accumulation_steps} equal parts',
                            f'use --batch_size={nearest_multiples(self.batch_size, self.accumulation_steps)}, or another --accumulation_steps')
        if self.label_convolutions == 'neighbourhoods' and not can_number_layouts(self):
            other = 'condition=rgb' if self.condition == 'rgb' else f'spade_kernel_size={self.spade_kernel_size}'
            raise UserError(f'label_convolutions=neighbourhoods with {other}: it is for label maps and kernels of 3', 'use --label_convolutions=auto')
        if self.discriminator_fakes == 'reused':
            for name, reason in (('accumulation_steps', 'the parts of a batch do not keep theirs'), ('discriminator_steps_per_generator_step', 'steps without generator update have none')):
                if getattr(self, name) > 1:
                    raise UserError(f'discriminator_fakes=reused with {name}={getattr(self, name)}: {reason}', f'use --{name}=1 or --discriminator_fakes=redrawn')
        if self.constant_epochs + self.decay_epochs == 0:
            raise UserError('constant_epochs=0 and decay_epochs=0 leave nothing to train; set one of them')
        if self.upsampling == 'most' and self.generator_width < 2:
            raise UserError('generator_width=1 with upsampling=most leaves no channel for the last block; use 2 or more')
        self._check_size()

    def _check_labels(self):
        parse_remap(self.label_remap)
        classes = parse_palette(self.palette) if self.palette else []
        if self.condition == 'rgb':
            for name in ('palette', 'label_remap', 'dontcare'):
                if getattr(self, name):
                    raise UserError(f'{name} is set, but condition=rgb takes pictures as they are, without classes', f'leave --{name} out')
            return
        if self.dontcare and self.num_classes > DONTCARE_ID:
            raise UserError(f'num_classes={self.num_classes} with dontcare: 255 would be both a class and "unknown"', 'use --nodontcare')
        beyond = [entry for entry in classes if entry.id >= self.label_channels and not (self.dontcare and entry.id == DONTCARE_ID)]
        if beyond:
            raise UserError(f'num_classes={self.num_classes}, but the palette has the id {beyond[0].id} ({beyond[0].name})',
                            'use --dontcare if 255 stands for "unknown"' if beyond[0].id == DONTCARE_ID else f'use --num_classes={beyond[-1].id + 1} or more')

    def _check_size(self):
        smallest = 2 ** (self.encoder_depth + 1)
        if self.style_encoder and self.encoder_input_size < smallest:
            raise UserError(f'encoder_input_size={self.encoder_input_size} leaves one pixel after {self.encoder_depth} halvings; use {smallest} or more')
        scale = 2 ** UPSAMPLINGS[self.upsampling]
        doublings = f'{UPSAMPLINGS[self.upsampling]} upsamplings'
        if self.crop_size % scale:
            raise UserError(f'crop_size={self.crop_size} is not divisible by {scale} ({doublings}); use {nearest_multiples(self.crop_size, scale)}')
        if round(self.crop_size / self.aspect_ratio) != self.image_height:
            lower = max(1, math.floor(self.crop_size / self.aspect_ratio / scale)) * scale
            options = ' or '.join(f'{self.crop_size / height:.4g} ({self.crop_size}x{height})' for height in (lower, lower + scale))
            raise UserError(f'aspect_ratio={self.aspect_ratio} gives pictures of {self.crop_size}x{self.crop_size / self.aspect_ratio:.0f}, whose height is not '
                            f'divisible by {scale} ({doublings}); use {options}')
        if self.preprocess_mode in CROPPING_MODES and self.preprocess_mode != 'crop':
            side = 'shorter side' if self.preprocess_mode == 'scale_shortside_and_crop' else 'width'
            needed = min(self.image_width, self.image_height) if side == 'shorter side' else self.image_width
            if self.load_size < needed:
                raise UserError(f'load_size={self.load_size} is smaller than the {side} of the crop; use --load_size={needed} or more')

    @property
    def image_width(self) -> int:
        """Width of the generated picture in pixels."""
        return self.crop_size

    @property
    def image_height(self) -> int:
        """Height of the generated picture in pixels."""
        latent_height, _ = self.latent_size
        return latent_height * 2 ** UPSAMPLINGS[self.upsampling]

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the generator's coarsest grid."""
        width = self.crop_size // 2 ** UPSAMPLINGS[self.upsampling]
        return max(1, round(width / self.aspect_ratio)), width

    @property
    def encoder_depth(self) -> int:
        """Convolutions of the style encoder: the published rule."""
        return 6 if self.crop_size >= 256 else 5

    @property
    def instance_edges(self) -> bool:
        """True where the layout has a channel with the borders between instances."""
        return self.condition == 'labels+edges'

    @property
    def label_channels(self) -> int:
        """Channels of the layout that come from the label map: the classes and don't-care, one-hot; or red, green and blue."""
        return 3 if self.condition == 'rgb' else self.num_classes + self.dontcare

    @property
    def layout_channels(self) -> int:
        """All channels of the layout: those of the label map, then the instance edges."""
        return self.label_channels + self.instance_edges

    @property
    def adam_betas(self) -> tuple[float, float]:
        """Decays of Adam's two moments."""
        beta1, beta2 = (0.0, 0.9) if self.two_time_scales else (0.5, 0.999)
        return (beta1 if self.adam_beta1 is None else self.adam_beta1, beta2 if self.adam_beta2 is None else self.adam_beta2)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """The inverse of `to_json`; a field that this version does not know is an error."""
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f'the configuration has fields that this version does not know: {", ".join(unknown)}; use the version that wrote it')
        return cls(**values)


def can_number_layouts(config: Config) -> bool:
    """Whether the convolutions of SPADE can be computed by neighbourhood: a picture in the place of a label map has no classes, and it is done for kernels of 3."""
    return config.condition != 'rgb' and config.spade_kernel_size == 3


def conflicts(saved: Config, given: Config) -> list[str]:
    """The fields in which a resumed run may not differ from its checkpoint but does, as `name: saved -> given`."""
    return [f'{field.name}: {getattr(saved, field.name)} -> {getattr(given, field.name)}' for field in dataclasses.fields(Config)
            if not field.metadata['may_change'] and getattr(saved, field.name) != getattr(given, field.name)]


def nearest_multiples(size: int, scale: int) -> str:
    """'224 or 256' for 250 and 32: what an error message offers instead of an illegal size."""
    lower = size // scale * scale
    return ' or '.join(str(multiple) for multiple in (lower, lower + scale) if multiple > 0)


def _check_field(field: dataclasses.Field, value: Any) -> None:
    choices, at_least, above = (field.metadata[key] for key in ('choices', 'at_least', 'above'))
    if choices and value not in choices:
        raise UserError(f'{field.name}={value} is not one of {", ".join(choices)}')
    if value is None:
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f'{field.name}={value} is not a finite number')
    if at_least is not None and value < at_least:
        raise UserError(f'{field.name}={value} is too small; use {at_least} or more')
    if above is not None and value <= above:
        raise UserError(f'{field.name}={value} is too small; use more than {above}')
