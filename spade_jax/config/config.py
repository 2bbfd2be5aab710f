"""The configuration of a run, in sections: name, default, help and validation of every option.

The flags (`flags.py`) are generated from the options, and a checkpoint carries its Config as JSON,
so that sampling needs no model flags. The names of options are unique over all sections.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from spade_jax.config.data_config import DataConfig
from spade_jax.config.model_options import MODELS, ModelOptions, options_class
from spade_jax.config.option import Section, nearest_multiples, option, parse_step_range
from spade_jax.errors import UserError

GAN_LOSSES = ('hinge', 'least_squares', 'cross_entropy', 'wasserstein')


@dataclasses.dataclass(frozen=True)
class LossConfig(Section):
    """The losses that models share."""

    gan_loss: str = option('hinge', 'Adversarial loss.', choices=GAN_LOSSES)
    feature_matching_weight: float = option(
        10.0, 'Weight of the feature matching loss; 0 disables it.', at_least=0
    )
    perceptual_weight: float = option(
        10.0, 'Weight of the perceptual (VGG19) loss; 0 disables it.', at_least=0
    )
    vgg19_weights: str = option(
        '',
        "File with the weights of VGG19: torchvision's .pth, or an .npz or .safetensors file with "
        'the same names.',
        mutable=True,
    )
    perceptual_input: str = option(
        'raw',
        'Input of VGG19: "raw" images in [-1, 1] as the published models were trained, or '
        '"imagenet" normalization.',
        choices=('raw', 'imagenet'),
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Section):
    """Batches, schedule, Adam, EMA and initialization."""

    batch_size: int = option(32, 'Examples a step, over all devices.', at_least=1)
    accumulation_steps: int = option(
        1,
        'Gradient accumulation: split the batch into this many microbatches, which are processed '
        'one after the other to save memory. Batch statistics are those of a microbatch.',
        at_least=1,
    )
    constant_epochs: int = option(50, 'Epochs at the full learning rate.', at_least=0)
    decay_epochs: int = option(
        0, 'Epochs of linear decay to 0 after the constant epochs.', at_least=0
    )
    max_steps: int = option(
        0,
        'Stop after this many steps; 0: after all epochs. It does not change the learning rate.',
        at_least=0,
        mutable=True,
    )
    learning_rate: float = option(2e-4, 'Base learning rate of Adam.', above=0)
    ttur: bool = option(
        True,
        'Two time-scale update rule (TTUR, Heusel et al. 2017): generator at half the base '
        'learning rate, discriminator at twice.',
    )
    adam_beta1: float | None = option(
        None,
        "Decay of Adam's first moment. Default: 0 with TTUR, 0.5 without.",
        at_least=0,
        below=1,
    )
    adam_beta2: float | None = option(
        None,
        "Decay of Adam's second moment. Default: 0.9 with TTUR, 0.999 without.",
        at_least=0,
        below=1,
    )
    discriminator_steps: int = option(
        1, 'Discriminator steps per generator step: update the generator every n steps.', at_least=1
    )
    ema_decay: float = option(
        0.0,
        'EMA decay for the weights of the sampling networks (generator and encoder), e.g. 0.999; '
        'samples then use the EMA. 0 disables it, as in the published models.',
        at_least=0,
        below=1,
    )
    initialization: str = option(
        'published',
        'Initialization of the kernels. glorot, normal, kaiming: that of all. published: Glorot, '
        'but spectrally normalized kernels uniform in +-1/sqrt(fan_in), as in the released models.',
        choices=('published', 'glorot', 'normal', 'kaiming'),
    )
    init_gain: float = option(
        0.02, 'Gain of the Glorot, standard deviation of the normal initialization.', above=0
    )
    compute_dtype: str = option(
        'float32',
        'Type of activations and matrix products; parameters, statistics and losses are float32.',
        choices=('float32', 'bfloat16'),
    )
    shard_optimizer: bool = option(
        True,
        'Shard the optimizer state over the devices instead of replicating it (ZeRO stage 1).',
        mutable=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.batch_size % self.accumulation_steps:
            sizes = nearest_multiples(self.batch_size, self.accumulation_steps)
            raise UserError(
                f'batch_size={self.batch_size} does not divide into '
                f'accumulation_steps={self.accumulation_steps} equal microbatches',
                f'use --batch_size={sizes}, or another --accumulation_steps',
            )
        if self.constant_epochs + self.decay_epochs == 0:
            raise UserError(
                'constant_epochs=0 and decay_epochs=0 leave nothing to train', 'set one of them'
            )

    @property
    def adam_betas(self) -> tuple[float, float]:
        """Decays of Adam's first and second moment."""
        beta1, beta2 = (0.0, 0.9) if self.ttur else (0.5, 0.999)
        beta1 = beta1 if self.adam_beta1 is None else self.adam_beta1
        return beta1, (beta2 if self.adam_beta2 is None else self.adam_beta2)


