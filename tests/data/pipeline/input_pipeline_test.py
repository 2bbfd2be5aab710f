"""What a batch holds, that the step alone decides it, and how errors and threads end."""

import itertools
import os
import pathlib
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.data.pipeline.example_order import BatchSchedule, example_index
from spade_jax.data.pipeline.input_pipeline import (
    Skipped,
    abstract_batch,
    locations_of_step,
    read_for_training,
    training_batches,
    training_dataset,
    validation_examples,
)
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.errors import UserError

SIDE = 36
SEED = 3


class NumberedSource:
    """Images whose red is their number, green their column and blue their row.

    The label map is 1 in the left half.
    """

    already_scaled = False

    def __init__(self, count, broken=(), label_dtype=np.uint8):
        self.names = self.locations = [f'image {number}' for number in range(count)]
        self.broken = broken
        self.label_dtype = label_dtype
        self.reads = []

    def __len__(self):
        return len(self.names)

    def read(self, index):
        self.reads.append(index)
        if index in self.broken:
            raise UserError(f'{self.names[index]}: the photo cannot be read', 'replace it')
        y, x = np.indices((SIDE, SIDE), np.uint8)
        image = np.stack([np.full_like(x, index), x, y], -1)
        label = (x < SIDE // 2).astype(self.label_dtype)
        return Example(image, label, index * 1000 + x.astype(np.int32))

    def read_maps(self, index):
        return self.read(index)._replace(image=None)


class RgbSource(NumberedSource):
    """The condition is the inverted image."""

    def read(self, index):
        example = super().read(index)
        return example._replace(label=255 - example.image)


def make_config(**changes):
    sizes = dict(num_classes=2, load_size=SIDE, crop_size=32, data_workers=3)
    return DataConfig(**(dict(dataset='folders') | sizes | changes))


def take(source, config, count, first_step=0, skipped=None, **schedule):
    schedule = BatchSchedule(4, SEED, **schedule)
    batches = training_batches(source, config, schedule, first_step=first_step, skipped=skipped)
    try:
        return list(itertools.islice(batches, count))
    finally:
        batches.close()


def numbers(batches):
    """The numbers of the examples, in order."""
    return np.concatenate([batch.image[:, 0, 0, 0] for batch in batches])


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        for part, other_part in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_batches_follow_the_order_of_the_examples():
    """15 batches of 4 are 6 epochs of 10: some batches straddle two epochs."""
    expected = [example_index(SEED, position, 10) for position in range(60)]
    assert numbers(take(NumberedSource(10), make_config(), 15)).tolist() == expected


def test_batch_repeats_examples_of_a_smaller_source():
    assert sorted(numbers(take(NumberedSource(2), make_config(), 1))) == [0, 0, 1, 1]


def test_batches_exist_at_positions_beyond_32_bits():
    (batch,) = take(NumberedSource(3), make_config(), 1, first_step=10**12)
    assert batch.image.shape == (4, 32, 32, 3)


@pytest.mark.parametrize('first_step', [1, 2, 7])
def test_resumed_run_continues_with_the_same_batches(first_step):
    whole = take(NumberedSource(10), make_config(), 9)
    resumed = take(NumberedSource(10), make_config(), 9 - first_step, first_step=first_step)
    assert_same(resumed, whole[first_step:])


def test_twenty_resumes_give_the_same_batches():
    config = make_config(condition='labels+edges')
    whole = take(NumberedSource(10), config, 40)
    random = np.random.default_rng(0)
    stops = sorted(random.choice(np.arange(1, 40), 20, replace=False).tolist())
    resumed = []
    for first, last in itertools.pairwise([0, *stops, 40]):
        config = make_config(condition='labels+edges', data_workers=int(random.integers(1, 6)))
        resumed += take(NumberedSource(10), config, last - first, first_step=first)
    assert_same(resumed, whole)


def test_resuming_does_not_read_skipped_steps():
    source = NumberedSource(10)
    take(source, make_config(), 1, first_step=10**6)
    assert len(source.reads) < 40


@pytest.mark.parametrize('process_count', [2, 4])
def test_shares_of_processes_join_to_the_batches_of_one(process_count):
    whole = take(NumberedSource(10), make_config(), 5)
    shares = [
        take(NumberedSource(10), make_config(), 5, process_index=i, process_count=process_count)
        for i in range(process_count)
    ]
    joined = [
        Batch(
            *(
                None if parts[0] is None else np.concatenate(parts)
                for parts in zip(*step, strict=True)
            )
        )
        for step in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)


def test_number_of_workers_does_not_matter():
    one, eight = (take(NumberedSource(10), make_config(data_workers=n), 5) for n in (1, 8))
    assert_same(one, eight)


CONDITIONS = [
    (dict(), NumberedSource),
    (dict(condition='labels+edges'), NumberedSource),
    (dict(condition='rgb'), RgbSource),
    (dict(aspect_ratio=2.0, num_classes=300), NumberedSource),
]


@pytest.mark.parametrize('settings, source', CONDITIONS)
def test_abstract_batch_describes_batches(settings, source):
    config = make_config(**settings)
    (batch,) = take(source(10), config, 1)
    expected = jax.tree.map(lambda part: jax.ShapeDtypeStruct(part.shape, part.dtype), batch)
    assert abstract_batch(config, 4) == expected


@pytest.mark.parametrize('settings, source', CONDITIONS)
def test_dataset_has_static_shapes(settings, source):
    config = make_config(**settings)
    parts = [part for part in abstract_batch(config, 4) if part is not None]
    dataset = training_dataset(config, 4, 0, source(10).read)
    found = [(tuple(spec.shape), spec.dtype.as_numpy_dtype) for spec in dataset.element_spec]
    assert found == [(part.shape, part.dtype.type) for part in parts]


@pytest.mark.parametrize(
    'settings, dtype',
    [
        (dict(num_classes=256), np.uint8),
        (dict(num_classes=255, dontcare=True), np.uint8),
        (dict(num_classes=257), np.uint16),
    ],
)
def test_label_dtype_holds_all_ids(settings, dtype):
    config = make_config(**settings)
    (batch,) = take(NumberedSource(3, label_dtype=np.int32), config, 1)
    assert label_dtype(config) == dtype
    assert batch.label.dtype == dtype


def test_all_parts_are_cropped_and_mirrored_together():
    for batch in take(NumberedSource(200), make_config(condition='labels+edges'), 10):
        number, column = batch.image[..., 0].astype(int), batch.image[..., 1].astype(int)
        np.testing.assert_array_equal(batch.label, column < SIDE // 2)
        np.testing.assert_array_equal(batch.instance, number * 1000 + column)


def test_crops_and_flips_cover_their_range():
    source, config = NumberedSource(100), make_config()
    images = [read_for_training(source, config, SEED, position).image for position in range(300)]
    assert {int(image[0, :, 1].min()) for image in images} == {0, 1, 2, 3, 4}  # 36 - 32.
    assert {int(image[0, 0, 2]) for image in images} == {0, 1, 2, 3, 4}
    assert 0.4 < np.mean([image[0, 0, 1] > image[0, -1, 1] for image in images]) < 0.6


def test_flip_can_be_disabled():
    for batch in take(NumberedSource(100), make_config(flip=False), 10):
        assert (batch.image[:, :, 0, 1] < batch.image[:, :, -1, 1]).all()


def test_epochs_differ_in_crops():
    source, config = NumberedSource(1), make_config()
    images = [read_for_training(source, config, SEED, position).image for position in range(20)]
    assert len({tuple(image[0, 0, 1:]) for image in images}) > 5


def test_rgb_conditions_are_batched_as_labels():
    (batch,) = take(RgbSource(10), make_config(condition='rgb'), 1)
    np.testing.assert_array_equal(batch.label, 255 - batch.image)


def test_validation_examples_are_spread_and_centered():
    batch = validation_examples(NumberedSource(10), make_config(condition='labels+edges'), 4)
    corners = [(number, 2, 2) for number in (0, 2, 5, 7)]
    np.testing.assert_array_equal(batch.image[:, 0, 0], corners)
    assert batch.label.shape == (4, 32, 32)
    assert batch.instance.shape == (4, 32, 32)


def test_small_source_gives_all_its_validation_examples():
    batch = validation_examples(NumberedSource(3), make_config(), 8)
    np.testing.assert_array_equal(batch.image[:, 0, 0, 0], [0, 1, 2])
    assert batch.instance is None


def test_user_error_reaches_the_caller_at_its_batch():
    broken = example_index(SEED, 9, 10)  # In the third batch.
    source = NumberedSource(10, broken={broken})
    batches = training_batches(source, make_config(), BatchSchedule(4, SEED))
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(UserError) as error:
        next(batches)
    assert str(error.value) == f'image {broken}: the photo cannot be read; replace it'
    assert error.value.remedy == 'replace it'


def test_first_of_several_errors_in_order_is_raised():
    """The workers meet the second bad example first, while the first one waits for it."""
    first, second = (example_index(SEED, position, 10) for position in (4, 5))
    met = threading.Event()

    class Racing(NumberedSource):
        def read(self, index):
            if index == second:
                met.set()
            if index == first:
                met.wait(5)
            return super().read(index)

    with pytest.raises(UserError, match=f'^image {first}: '):
        take(Racing(10, broken={first, second}), make_config(), 3)
    assert met.is_set()


def test_fault_of_the_program_keeps_its_type():
    class Faulty(NumberedSource):
        def read(self, index):
            raise KeyError('fault')

    with pytest.raises(KeyError, match='fault'):
        take(Faulty(10), make_config(), 1)


def test_bad_example_is_replaced_by_the_next_of_its_epoch():
    bad, config = (3, 7), make_config(on_bad_example='skip')
    sound = numbers(take(NumberedSource(10), config, 10)).reshape(4, 10)
    batches = take(NumberedSource(10, broken=bad), config, 10)
    for before, after in zip(sound, numbers(batches).reshape(4, 10), strict=True):
        rolled = [np.roll(before, -place) for place in range(10)]
        expected = [next(number for number in row if number not in bad) for row in rolled]
        assert after.tolist() == expected
    resumed = take(NumberedSource(10, broken=bad), config, 3, first_step=7)
    assert_same(resumed, batches[7:])


def test_skipped_examples_are_counted():
    skipped = Skipped()
    config = make_config(on_bad_example='skip')
    take(NumberedSource(10, broken=(3, 7)), config, 10, skipped=skipped)
    assert skipped.count >= 8
    assert set(skipped.reasons) == {'image 3', 'image 7'}


def test_skipped_example_is_printed_once(capsys):
    skipped, source = Skipped(), NumberedSource(10, broken=(3, 7))
    config = make_config(on_bad_example='skip')
    validation_examples(source, config, 10, skipped)
    assert skipped.count == 0
    take(source, config, 10, skipped=skipped)
    printed = [line for line in capsys.readouterr().err.splitlines() if 'skipped: ' in line]
    assert sorted(printed) == [f'skipped: image {n}: the photo cannot be read' for n in (3, 7)]


def test_source_of_bad_examples_alone_is_an_error():
    message = 'no usable example among 3 in a row; the last one: image .: the photo cannot be read'
    with pytest.raises(UserError, match=message):
        take(NumberedSource(3, broken=(0, 1, 2)), make_config(on_bad_example='skip'), 1)


def test_bad_validation_example_is_skipped_or_raised():
    source = NumberedSource(4, broken=(2,))
    batch = validation_examples(source, make_config(on_bad_example='skip'), 4)
    assert batch.image[:, 0, 0, 0].tolist() == [0, 1, 3, 3]
    with pytest.raises(UserError, match='image 2'):
        validation_examples(source, make_config(), 4)


def test_id_out_of_range_names_its_example():
    with pytest.raises(UserError, match=r'image \d+: label id 1 at pixel'):
        take(NumberedSource(10), make_config(num_classes=1), 1)


def test_example_smaller_than_the_crop_is_named():
    config = make_config(crop_size=64, preprocess_mode='crop')
    with pytest.raises(UserError, match='image .*smaller than the crop of 64x64'):
        take(NumberedSource(10), config, 1)
    with pytest.raises(UserError, match='image 0: .*smaller than the crop of 64x64'):
        validation_examples(NumberedSource(10), config, 1)


def test_locations_of_step_names_the_examples_of_a_batch():
    (_, second) = take(NumberedSource(10), make_config(), 2)
    locations = locations_of_step(NumberedSource(10), BatchSchedule(4, SEED), 2)
    assert locations == [f'image {number}' for number in numbers([second])]


@pytest.mark.skipif(not os.path.isdir('/proc/self/task'), reason='counts threads as Linux does')
def test_closed_iterators_leave_no_threads():
    take(NumberedSource(10), make_config(), 2)
    before = len(os.listdir('/proc/self/task'))
    for _ in range(5):
        take(NumberedSource(10), make_config(data_workers=8), 2)
    assert len(os.listdir('/proc/self/task')) <= before + 8


@pytest.mark.parametrize('where', ['', 'while True: next(batches)'])
def test_program_with_open_iterator_ends(where):
    """In the middle of an epoch, or while a thread waits for a batch."""
    program = (
        'import threading\n'
        'from tests.data.pipeline import input_pipeline_test as test\n'
        'schedule = test.BatchSchedule(4, 0)\n'
        'source = test.NumberedSource(50)\n'
        'batches = test.training_batches(source, test.make_config(), schedule)\n'
        'next(batches)\n'
        f'code = {where!r}\n'
        'threading.Thread(target=exec, args=(code, globals()), daemon=True).start()\n'
        'raise SystemExit(3)\n'
    )
    root = pathlib.Path(__file__).parents[3]
    assert subprocess.run([sys.executable, '-c', program], cwd=root, timeout=60).returncode == 3
