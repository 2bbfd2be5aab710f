"""How fast training is fed: photograph (JPEG), label map and instance map (PNG) of 640x480, scaled to 286 and cropped to 256.

    python experiments/benchmark_input_pipeline.py

Five ways, in turns, so that whatever else the machine does meets all of them:
  Pillow decoding    the files to arrays, by Pillow in as many threads as there are cores, and nothing more
  bare decoding      the same with the decoders of the input pipeline
  folders            the input pipeline of training, straight from the files
  records            the same from what --mode=prepare_data wrote
  PyTorch-style      a torch DataLoader (worker processes) that decodes, scales, crops and mirrors with Pillow and makes float tensors; where PyTorch is not
                     installed, a pool of processes that does the same work and sends back uint8 arrays, which is less
Pictures are rendered first, with the grain of a photograph, so that they are as hard to decode. Rates are medians over the rounds; files come from the
page cache.
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
from collections.abc import Callable, Iterator

import numpy as np
from absl import app, flags
from PIL import Image
from tqdm import tqdm

from spade_jax import landscapes
from spade_jax.config.config import Config
from spade_jax.data.files.image_files import read_ids, read_photo
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.input_pipeline import training_batches
from spade_jax.data.records import writer
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import one_line_errors

EXAMPLES = flags.DEFINE_integer('examples', 96, 'Pictures that are made.', lower_bound=8)
ROUNDS = flags.DEFINE_integer(
    'rounds',
    25,
    'Turns of each contender: many short ones, so that disturbances of the machine meet all alike.',
    lower_bound=1,
)
SECONDS = flags.DEFINE_float('seconds', 1, 'Length of a turn.', lower_bound=0.1)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 8, 'Images a batch.', lower_bound=1)
CORES = flags.DEFINE_integer(
    'cores', len(os.sched_getaffinity(0)), 'Threads or processes of each contender.', lower_bound=1
)
JSON = flags.DEFINE_string('json', '', 'File for the figures.')

WIDTH, HEIGHT, LOAD_SIZE, CROP_SIZE = 640, 480, 286, 256
_QUEUED = 8  # batches; more than any of the contenders keeps
_RENDERED = 12  # different landscapes; the others are mirrored and grained anew


def main(argv: list[str]) -> None:
    """Prints the table."""
    with one_line_errors(argv), tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        make_pictures(root)
        config = Config.create(
            dataset='folders',
            data_dir=str(root),
            num_classes=len(landscapes.CLASSES),
            condition='labels+edges',
            load_size=LOAD_SIZE,
            crop_size=CROP_SIZE,
            batch_size=BATCH_SIZE.value,
            data_workers=CORES.value,
        )
        prepared = config.replace(records_dir=str(root / 'records'))
        writer.prepare(prepared.data)
        peer, peer_name = pytorch_loader(root)
        rates = race(
            {
                'Pillow decoding': lambda: bare_decoding(
                    root, lambda path: np.asarray(Image.open(path))
                ),
                'bare decoding': lambda: bare_decoding(
                    root,
                    lambda path: (
                        read_photo(path) if path.endswith('jpg') else read_ids(path, thorough=False)
                    ),
                ),
                'folders': lambda: pipeline(config),
                'records': lambda: pipeline(prepared),
                peer_name: peer,
            }
        )
        report(rates, peer_name, config, prepared)


def make_pictures(root: pathlib.Path) -> None:
    """Paired folders of `EXAMPLES` landscapes."""
    for role in ('img', 'label', 'inst'):
        (root / f'train_{role}').mkdir()
    random = np.random.default_rng(0)
    scenes = [
        landscapes.render_scene(seed, HEIGHT, WIDTH)
        for seed in tqdm(range(_RENDERED), desc='rendering', unit='scene')
    ]
    for number in range(EXAMPLES.value):
        scene = scenes[number % len(scenes)]
        turn = slice(None, None, -1 if number // len(scenes) % 2 else 1)
        grain = random.normal(0, 6, scene.image.shape[:2])[..., None]
        image = np.clip(scene.image[:, turn] + grain, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / 'train_img' / f'{number:04}.jpg', quality=90)
        Image.fromarray(np.ascontiguousarray(scene.label[:, turn])).save(
            root / 'train_label' / f'{number:04}.png'
        )
        Image.fromarray(np.ascontiguousarray(scene.instance[:, turn])).save(
            root / 'train_inst' / f'{number:04}.png'
        )


def bare_decoding(root: pathlib.Path, read: Callable[[str], np.ndarray]) -> Iterator[int]:
    """Decodes without end; yields the number of examples of each batch."""

    def decode(number):
        name = f'{number % EXAMPLES.value:04}'
        return [
            read(os.path.join(root, f'train_{role}', f'{name}.{"jpg" if role == "img" else "png"}'))
            for role in ('img', 'label', 'inst')
        ]

    with concurrent.futures.ThreadPoolExecutor(CORES.value) as pool:
        decoded = bounded_map(pool, decode, itertools.count(), ahead=2 * CORES.value)
        while True:
            for _ in range(BATCH_SIZE.value):
                next(decoded)
            yield BATCH_SIZE.value


def pipeline(config: Config) -> Iterator[int]:
    """The input pipeline of training."""
    batches = training_batches(open_source(config.data, 'train'), config, first_step=0)
    try:
        for batch in batches:
            yield len(batch.image)
    finally:
        batches.close()


def with_pillow(
    root: pathlib.Path, number: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What an ordinary PyTorch data set does with one example."""
    name = f'{number:04}'
    left, top = (int(random.integers(0, LOAD_SIZE - CROP_SIZE + 1)) for _ in range(2))
    mirrored = random.random() < 0.5

    def prepared(path, resample):
        image = Image.open(path)
        image = image.convert('RGB') if resample == Image.Resampling.BICUBIC else image
        image = image.resize((LOAD_SIZE, LOAD_SIZE), resample).crop(
            (left, top, left + CROP_SIZE, top + CROP_SIZE)
        )
        return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image)

    return (
        prepared(root / 'train_img' / f'{name}.jpg', Image.Resampling.BICUBIC),
        prepared(root / 'train_label' / f'{name}.png', Image.Resampling.NEAREST),
        prepared(root / 'train_inst' / f'{name}.png', Image.Resampling.NEAREST),
    )


