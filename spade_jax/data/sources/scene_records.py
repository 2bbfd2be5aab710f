"""Scenes rendered and compressed by several processes. Without TensorFlow, so that a worker starts at once."""

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

_SCENES_PER_TASK = 8


class SceneRecord(NamedTuple):
    """A scene as it is stored.

    image, label: PNG files: [H, W, 3] uint8 and [H, W] uint8.
    instance: [H, W] uint16.
    """

    image: bytes
    label: bytes
    instance: np.ndarray


def scene_records(seeds: Sequence[int], height: int, width: int) -> Iterator[SceneRecord]:
    """The scenes of `seeds`, in order, made by as many processes as there are cores to use.

    The processes are spawned, so a script that gets here needs the usual `if __name__ == '__main__':`.
    """
    render = functools.partial(scene_record, height=height, width=width)
    num_workers = min(_usable_cores(), len(seeds) // _SCENES_PER_TASK)
    if num_workers <= 1:
        yield from map(render, seeds)
        return
    with concurrent.futures.ProcessPoolExecutor(
        num_workers, mp_context=multiprocessing.get_context('spawn')
    ) as pool:
        yield from pool.map(render, seeds, chunksize=_SCENES_PER_TASK)


def scene_record(seed: int, height: int, width: int) -> SceneRecord:
    """One scene, rendered and compressed."""
    scene = landscapes.render_scene(seed, height, width)
    return SceneRecord(_png(scene.image), _png(scene.label), scene.instance)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return file.getvalue()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
