"""The procedural landscapes as a TFDS data set: rendered once, without network, and read by random access ever after."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from spade_jax import landscapes
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.scene_records import SceneRecord, scene_records

# Training seeds count from 0. The two never meet, and the validation scenes stay the same whatever the number of training scenes.
FIRST_VALIDATION_SEED = 2**31


@dataclasses.dataclass(eq=False)
class ScenesConfig(tfds.core.BuilderConfig):
    """Size in pixels and number of the scenes. The name follows from them, so that every variant has a directory of its own."""

    name: str = ''
    height: int = 256
    width: int = 256
    train_examples: int = 2048
    validation_examples: int = 64

    def __post_init__(self):
        self.name = (
            self.name
            or f'{self.width}x{self.height}_n{self.train_examples}_v{self.validation_examples}'
        )


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Landscapes with their label maps and instance maps.

    Features:
      image: [H, W, 3] uint8, as PNG.
      label: [H, W, 1] uint8, as PNG: indices into `landscapes.CLASSES`.
      instance: [H, W] uint16, 0 where nothing can be counted.
    """

    VERSION = tfds.core.Version(
        '1.0.0'
    )  # To be raised with every change of what the renderer draws: prepared records are found by it.
    RELEASE_NOTES = {'1.0.0': 'First version.'}
    BUILDER_CONFIGS = [ScenesConfig()]

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.height, self.builder_config.width
        features = tfds.features.FeaturesDict(
            {
                'image': tfds.features.Image(
                    shape=(*size, 3), dtype=np.uint8, encoding_format='png'
                ),
                'label': tfds.features.Image(
                    shape=(*size, 1), dtype=np.uint8, encoding_format='png'
                ),
                'instance': tfds.features.Tensor(shape=size, dtype=np.uint16, encoding='zlib'),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=f'Procedural landscapes of {len(landscapes.CLASSES)} classes.',
            features=features,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        config = self.builder_config
        return {
            'train': self._generate_examples('train', 0, config.train_examples),
            'validation': self._generate_examples(
                'validation', FIRST_VALIDATION_SEED, config.validation_examples
            ),
        }

    def _generate_examples(
        self, split: str, first_seed: int, count: int
    ) -> Iterator[tuple[int, dict]]:
        records = scene_records(
            range(first_seed, first_seed + count),
            self.builder_config.height,
            self.builder_config.width,
        )
        for key, record in enumerate(
            tqdm(records, desc=f'rendering the {split} scenes', total=count, unit='scene')
        ):
            yield (
                key,
                {
                    'image': io.BytesIO(record.image),
                    'label': io.BytesIO(record.label),
                    'instance': record.instance,
                },
            )


class SceneRecords:
    """The prepared scenes of a split ('train' or 'validation'), by number; rendered first where they are not found.

    An interrupted preparation leaves nothing behind that would be taken for a complete one.

    Args:
      config: size and number of the scenes.
      split: 'train' or 'validation'.
      data_dir: where TFDS keeps its files; '' for ~/tensorflow_datasets.
    """

    def __init__(self, config: ScenesConfig, split: str, data_dir: str = ''):
        import_tensorflow()
        with _quiet_tfds():
            builder = Scenes(
                config=config,
                data_dir=os.path.expanduser(data_dir) or None,
                file_format='array_record',
            )
            builder.download_and_prepare()
            undecoded = {'image': tfds.decode.SkipDecoding(), 'label': tfds.decode.SkipDecoding()}
            self._records = builder.as_data_source(split, decoders=undecoded)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> SceneRecord:
        return SceneRecord(**self._records[index])


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Without the announcements of a download, of a custom configuration and of a shuffling that does not take place."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
