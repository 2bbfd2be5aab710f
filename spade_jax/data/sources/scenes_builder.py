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
from tqdm import tqdm

from spade_jax import landscapes
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.scenes import SceneRecord, render_records
from spade_jax.data.sources.tfds_source import prepared, quiet_logging

# The validation scenes do not depend on the number of training scenes.
FIRST_SEED = {'train': 0, 'validation': 2**31}


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
        self.name = f'{self.width}x{self.height}_{counts}'


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Landscapes with label maps (indices into `landscapes.CLASSES`) and instance maps."""

    VERSION = tfds.core.Version(landscapes.VERSION)  # Prepared records are found by it.
    RELEASE_NOTES = {
        '1.0.0': 'First version.',
        '1.1.0': 'Simple compositions, large mountains, cumulus clouds, finer trees and rocks.',
    }
    BUILDER_CONFIGS = [ScenesConfig()]
    builder_config: Any

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.height, self.builder_config.width
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
        return {split: self._generate_examples(split) for split in FIRST_SEED}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        for key, record in enumerate(_rendered(self.builder_config, split)):
            files = {name: io.BytesIO(record[name]) for name in ('image', 'label')}
            yield key, record | files


def _rendered(config: ScenesConfig, split: str) -> Iterator[SceneRecord]:
    """Render the scenes of a split, with a progress bar."""
    first = FIRST_SEED[split]
    seeds = range(first, first + getattr(config, f'{split}_examples'))
    records = render_records(seeds, config.height, config.width)
    yield from tqdm(records, f'rendering the {split} scenes', len(seeds), unit='scene')


def prepared_scenes(config: ScenesConfig, split: str, data_dir: str = '') -> Sequence[SceneRecord]:
    """Return the scenes of a split; render them first if they are not found in `data_dir`.

    The few validation scenes are then not stored: TFDS would render the training scenes, too.
    TFDS never takes an interrupted preparation for a complete one, and has a default directory.
    """
    import_tensorflow()
    scenes: Any = Scenes  # The type stubs of TFDS lack its arguments.
    options = dict(data_dir=os.path.expanduser(data_dir) or None, file_format='array_record')
    tfds.disable_progress_bar()
    try:
        # TFDS announces a download and shuffling, of which there is none.
        with quiet_logging(), contextlib.redirect_stdout(io.StringIO()):
            make_builder = functools.partial(scenes, config=config, **options)
            if split == 'validation' and not make_builder().is_prepared():
                return list(_rendered(config, split))
            builder = prepared(make_builder)
            undecoded = dict.fromkeys(('image', 'label'), tfds.decode.SkipDecoding())
            return builder.as_data_source(split, decoders=undecoded)
    finally:
        tfds.enable_progress_bar()
