"""The models by name, and what the options of a model tell the rest of the configuration."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from spade_jax.config.option import Section

if TYPE_CHECKING:
    from spade_jax.config.config import Config


# Normalizations by statistics of the batch, which have the same entries in PyTorch's files.
BATCH_NORMS = ('sync_batch', 'batch')


class FeatureTable(NamedTuple):
    """A latent [classes, features] that an image has, given its label map.

    The features of the training images are clustered, and random styles are chosen from them.
    """

    features: int
    clusters: int  # At most, of each class.
    by_instance: bool  # Features are means over instances, or else over all pixels of a class.


@dataclasses.dataclass(frozen=True)
class ModelOptions(Section):
    """Base class of the options of one model."""

    name: ClassVar[str]  # the value of --model
    defaults: ClassVar[Mapping[str, Any]] = {}  # options of other sections with another default
    unused: ClassVar[tuple[str, ...]] = ()  # options of other sections that the model lacks
    conditions: ClassVar[tuple[str, ...]] = ('labels', 'labels+edges', 'rgb')  # legal --condition
    not_in_files: ClassVar[tuple[str, ...]] = ()  # options that published files do not tell

    @property
    def size_multiple(self) -> int:
        """Width and height of an image are divisible by this number of pixels."""
        return 1

    @property
    def size_reason(self) -> str:
        """Why, for error messages: '5 upsamplings'."""
        return f'model={self.name}'

    @property
    def has_latent(self) -> bool:
        """True if an image is sampled from a latent, of a style or of noise."""
        return False

    @property
    def can_encode(self) -> bool:
        """True if the model has an encoder that gives the latent of an image."""
        return False

    @property
    def size_is_fixed(self) -> bool:
        """True if images can only be sampled at the training size."""
        return False

    @property
    def feature_table(self) -> FeatureTable | None:
        """What the latent is, if it is a table with the features of each class."""
        return None

    def portable(self) -> ModelOptions:
        """The same model, with choices that fit only the training device reset to automatic."""
        return self

    def on_accelerator(self) -> ModelOptions:
        """The same model, with automatic choices made as on a GPU or TPU."""
        return self

    def for_cpu(self) -> Sequence[Mapping[str, Any]]:
        """Options of any section with which the model trains on a CPU, each with what needs it."""
        return []

    def check(self, config: Config) -> None:
        """Raises UserError when these options do not fit the other sections."""


class RegisteredModel(NamedTuple):
    """Where the parts of a model are, as 'module:attribute'; imported when they are needed."""

    options: str  # the subclass of `ModelOptions`; its module does not import JAX
    model: str  # the implementation of `spade_jax.models.model.Model`
    published: str = ''  # module that reads and writes published weights, if there are any


# To add a model, add its folder to spade_jax/models/ and its row here.
MODELS = {
    'spade': RegisteredModel(
        options='spade_jax.models.spade.options:SpadeOptions',
        model='spade_jax.models.spade.model:Spade',
        published='spade_jax.models.spade.published',
    ),
    'gan': RegisteredModel(
        options='spade_jax.models.gan.options:GanOptions', model='spade_jax.models.gan.model:Gan'
    ),
    'pix2pix': RegisteredModel(
        options='spade_jax.models.pix2pix.options:Pix2PixOptions',
        model='spade_jax.models.pix2pix.model:Pix2Pix',
        published='spade_jax.models.pix2pix.published',
    ),
    'pix2pixhd': RegisteredModel(
        options='spade_jax.models.pix2pixhd.options:Pix2PixHDOptions',
        model='spade_jax.models.pix2pixhd.model:Pix2PixHD',
        published='spade_jax.models.pix2pixhd.published',
    ),
}


def options_class(name: str) -> type[ModelOptions]:
    """The options of a model."""
    return pkgutil.resolve_name(MODELS[name].options)
