"""The procedural landscapes: rendering them in processes, and the source that reads them.

Without TensorFlow at import, so that a rendering process starts at once.
"""

from __future__ import annotations

import concurrent.futures
import functools
import io
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from spade_jax import landscapes
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids, read_photo
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, crop_room, scaled_size
from spade_jax.data.sources.source import DatasetSource
from spade_jax.errors import UserError

SCENES_VALIDATION_EXAMPLES = 64
_SCENES_PER_TASK = 8


class SceneRecord(NamedTuple):
    """A scene as it is stored.

    Attributes:
      image: PNG file of [H, W, 3] uint8.
      label: PNG file of [H, W] uint8.
      instance: [H, W] uint16.
    """

    image: bytes
    label: bytes
    instance: np.ndarray


class ScenesSource(DatasetSource):
    """The landscapes of a split; rendered first if there are no records yet.

    Raises:
      UserError: The configuration has other classes than the scenes.
    """

    already_scaled = True

    def __init__(self, config: DataConfig, split: str):
        from spade_jax.data.sources import scenes_builder

        _check_classes(config)
        width, height = scenes_size(config)
        builder_config = scenes_builder.ScenesConfig(
            width=width,
            height=height,
            train_examples=config.scenes_train_examples,
            validation_examples=SCENES_VALIDATION_EXAMPLES,
        )
        self._records = scenes_builder.SceneRecords(builder_config, split, config.data_dir)
        self._instance_edges = config.instance_edges
        self.names = self.locations = [f'{split}_{i:05d}' for i in range(len(self._records))]

    def read(self, index: int) -> Example:
        record = self._records[index]
        return self._decoded(record)._replace(image=read_photo(io.BytesIO(record.image)))

    def read_maps(self, index: int) -> Example:
        return self._decoded(self._records[index])

    def _decoded(self, record: SceneRecord) -> Example:
        instance = record.instance if self._instance_edges else None
        return Example(None, read_ids(io.BytesIO(record.label)), instance)


def scenes_size(config: DataConfig) -> tuple[int, int]:
    """Return the width and height of the rendered scenes: the size to which images are scaled.

    Raises:
      UserError: It is not the training size, and the preprocessing does not crop.
    """
    geometry = Geometry.from_config(config)
    size = scaled_size(geometry, geometry.width, geometry.height)
    crop_room(geometry, *size)
    return size


def render_records(seeds: Sequence[int], height: int, width: int) -> Iterator[SceneRecord]:
    """Render the scenes of these seeds, in order, in one process per core.

    The processes are spawned: a script that calls this needs `if __name__ == '__main__':`.
    """
    render = functools.partial(render_record, height=height, width=width)
    num_workers = min(usable_cores(), len(seeds) // _SCENES_PER_TASK)
    if num_workers <= 1:
        yield from map(render, seeds)
        return
    spawn = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(num_workers, mp_context=spawn) as pool:
        yield from pool.map(render, seeds, chunksize=_SCENES_PER_TASK)


def render_record(seed: int, height: int, width: int) -> SceneRecord:
    """Render and compress one scene."""
    scene = landscapes.render_scene(seed, height, width)
    return SceneRecord(_png(scene.image), _png(scene.label), scene.instance)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _check_classes(config: DataConfig) -> None:
    if not config.uses_labels:
        problem = f'condition={config.condition}, but dataset=scenes has label maps'
        raise UserError(problem, 'use --condition=labels or --condition=labels+edges')
    num_classes = len(landscapes.CLASSES)
    if config.num_classes != num_classes:
        found = f'num_classes={config.num_classes}'
        problem = f'{found}, but dataset=scenes has {num_classes} classes'
        raise UserError(problem, f'use --num_classes={num_classes}')
    for name in ('dontcare', 'palette', 'label_remap'):
        if getattr(config, name):
            problem = f'{name} is set, but dataset=scenes has its own classes'
            raise UserError(problem, f'leave --{name} out')


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return file.getvalue()
