"""Procedural landscapes: the source, and rendering in processes (which import no TensorFlow)."""

import concurrent.futures
import functools
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from spade_jax import landscapes
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids, read_photo
from spade_jax.data.files.label_reader import empty_condition
from spade_jax.data.pipeline import paired_transforms
from spade_jax.data.pipeline.paired_transforms import Example, Geometry
from spade_jax.data.sources.source import DatasetSource
from spade_jax.errors import UserError

SCENES_VALIDATION_EXAMPLES = 64
_SCENES_PER_TASK = 8

# A scene as it is stored: 'image', a PNG file of [H, W, 3] uint8; 'label', one of [H, W] uint8;
# and 'instance', [H, W] uint16.
SceneRecord = dict[str, Any]


class ScenesSource(DatasetSource):
    """The landscapes of a split; rendered first if there are no records yet."""

    already_scaled = True

    def __init__(self, config: DataConfig, split: str):
        from spade_jax.data.sources.scenes_builder import ScenesConfig, prepared_scenes

        self.check_options(config)
        width, height = scenes_size(config)
        train, held_out = config.scenes_train_examples, SCENES_VALIDATION_EXAMPLES
        counts: dict[str, Any] = dict(train_examples=train, validation_examples=held_out)
        scenes = ScenesConfig(width=width, height=height, **counts)
        self._records = prepared_scenes(scenes, split, config.data_dir)
        self._instance_edges = config.instance_edges
        self._empty = empty_condition(width, height) if config.unconditional else None
        self.names = self.locations = [f'{split}_{i:05d}' for i in range(len(self._records))]

    @classmethod
    def check_options(cls, config: DataConfig) -> None:
        count = len(landscapes.CLASSES)
        if config.unconditional:
            return
        if not config.uses_labels:
            given = f'condition={config.condition}'
            remedy = 'use --condition=labels, labels+edges or none'
        elif config.num_classes != count:
            given = f'num_classes={config.num_classes}'
            remedy = f'use --num_classes={count}, or --dataset=folders for your own files'
        elif names := [n for n in ('dontcare', 'palette', 'label_remap') if getattr(config, n)]:
            given, remedy = f'{names[0]} is set', f'leave --{names[0]} out'
        else:
            return
        raise UserError(f'{given}, but dataset=scenes has label maps with {count} classes', remedy)

    def read(self, index: int) -> Example:
        record = self._records[index]
        return self._maps_of(record)._replace(image=read_photo(io.BytesIO(record['image'])))

    def read_maps(self, index: int) -> Example:
        return self._maps_of(self._records[index])

    def _maps_of(self, record: SceneRecord) -> Example:
        if self._empty is not None:
            return Example(None, self._empty)
        instance = record['instance'] if self._instance_edges else None
        return Example(None, read_ids(io.BytesIO(record['label'])), instance)


def scenes_size(config: DataConfig) -> tuple[int, int]:
    """Return the (width, height) of the rendered scenes."""
    geometry = Geometry.from_config(config)
    size = paired_transforms.scaled_size(geometry, geometry.width, geometry.height)
    paired_transforms.max_crop_offset(geometry, *size)  # Rejects modes without a fixed size.
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
    with worker_processes(num_workers) as pool:
        yield from pool.map(render, seeds, chunksize=_SCENES_PER_TASK)


def worker_processes(number: int) -> concurrent.futures.ProcessPoolExecutor:
    """Return a pool of processes, which end with this one."""
    spawn = multiprocessing.get_context('spawn')
    return concurrent.futures.ProcessPoolExecutor(
        number, mp_context=spawn, initializer=_end_with_parent
    )


def _end_with_parent() -> None:
    """Make this worker end when its parent does, however that ends; it would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def render_record(seed: int, height: int, width: int) -> SceneRecord:
    """Render and compress one scene."""
    scene = landscapes.render_scene(seed, height, width)
    return dict(image=_png(scene.image), label=_png(scene.label), instance=scene.instance)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return file.getvalue()