@dataclasses.dataclass(frozen=True)
class RunConfig(Section):
    """Seed, intervals, checkpoints."""

    seed: int = option(
        0, 'Seed of the weights, the data order, crops, flips and latents.', at_least=0
    )
    log_every: int = option(20, 'Steps between two log entries.', at_least=1, mutable=True)
    sample_every: int = option(500, 'Steps between two sample grids.', at_least=1, mutable=True)
    num_grid_samples: int = option(
        8, 'Validation examples in a sample grid.', at_least=1, mutable=True
    )
    checkpoint_every: int = option(500, 'Steps between two checkpoints.', at_least=1, mutable=True)
    keep_checkpoints: int = option(
        3, 'Number of the newest checkpoints that are kept.', at_least=1, mutable=True
    )
    keep_best: str = option(
        '',
        'Name of a metric, e.g. g_perceptual: also keep the checkpoint with its lowest value.',
        mutable=True,
    )
    init_from: str = option(
        '',
        'Start a new run from the networks of the newest checkpoint in this work directory, with '
        'fresh optimizers; arrays of other shapes (other classes) are initialized.',
        mutable=True,
    )
    profile_steps: str = option(
        '',
        'Write a profiler trace of these steps, FIRST-LAST, e.g. 10-12, to <workdir>/profile. The '
        'first step compiles: choose later ones.',
        mutable=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.profile_steps:
            parse_step_range('profile_steps', self.profile_steps)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run. The defaults are those of the published SPADE models unless the help says otherwise.

    Attributes:
      data: What the examples are.
      model: The options of the chosen model.
      losses: The losses that models share.
      optimizer: Batches, schedule, Adam, EMA.
      run: Seed, intervals, checkpoints.

    Raises:
      UserError: On construction, when two sections contradict each other.
    """

    data: DataConfig
    model: ModelOptions
    losses: LossConfig
    optimizer: OptimizerConfig
    run: RunConfig

    def __post_init__(self):
        self._check_size()
        self.model.check(self)

    def _check_size(self):
        data, multiple, reason = self.data, self.model.size_multiple, self.model.size_reason
        if data.crop_size % multiple:
            raise UserError(
                f'crop_size={data.crop_size} is not divisible by {multiple} ({reason})',
                f'use {nearest_multiples(data.crop_size, multiple)}',
            )
        if data.image_height % multiple or not data.image_height:
            lower = max(1, data.image_height // multiple) * multiple
            ratios = [
                f'{data.crop_size / height:.4g} ({data.crop_size}x{height})'
                for height in (lower, lower + multiple)
            ]
            raise UserError(
                f'aspect_ratio={data.aspect_ratio} gives images of '
                f'{data.crop_size}x{data.image_height}, whose height is not divisible by '
                f'{multiple} ({reason})',
                f'use {" or ".join(ratios)}',
            )

    @classmethod
    def create(cls, model: str = 'spade', **options: Any) -> Config:
        """A configuration from options by name; those that are not given have their defaults.

        Args:
          model: Name of the model.
          **options: Options of any section.

        Raises:
          UserError: An option is unknown or belongs to another model, or a value is illegal.
        """
        if model not in MODELS:
            raise UserError(f'model={model} is not one of {", ".join(MODELS)}')
        model_class = options_class(model)
        for name in options:
            check_option_of_model(name, model)
        values = {**model_class.defaults, **options}
        sections = {}
        for section, section_class in {**SECTIONS, 'model': model_class}.items():
            names = option_fields(section_class).keys() & values.keys()
            sections[section] = section_class(**{name: values[name] for name in names})
        return cls(**sections)

    def replace(self, **options: Any) -> Config:
        """The same configuration with other values for some options."""
        return Config.create(**(self.options() | options))

    def options(self) -> dict[str, Any]:
        """All options by name, and 'model', the name of the model."""
        flat: dict[str, Any] = {'model': self.model.name}
        for section in dataclasses.fields(self):
            values = getattr(self, section.name)
            flat |= {
                field.name: getattr(values, field.name) for field in dataclasses.fields(values)
            }
        return flat

    def to_json(self) -> dict[str, Any]:
        """The sections as JSON values."""
        return dataclasses.asdict(self) | {
            'model': {'name': self.model.name} | dataclasses.asdict(self.model)
        }

    @classmethod
    def from_json(cls, sections: dict[str, Any]) -> Config:
        """The inverse of `to_json`.

        Raises:
          UserError: The configuration has options that this version does not know.
        """
        try:
            flat = {name: value for values in sections.values() for name, value in values.items()}
            model = flat.pop('name')
        except (AttributeError, KeyError):
            raise UserError(
                'the configuration has no sections', 'use the version that wrote it'
            ) from None
        known = set(option_fields(options_class(model))) if model in MODELS else set()
        unknown = sorted(flat.keys() - known - shared_option_fields().keys())
        if unknown:
            raise UserError(
                f'the configuration has options that this version does not know: '
                f'{", ".join(unknown)}',
                'use the version that wrote it',
            )
        return cls.create(model, **flat)


# The sections that every model has.
SECTIONS: dict[str, type[Section]] = {
    'data': DataConfig,
    'losses': LossConfig,
    'optimizer': OptimizerConfig,
    'run': RunConfig,
}


def option_fields(section: type[Section]) -> dict[str, dataclasses.Field]:
    """The options of a section by name."""
    return {field.name: field for field in dataclasses.fields(section)}


@functools.cache
def shared_option_fields() -> dict[str, dataclasses.Field]:
    """The options that every model has, by name."""
    return {
        name: field
        for section in SECTIONS.values()
        for name, field in option_fields(section).items()
    }


def check_option_of_model(name: str, model: str) -> None:
    """Raises UserError, with the models that have it, when a model does not have an option."""
    options = options_class(model)
    if name in option_fields(options) or (
        name in shared_option_fields() and name not in options.unused
    ):
        return
    owners = [other for other in MODELS if name in option_fields(options_class(other))]
    if not owners and name not in shared_option_fields():
        raise UserError(f'{name} is not an option of any model')
    owner = f'an option of model={" or ".join(owners)}, ' if owners else ''
    raise UserError(
        f'{name} is {owner}not of model={model}', f'leave --{name} out, or choose another --model'
    )


def conflicts(saved: Config, given: Config) -> list[str]:
    """The options that a resumed run must not change but does, as 'name: saved -> given'."""
    old, new = saved.options(), given.options()
    fields = shared_option_fields() | option_fields(type(given.model))
    fixed = ['model', *(name for name, field in fields.items() if not field.metadata['mutable'])]
    return [
        f'{name}: {old.get(name)} -> {new[name]}' for name in fixed if old.get(name) != new[name]
    ]