class PillowDataset:
    """`with_pillow` as a data set of PyTorch: float pictures in [-1, 1], channels first, and integer maps."""

    def __init__(self, root: pathlib.Path, length: int):
        self.root, self.length = root, length

    def __len__(self) -> int:
        return 10**6  # without the pause between epochs

    def __getitem__(self, number: int):
        import torch

        image, label, instance = with_pillow(
            self.root, number % self.length, np.random.default_rng(number)
        )
        image = (torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
        return (
            image,
            torch.from_numpy(label.astype(np.int64)),
            torch.from_numpy(instance.astype(np.int64)),
        )


def pytorch_loader(root: pathlib.Path) -> tuple[Callable[[], Iterator[int]], str]:
    """The opponent and its name."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        return lambda: process_pool(root), 'PyTorch-style (processes)'

    def batches():
        loader = DataLoader(
            PillowDataset(root, EXAMPLES.value),
            batch_size=BATCH_SIZE.value,
            num_workers=CORES.value,
            multiprocessing_context='spawn',
        )
        for image, _, _ in loader:
            yield len(image)

    return batches, 'PyTorch DataLoader'


def process_pool(root: pathlib.Path) -> Iterator[int]:
    """The same work in a pool of processes."""
    with concurrent.futures.ProcessPoolExecutor(
        CORES.value, mp_context=multiprocessing.get_context('spawn')
    ) as pool:
        batch = functools.partial(
            pillow_batch, root, count=BATCH_SIZE.value, examples=EXAMPLES.value
        )
        try:
            for parts in bounded_map(
                pool, batch, itertools.count(step=BATCH_SIZE.value), ahead=2 * CORES.value
            ):
                yield len(parts[0])
        finally:
            pool.shutdown(cancel_futures=True)


def pillow_batch(root: pathlib.Path, first: int, count: int, examples: int) -> list[np.ndarray]:
    """A batch of `with_pillow`."""
    return [
        np.stack(parts)
        for parts in zip(
            *(
                with_pillow(root, number % examples, np.random.default_rng(number))
                for number in range(first, first + count)
            )
        )
    ]


def race(contenders: dict[str, Callable[[], Iterator[int]]]) -> dict[str, list[float]]:
    """Images a second of each contender in each round. Its queues fill while others have their turn: so many batches do not count."""
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


def report(rates: dict[str, list[float]], peer: str, config: Config, prepared: Config) -> None:
    """Prints rates, ratios, memory and traffic."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f'{name:26} {medians[name]:7.0f} images/s   ({min(values):.0f} to {max(values):.0f})')

    def ratio(one, other):
        return statistics.median(a / b for a, b in zip(rates[one], rates[other]))

    ratios = {
        f'{one} / {other}': ratio(one, other)
        for one, other in (
            ('folders', 'Pillow decoding'),
            ('folders', 'bare decoding'),
            ('folders', peer),
            ('records', peer),
            ('records', 'folders'),
        )
    }
    for name, value in ratios.items():
        print(f'{name:46} {value:.2f}')
    batches = training_batches(open_source(config.data, 'train'), config, first_step=0)
    batch = next(batches)
    batches.close()
    traffic = sum(part.nbytes for part in batch if part is not None) / len(batch.image)
    on_disk = (
        sum(
            path.stat().st_size
            for path in pathlib.Path(prepared.records_dir).rglob('*')
            if path.is_file()
        )
        / EXAMPLES.value
    )
    files = (
        sum(
            path.stat().st_size
            for role in ('img', 'label', 'inst')
            for path in (pathlib.Path(config.data.data_dir) / f'train_{role}').iterdir()
        )
        / EXAMPLES.value
    )
    print(
        f'host to device: {traffic / 1e3:.0f} kB an image; on disk: {files / 1e3:.0f} kB an image as files, {on_disk / 1e3:.0f} kB as records'
    )
    in_memory = (
        traffic * config.optimizer.batch_size * 4
    )  # one that is taken, two that are ready, one in the making
    print(
        f'memory of the pipeline: {in_memory / 1e6:.0f} MB of batches, whatever the size of the data set'
    )
    if JSON.value:
        with open(JSON.value, 'w') as file:
            json.dump(
                {
                    'rates': rates,
                    'ratios': ratios,
                    'bytes_to_device': traffic,
                    'bytes_of_files': files,
                    'bytes_of_records': on_disk,
                },
                file,
                indent=1,
            )


if __name__ == '__main__':
    app.run(main)
