"""A run's generator with the data of the run: read a split, sample it, fit the layout judge."""

import dataclasses
from typing import Any

import numpy as np

import spade_jax
from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.data.pipeline.input_pipeline import validation_examples
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import UserError
from spade_jax.evaluation.layout_judge import Judge, fit_judge
from spade_jax.sampling import TrainedGenerator


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
      generator: The newest checkpoint, or that of a step.
      config: Its configuration, with the directory where the data are now.
    """

    generator: TrainedGenerator
    config: Config

    @classmethod
    def load(cls, workdir: str, data_dir: str | None = None, step: int | None = None) -> 'Run':
        """Load a work directory; without `data_dir` the data are where training had them."""
        generator = spade_jax.load(workdir, step)
        config = generator.config
        return cls(generator, config if data_dir is None else config.replace(data_dir=data_dir))

    def read(self, split: str, count: int) -> Batch:
        """Center crops of `count` examples of 'train' or 'validation', the same on every call.

        The labels have one id, 255, for all pixels without a class.

        Raises:
          UserError: The data have no such split.
        """
        batch = split_examples(self.config.data, split, count)
        if self.config.data.dontcare:
            unknown = batch.label >= self.config.data.num_classes
            batch = batch._replace(label=np.where(unknown, DONTCARE_ID, batch.label))
        return batch

    def sample(self, batch: Batch, **style: Any) -> np.ndarray:
        """Images [N, H, W, 3] uint8 of the label maps of a batch.

        Args:
          batch: Examples of `read`.
          **style: `style`, `seed` or `sample` of `TrainedGenerator`.
        """
        return self.generator(batch.label, batch.instance, **style)

    def fit_judge(self, count: int, seed: int = 0) -> Judge:
        """The layout judge, fitted on `count` real training images."""
        if not self.config.data.uses_labels:
            raise UserError(
                f'condition={self.config.data.condition}: the layout judge needs label maps'
            )
        batch, num_classes = self.read('train', count), self.config.data.num_classes
        return fit_judge(zip(batch.image, batch.label, strict=True), num_classes, seed=seed)


def split_examples(config: DataConfig, split: str, count: int) -> Batch:
    """Center crops of examples of a split. Raises UserError if the data have no such split."""
    source = open_source(config, split)
    if source is None:
        raise UserError(f'the data have no {split} split', 'set --data_dir to where they have one')
    return validation_examples(source, config, count)
