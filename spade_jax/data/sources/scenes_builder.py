"""The procedural landscapes as a TFDS data set: rendered once, then read by random access."""

import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from spade_jax import landscapes
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.scenes import SceneRecord, render_records

# Training seeds count from 0, so that the splits are disjoint, and the validation scenes do not
# depend on the number of training scenes.
FIRST_VALIDATION_SEED = 2**31


@dataclasses.dataclass(eq=False)
class ScenesConfig(tfds.core.BuilderConfig):
    """Size in pixels and number of the scenes; name and directory follow from them."""

    name: str = ''
    height: int = 256
    width: int = 256
    train_examples: int = 2048
    validation_examples: int = 64

    def __post_init__(self):
        counts = f'n{self.train_examples}_v{self.validation_examples}'
        self.name = self.name or f'{self.width}x{self.height}_{counts}'


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Landscapes with label maps (indices into `landscapes.CLASSES`) and instance maps."""

    # Raise it with every change of the rendered images: prepared records are found by it.
    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'First version.'}
    BUILDER_CONFIGS = [ScenesConfig()]

    def _info(self) -> tfds.core.DatasetInfo:
        config: Any = self.builder_config
        size = config.height, config.width
        png = functools.partial(tfds.features.Image, dtype=np.uint8, encoding_format='png')
        features = {
            'image': png(shape=(*size, 3)),
            'label': png(shape=(*size, 1)),
            'instance': tfds.features.Tensor(shape=size, dtype=np.uint16, encoding='zlib'),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f'Procedural landscapes of {len(landscapes.CLASSES)} classes.',
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        config: Any = self.builder_config
        first = FIRST_VALIDATION_SEED
        seeds = {
            'train': range(config.train_examples),
            'validation': range(first, first + config.validation_examples),
        }
        return {split: self._generate_examples(split, seeds[split]) for split in seeds}

    def _generate_examples(self, split: str, seeds: range) -> Iterator[tuple[int, dict]]:
        config: Any = self.builder_config
        records = render_records(seeds, config.height, config.width)
        bar = tqdm(records, desc=f'rendering the {split} scenes', total=len(seeds), unit='scene')
        for key, record in enumerate(bar):
            files = {name: io.BytesIO(record[name]) for name in ('image', 'label')}
            yield key, record | files


def prepared_scenes(config: ScenesConfig, split: str, data_dir: str = '') -> Sequence[SceneRecord]:
    """Return the scenes of a split; render them first if they are not found in `data_dir`.

    TFDS never takes an interrupted preparation for a complete one, and has a default directory.
    """
    import_tensorflow()
    directory = os.path.expanduser(data_dir) or None
    with _quiet_tfds():
        make_builder: Any = Scenes  # The type stubs of TFDS lack its arguments.
        builder = make_builder(config=config, data_dir=directory, file_format='array_record')
        builder.download_and_prepare()
        undecoded = dict.fromkeys(('image', 'label'), tfds.decode.SkipDecoding())
        return builder.as_data_source(split, decoders=undecoded)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Silence the announcements of a download, of a custom configuration and of shuffling."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
