"""The configuration of a run, in sections: name, default, help and validation of every option.

The flags (`flags.py`) are generated from the options, and a checkpoint carries its Config as JSON,
so that sampling needs no model flags. The names of options are unique over all sections.
"""

import dataclasses
import functools
import itertools
from typing import Any, Self

from spade_jax.config.data_config import DataConfig
from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.config.model_options import MODELS, ModelOptions, options_class
from spade_jax.config.option import (
    LARGEST_BATCH,
    LARGEST_SEED,
    Section,
    aspect_ratio_text,
    nearest_heights,
    nearest_multiples,
    option,
    parse_step_range,
)
from spade_jax.errors import UserError

LR_DECAYS = ('late', 'even', 'early')
PERCEPTUAL_NETWORKS = ('vgg19', 'squeezenet', 'efficientnet_lite0')
GAN_LOSS_NAMES = ('hinge', 'least_squares', 'cross_entropy', 'minimax', 'wasserstein')


@dataclasses.dataclass(frozen=True)
class LossConfig(Section):
    """The losses that models share."""

    gan_loss: str = option(
        'hinge',
        'Adversarial loss. minimax: the original one, whose gradient vanishes where the '
        'discriminator is sure; cross_entropy: its non-saturating form.',
        choices=GAN_LOSS_NAMES,
    )
    feature_matching_weight: float = option(10.0, 'Weight of the loss; 0 disables it.', at_least=0)
    perceptual_weight: float = option(
        10.0, 'Weight of the perceptual loss; 0 disables it.', at_least=0
    )
    perceptual_network: str = option(
        'vgg19',
        'Network of the perceptual loss. vgg19: the published one, with --vgg19_weights; '
        'squeezenet: a small one whose weights are in this package; efficientnet_lite0: another, '
        'of the extra lite0.',
        choices=PERCEPTUAL_NETWORKS,
    )
    vgg19_weights: str = option(
        '',
        "Weights of VGG19: torchvision's .pth, or an .npz or .safetensors file of the same names.",
        mutable=True,
        path=True,
    )
    perceptual_input: str = option(
        'raw',
        'Input of VGG19: "raw" in [-1, 1] as in the published models, or "imagenet" normalization.',
        choices=('raw', 'imagenet'),
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Section):
    """Batches, schedule, Adam, EMA and initialization."""

    batch_size: int = option(
        32, 'Examples a step, over all devices.', at_least=1, at_most=LARGEST_BATCH
    )
    accumulation_steps: int = option(
        1,
        'Gradient accumulation: microbatches of a step; batch statistics are those of one.',
        at_least=1,
        at_most=LARGEST_BATCH,
    )
    constant_epochs: int = option(
        50, 'Epochs at the full learning rate.', at_least=0, at_most=10**6, schedule=True
    )
    decay_epochs: int = option(
        0, 'Epochs of linear decay to 0 after these.', at_least=0, at_most=10**6, schedule=True
    )
    lr_decay: str = option(
        'late',
        'When the learning rate decays. late: after each epoch of the decay, so that the first has '
        'the full rate. even: from the first on, to one more step before 0. early: one epoch '
        'sooner, so that the last has the rate 0, as in the PyTorch code of pix2pix since 2020.',
        choices=LR_DECAYS,
        schedule=True,
    )
    max_steps: int = option(
        0,
        'Stop after this many steps; 0: after all epochs. It does not change the learning rate.',
        at_least=0,
        mutable=True,
    )
    learning_rate: float = option(2e-4, 'Base learning rate of Adam.', at_least=1e-12)
    ttur: bool = option(
        True,
        'Two time-scale update rule (TTUR, Heusel et al. 2017): generator at half the base '
        'learning rate, discriminator at twice.',
    )
    adam_beta1: float | None = option(
        None, "Adam's beta1. Default: 0 with TTUR, 0.5 without.", at_least=0, at_most=0.999999
    )
    adam_beta2: float | None = option(
        None, "Adam's beta2. Default: 0.9 with TTUR, 0.999 without.", at_least=0, at_most=0.999999
    )
    discriminator_steps: int = option(
        1, 'Discriminator steps per generator step: update the generator every n steps.', at_least=1
    )
    ema_decay: float = option(
        0.0,
        'EMA decay of generator and encoder, e.g. 0.999, for samples. 0: no EMA, as published.',
        at_least=0,
        at_most=0.999999,
    )
    initialization: str = option(
        'published',
        'Initialization of the kernels. glorot, normal, kaiming: that of all. published: Glorot, '
        'but spectrally normalized kernels uniform in +-1/sqrt(fan_in), as in the released models.',
        choices=('published', 'glorot', 'normal', 'kaiming'),
    )
    init_gain: float = option(0.02, 'Gain of Glorot, standard deviation of normal.', at_least=1e-12)
    init_biases: str = option(
        'zeros',
        "Initialization of the biases: zeros, or uniform in +-1/sqrt(fan_in), PyTorch's default.",
        choices=('zeros', 'uniform'),
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
            parts = f'accumulation_steps={self.accumulation_steps} equal microbatches'
            problem = f'batch_size={self.batch_size} does not divide into {parts}'
            raise UserError(problem, f'use --batch_size={sizes}, or another --accumulation_steps')
        if self.constant_epochs + self.decay_epochs == 0:
            problem = 'constant_epochs=0 and decay_epochs=0 leave nothing to train'
            raise UserError(problem, 'set one of them')

    @property
    def time_scales(self) -> tuple[float, float]:
        """Factors of the base learning rate: the generator's and the discriminator's."""
        return (0.5, 2.0) if self.ttur else (1.0, 1.0)

    @property
    def adam_betas(self) -> tuple[float, float]:
        """Decays of Adam's first and second moment."""
        beta1, beta2 = (0.0, 0.9) if self.ttur else (0.5, 0.999)
        given1, given2 = self.adam_beta1, self.adam_beta2
        return beta1 if given1 is None else given1, beta2 if given2 is None else given2


@dataclasses.dataclass(frozen=True)
class RunConfig(Section):
    """Seed, intervals, checkpoints."""

    seed: int = option(
        0,
        'Seed of weights, data order, crops, flips and latents.',
        at_least=0,
        at_most=LARGEST_SEED,
    )
    log_every: int = option(20, 'Steps between two log entries.', at_least=1, mutable=True)
    sample_every: int = option(500, 'Steps between two sample grids.', at_least=1, mutable=True)
    num_grid_samples: int = option(
        8, 'Examples in a sample grid.', at_least=1, at_most=256, mutable=True
    )
    checkpoint_every: int = option(500, 'Steps between two checkpoints.', at_least=1, mutable=True)
    keep_checkpoints: int = option(3, 'Newest checkpoints to keep.', at_least=1, mutable=True)
    keep_best: str = option(
        '', 'Metric or score, e.g. g_perceptual, fid: also keep its best checkpoint.', mutable=True
    )
    init_from: str = option(
        '',
        'Start a new run from the networks of the newest checkpoint in this work directory, with '
        'fresh optimizers. Flags that are not given have the values of that run; what does not '
        'fit, such as the weights of new classes, is initialized.',
        mutable=True,
        path=True,
    )
    profile_steps: str = option(
        '',
        'Steps FIRST-LAST, e.g. 10-12, of a profiler trace in <workdir>/profile; step 1 compiles.',
        mutable=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.profile_steps:
            parse_step_range('profile_steps', self.profile_steps)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run. The defaults are those of the published SPADE models unless the help says otherwise.

    Raises:
      UserError: On construction, when two sections contradict each other.
    """

    data: DataConfig
    model: ModelOptions
    losses: LossConfig
    optimizer: OptimizerConfig
    run: RunConfig
    evaluation: EvaluationConfig

    def __post_init__(self):
        self._check_condition()
        self._check_size(self.data.image_width, self.data.image_height)
        self.model.check(self)

    def _check_condition(self):
        condition, legal = self.data.condition, self.model.conditions
        if condition not in legal:
            others = [name for name in MODELS if condition in options_class(name).conditions]
            remedy = f'use --condition={" or ".join(legal)}, or --model={" or ".join(others)}'
            raise UserError(f'condition={condition} is not one of model={self.model.name}', remedy)

    def _check_size(self, width: int, height: int):
        multiple = self.model.size_multiple
        reason = f'not divisible by {multiple} ({self.model.size_reason})'
        if width % multiple:
            remedy = f'use {nearest_multiples(width, multiple)}'
            raise UserError(f'crop_size={width} is {reason}', remedy)
        if height % multiple or not height:
            legal = [aspect_ratio_text(width, h) for h in nearest_heights(height, multiple)]
            problem = f'aspect_ratio={self.data.aspect_ratio} gives images of {width}x{height}'
            raise UserError(f'{problem}, whose height is {reason}', f'use {" or ".join(legal)}')

    @classmethod
    def create(cls, model: str = 'spade', **options: Any) -> Self:
        """A configuration from a model and options by name; all others have their defaults.

        Raises:
          UserError: An option is unknown or belongs to another model, or a value is illegal.
        """
        if model not in MODELS:
            raise UserError(f'model={model} is not one of {", ".join(MODELS)}')
        for name, value in options.items():
            _check_option_of_model(name, value, model)
        values = {**options_class(model).defaults, **options}
        sections: dict[str, Any] = {}
        for section, section_class in {**SECTIONS, 'model': options_class(model)}.items():
            names = option_fields(section_class).keys() & values.keys()
            sections[section] = section_class(**{name: values[name] for name in names})
        return cls(**sections)

    def replace(self, **options: Any) -> Self:
        """The same configuration with other values for some options."""
        return self.create(**(self.options() | options))

    def options(self) -> dict[str, Any]:
        """All options by name, and 'model', the name of the model."""
        return {'model': self.model.name, **_flat(dataclasses.asdict(self))}

    def to_json(self) -> dict[str, Any]:
        """The sections as JSON values."""
        sections = dataclasses.asdict(self)
        return sections | {'model': {'name': self.model.name, **sections['model']}}

    @classmethod
    def from_json(cls, sections: dict[str, Any]) -> Self:
        """The inverse of `to_json`; raises UserError for options that this version lacks."""
        remedy = 'use the version that wrote it'
        try:
            options = _flat(sections)
            model = options.pop('name')
        except (AttributeError, KeyError):
            raise UserError('the configuration has no sections', remedy) from None
        known = option_fields(options_class(model)) if model in MODELS else {}
        if unknown := sorted(options.keys() - known.keys() - shared_option_fields().keys()):
            problem = 'the configuration has options that this version does not know'
            raise UserError(f'{problem}: {", ".join(unknown)}', remedy)
        return cls.create(model, **options)


# The sections that every model has.
SECTIONS: dict[str, type[Section]] = {
    'data': DataConfig,
    'losses': LossConfig,
    'optimizer': OptimizerConfig,
    'run': RunConfig,
    'evaluation': EvaluationConfig,
}


def option_fields(section: type[Section]) -> dict[str, dataclasses.Field]:
    """The options of a section by name."""
    return {field.name: field for field in dataclasses.fields(section)}


@functools.cache
def shared_option_fields() -> dict[str, dataclasses.Field]:
    """The options that every model has, by name."""
    return _flat({name: option_fields(section) for name, section in SECTIONS.items()})


def _check_option_of_model(name: str, value: Any, model: str) -> None:
    """Raises UserError, with the models that have it, when a model does not have an option."""
    options, is_shared = options_class(model), name in shared_option_fields()
    if name in option_fields(options) or (is_shared and name not in options.unused):
        return
    if is_shared and value == options.defaults.get(name, shared_option_fields()[name].default):
        return  # An unused option keeps its default in `replace` and `from_json`.
    owners = [other for other in MODELS if name in option_fields(options_class(other))]
    if not owners and not is_shared:
        raise UserError(f'{name} is not an option of any model')
    owner = f'an option of model={" or ".join(owners)}, ' if owners else ''
    remedy = f'leave --{name} out, or choose another --model'
    raise UserError(f'{name} is {owner}not of model={model}', remedy)


def _flat(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The options of all sections in one dictionary."""
    return dict(itertools.chain.from_iterable(values.items() for values in sections.values()))
