"""Measure how fast the input pipeline feeds training, against decoding alone and PyTorch.

    python experiments/benchmarks/benchmark_input_pipeline.py

The examples are a JPEG image, a label map and an instance map (PNG) of 640x480, scaled to 286 and
cropped to 256. The contenders take turns, so that disturbances of the machine meet all alike:

  Pillow decoding    Decode the files with Pillow in one thread a core, and do nothing else.
  bare decoding      The same with the decoders of the input pipeline.
  folders            The input pipeline of training, from the files.
  records            The same from what --mode=prepare_data wrote.
  PyTorch DataLoader Worker processes that decode, scale, crop and mirror with Pillow and make
                     float tensors. Without PyTorch: a pool of processes that does the same work
                     and returns uint8 arrays, which is less.

The images are rendered first, with the grain of a photo, so that they are as hard to decode. Rates
are medians over the rounds; files come from the page cache.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image
from tqdm import tqdm

from spade_jax import landscapes
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids, read_photo
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.example_order import BatchSchedule
from spade_jax.data.pipeline.input_pipeline import abstract_batch, training_batches
from spade_jax.data.records import writer
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import one_line_errors
from spade_jax.reports.run_report import bytes_below

EXAMPLES = flags.DEFINE_integer('examples', 96, 'Examples that are made.', lower_bound=8)
ROUNDS = flags.DEFINE_integer(
    'rounds', 25, 'Turns of each contender; many short ones are fair.', lower_bound=1
)
SECONDS = flags.DEFINE_float('seconds', 1, 'Length of a turn.', lower_bound=0.1)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 8, 'Images a batch.', lower_bound=1)
CORES = flags.DEFINE_integer(
    'cores', len(os.sched_getaffinity(0)), 'Threads or processes of each contender.', lower_bound=1
)
JSON = flags.DEFINE_string('json', '', 'File for the results.')

WIDTH, HEIGHT, LOAD_SIZE, CROP_SIZE = 640, 480, 286, 256
ROLES = {'img': 'jpg', 'label': 'png', 'inst': 'png'}
_QUEUED = 8  # Batches; more than any contender keeps.
_RENDERED = 12  # Different landscapes; the other examples mirror them with new grain.

# Yields the number of examples of each batch, without end.
Contender = Generator[int]


def main(argv: list[str]) -> None:
    """Run the contenders and print the table."""
    with one_line_errors(argv), tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        make_examples(root)
        settings: dict[str, Any] = dict(
            dataset='folders',
            data_dir=str(root),
            num_classes=len(landscapes.CLASSES),
            condition='labels+edges',
            load_size=LOAD_SIZE,
            crop_size=CROP_SIZE,
            data_workers=CORES.value,
        )
        config = DataConfig(**settings)
        prepared = DataConfig(**settings, records_dir=str(root / 'records'))
        writer.prepare(prepared)
        peer, peer_name = pytorch_loader(root)
        rates = race(
            {
                'Pillow decoding': lambda: bare_decoding(root, read_with_pillow),
                'bare decoding': lambda: bare_decoding(root, read_as_the_pipeline),
                'folders': lambda: pipeline(config),
                'records': lambda: pipeline(prepared),
                peer_name: peer,
            }
        )
        report(rates, peer_name, config, prepared)


def make_examples(root: pathlib.Path) -> None:
    """Write paired folders of landscapes."""
    for role in ROLES:
        (root / f'train_{role}').mkdir()
    random = np.random.default_rng(0)
    seeds = tqdm(range(_RENDERED), desc='rendering', unit='scene')
    scenes = [landscapes.render_scene(seed, HEIGHT, WIDTH) for seed in seeds]
    for number in range(EXAMPLES.value):
        scene = scenes[number % len(scenes)]
        columns = slice(None, None, -1 if number // len(scenes) % 2 else 1)
        grain = random.normal(0, 6, scene.image.shape[:2])[..., None]
        image = np.clip(scene.image[:, columns] + grain, 0, 255).astype(np.uint8)
        label, instance = (
            np.ascontiguousarray(ids[:, columns]) for ids in (scene.label, scene.instance)
        )
        Image.fromarray(image).save(path_of(root, 'img', number), quality=90)
        Image.fromarray(label).save(path_of(root, 'label', number))
        Image.fromarray(instance).save(path_of(root, 'inst', number))


def path_of(root: pathlib.Path, role: str, number: int) -> str:
    """Return the path of a file of an example."""
    return os.path.join(root, f'train_{role}', f'{number:04}.{ROLES[role]}')


def read_with_pillow(path: str) -> np.ndarray:
    """Decode a file with Pillow."""
    return np.asarray(Image.open(path))


def read_as_the_pipeline(path: str) -> np.ndarray:
    """Decode a file with the decoders of the input pipeline."""
    return read_photo(path) if path.endswith('jpg') else read_ids(path, thorough=False)


def bare_decoding(root: pathlib.Path, read: Callable[[str], np.ndarray]) -> Contender:
    """Decode all files, and do nothing else."""

    def decode(number):
        return [read(path_of(root, role, number % EXAMPLES.value)) for role in ROLES]

    with concurrent.futures.ThreadPoolExecutor(CORES.value) as pool:
        decoded = bounded_map(pool, decode, itertools.count(), ahead=2 * CORES.value)
        while True:
            for _ in range(BATCH_SIZE.value):
                next(decoded)
            yield BATCH_SIZE.value


def pipeline(config: DataConfig) -> Contender:
    """Run the input pipeline of training."""
    source = open_source(config, 'train')
    assert source is not None
    batches = training_batches(source, config, BatchSchedule(BATCH_SIZE.value, seed=0))
    try:
        for batch in batches:
            yield len(batch.image)
    finally:
        batches.close()


def with_pillow(root: pathlib.Path, number: int, random: np.random.Generator) -> list[np.ndarray]:
    """Do what an ordinary PyTorch data set does with one example."""
    left, top = (int(random.integers(0, LOAD_SIZE - CROP_SIZE + 1)) for _ in range(2))
    window = left, top, left + CROP_SIZE, top + CROP_SIZE
    mirrored = random.random() < 0.5
    parts = []
    for role in ROLES:
        image = Image.open(path_of(root, role, number))
        resample = Image.Resampling.NEAREST
        if role == 'img':
            image, resample = image.convert('RGB'), Image.Resampling.BICUBIC
        image = image.resize((LOAD_SIZE, LOAD_SIZE), resample).crop(window)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        parts.append(np.asarray(image))
    return parts


class PillowDataset:
    """`with_pillow` for PyTorch: float images in [-1, 1], channels first, and integer maps."""

    def __init__(self, root: pathlib.Path, length: int):
        self.root, self.length = root, length

    def __len__(self) -> int:
        return 10**6  # Without the pause between epochs.

    def __getitem__(self, number: int) -> tuple[Any, Any, Any]:
        import torch  # pyright: ignore[reportMissingImports]

        random = np.random.default_rng(number)
        image, label, instance = with_pillow(self.root, number % self.length, random)
        image = (torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
        ids = (torch.from_numpy(ids.astype(np.int64)) for ids in (label, instance))
        return image, *ids


def pytorch_loader(root: pathlib.Path) -> tuple[Callable[[], Contender], str]:
    """Return the peer and its name."""
    try:
        from torch.utils.data import DataLoader  # pyright: ignore[reportMissingImports]
    except ImportError:
        return lambda: process_pool(root), 'PyTorch-style (processes)'

    def batches():
        dataset: Any = PillowDataset(root, EXAMPLES.value)
        workers: dict[str, Any] = dict(num_workers=CORES.value, multiprocessing_context='spawn')
        for image, _, _ in DataLoader(dataset, batch_size=BATCH_SIZE.value, **workers):
            yield len(image)

    return batches, 'PyTorch DataLoader'


def process_pool(root: pathlib.Path) -> Contender:
    """Do the same work in a pool of processes."""
    context = multiprocessing.get_context('spawn')
    size = BATCH_SIZE.value
    with concurrent.futures.ProcessPoolExecutor(CORES.value, mp_context=context) as pool:
        batch = functools.partial(pillow_batch, root, count=size, examples=EXAMPLES.value)
        try:
            for parts in bounded_map(pool, batch, itertools.count(step=size), 2 * CORES.value):
                yield len(parts[0])
        finally:
            pool.shutdown(cancel_futures=True)


def pillow_batch(root: pathlib.Path, first: int, count: int, examples: int) -> list[np.ndarray]:
    """Return a batch of `with_pillow`."""
    parts = [
        with_pillow(root, number % examples, np.random.default_rng(number))
        for number in range(first, first + count)
    ]
    return [np.stack(part) for part in zip(*parts, strict=True)]


def race(contenders: dict[str, Callable[[], Contender]]) -> dict[str, list[float]]:
    """Return the images a second of each contender in each round.

    The queues of a contender fill while others have their turn; these batches do not count.
    """
    running = {name: contender() for name, contender in contenders.items()}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in tqdm(range(ROUNDS.value), desc='racing', unit='round'):
        for name, batches in running.items():
            for _ in range(_QUEUED):
                next(batches)
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < SECONDS.value:
                count += next(batches)
            rates[name].append(count / (time.perf_counter() - start))
    for batches in running.values():
        batches.close()
    return rates


def report(
    rates: dict[str, list[float]], peer: str, config: DataConfig, prepared: DataConfig
) -> None:
    """Print rates, ratios, memory and traffic."""
    for name, values in rates.items():
        extremes = f'({min(values):.0f} to {max(values):.0f})'
        print(f'{name:26} {statistics.median(values):7.0f} images/s   {extremes}')
    pairs = [('folders', 'Pillow decoding'), ('folders', 'bare decoding'), ('folders', peer)]
    ratios = {}
    for one, other in [*pairs, ('records', peer), ('records', 'folders')]:
        quotients = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
        ratios[f'{one} / {other}'] = statistics.median(quotients)
        print(f'{one + " / " + other:46} {ratios[f"{one} / {other}"]:.2f}')

    parts = [part for part in abstract_batch(config, 1) if part is not None]
    traffic = sum(part.size * part.dtype.itemsize for part in parts)
    folders = [pathlib.Path(config.data_dir) / f'train_{role}' for role in ROLES]
    files = sum(map(bytes_below, folders)) / EXAMPLES.value
    records = bytes_below(pathlib.Path(prepared.records_dir)) / EXAMPLES.value
    print(
        f'host to device: {traffic / 1e3:.0f} kB an image; on disk: {files / 1e3:.0f} kB an image '
        f'as files, {records / 1e3:.0f} kB as records'
    )
    in_memory = traffic * BATCH_SIZE.value * 4  # One in use, two that are ready, one in the making.
    print(
        f'memory of the pipeline: {in_memory / 1e6:.0f} MB of batches, whatever the size of the '
        'data set'
    )
    if JSON.value:
        sizes = dict(bytes_to_device=traffic, bytes_of_files=files, bytes_of_records=records)
        with open(JSON.value, 'w') as file:
            json.dump(dict(rates=rates, ratios=ratios, **sizes), file, indent=1)


if __name__ == '__main__':
    app.run(main)
