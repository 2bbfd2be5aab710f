"""The order of the examples, its independence of everything but seed and step, and what a batch holds."""

import itertools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.data.pipeline.input_pipeline import (
    Skipped,
    example_index,
    read_for_training,
    steps_in_epochs,
    training_batches,
    validation_examples,
)
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.errors import UserError

SIDE = 36


class NumberedSource:
    """Pictures whose red is their number, whose green is their column and whose blue is their row; the label map is the left half."""

    already_scaled = False

    def __init__(self, count, broken=(), label_dtype=np.uint8):
        self.names = self.locations = [f'picture {number}' for number in range(count)]
        self.broken = broken
        self.label_dtype = label_dtype
        self.reads = []

    def __len__(self):
        return len(self.names)

    def read(self, index):
        self.reads.append(index)
        if index in self.broken:
            raise UserError(f'{self.names[index]}: the photograph cannot be read')
        y, x = np.indices((SIDE, SIDE), np.uint8)
        return Example(
            np.stack([np.full_like(x, index), x, y], -1),
            (x < SIDE // 2).astype(self.label_dtype),
            index * 1000 + x.astype(np.int32),
        )

    def read_maps(self, index):
        return self.read(index)._replace(image=None)


def _config(**changes):
    return DataConfig(
        **{
            **dict(
                dataset='folders',
                num_classes=2,
                batch_size=4,
                load_size=SIDE,
                crop_size=32,
                seed=3,
                data_workers=3,
            ),
            **changes,
        }
    )


def _take(source, config, count, first_step=0, **processes):
    batches = training_batches(source, config, first_step=first_step, **processes)
    try:
        return list(itertools.islice(batches, count))
    finally:
        batches.close()


def _numbers(batches):
    """The numbers of the examples, in order."""
    return np.concatenate([batch.image[:, 0, 0, 0] for batch in batches])


def _assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected):
        for part, other_part in zip(one, other):
            np.testing.assert_array_equal(part, other_part)


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own():
    numbers = _numbers(_take(NumberedSource(10), _config(), 15)).reshape(
        6, 10
    )  # 15 batches of 4 are 6 epochs of 10: batches straddle epochs.
    for epoch in numbers:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in numbers}) == 6


def test_fewer_examples_than_a_batch():
    assert sorted(_numbers(_take(NumberedSource(2), _config(), 1))) == [0, 0, 1, 1]


def test_the_seed_decides_the_order():
    orders = [[example_index(seed, position, 50) for position in range(50)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_the_order_is_the_same_for_all_time():
    """A run of today is to be resumed with the libraries of tomorrow: these numbers may never change."""
    assert [example_index(0, position, 8) for position in range(16)] == [
        3,
        2,
        1,
        6,
        0,
        7,
        4,
        5,
        7,
        6,
        4,
        5,
        3,
        1,
        0,
        2,
    ]


def test_positions_beyond_32_bits():
    assert 0 <= example_index(0, 5 * 10**12 + 1, 7) < 7
    (batch,) = _take(NumberedSource(3), _config(), 1, first_step=10**12)
    assert batch.image.shape == (4, 32, 32, 3)


@pytest.mark.parametrize('first_step', [1, 2, 7])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(first_step):
    whole = _take(NumberedSource(10), _config(), 9)
    _assert_same(
        _take(NumberedSource(10), _config(), 9 - first_step, first_step=first_step),
        whole[first_step:],
    )


def test_twenty_resumes_at_random_steps_give_the_same_stream():
    whole = _take(NumberedSource(10), _config(condition='labels+edges'), 40)
    random = np.random.default_rng(0)
    stops = sorted(random.choice(np.arange(1, 40), 20, replace=False).tolist())
    resumed = []
    for first, last in itertools.pairwise([0, *stops, 40]):
        workers = int(random.integers(1, 6))
        resumed += _take(
            NumberedSource(10),
            _config(condition='labels+edges', data_workers=workers),
            last - first,
            first_step=first,
        )
    _assert_same(resumed, whole)


def test_resuming_reads_nothing_of_what_is_skipped():
    source = NumberedSource(10)
    _take(source, _config(), 1, first_step=10**6)
    assert len(source.reads) < 40


@pytest.mark.parametrize('process_count', [2, 4])
def test_the_shares_of_the_processes_are_the_batches_of_one(process_count):
    whole = _take(NumberedSource(10), _config(), 5)
    shares = [
        _take(NumberedSource(10), _config(), 5, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    joined = [
        Batch(*(np.concatenate(parts) if parts[0] is not None else None for parts in zip(*step)))
        for step in zip(*shares)
    ]
    _assert_same(joined, whole)


def test_the_number_of_workers_does_not_matter():
    _assert_same(
        _take(NumberedSource(10), _config(data_workers=1), 5),
        _take(NumberedSource(10), _config(data_workers=8), 5),
    )


def test_a_batch_that_does_not_divide_is_refused_at_once():
    with pytest.raises(
        UserError, match='batch_size=4 does not divide among 3 processes; use a multiple of 3'
    ):
        training_batches(NumberedSource(10), _config(), first_step=0, process_count=3)


def test_shapes_and_types():
    (plain,) = _take(NumberedSource(10), _config(), 1)
    assert plain.image.shape == (4, 32, 32, 3) and plain.image.dtype == np.uint8
    assert plain.label.shape == (4, 32, 32) and plain.label.dtype == np.uint8
    assert plain.instance is None
    (with_edges,) = _take(NumberedSource(10), _config(condition='labels+edges'), 1)
    assert with_edges.instance.shape == (4, 32, 32) and with_edges.instance.dtype == np.int32


@pytest.mark.parametrize(
    'settings, dtype',
    [
        (dict(num_classes=256), np.uint8),
        (dict(num_classes=255, dontcare=True), np.uint8),
        (dict(num_classes=257), np.uint16),
    ],
)
def test_label_types(settings, dtype):
    config = _config(**settings)
    assert label_dtype(config) == dtype
    assert _take(NumberedSource(3, label_dtype=np.int32), config, 1)[0].label.dtype == dtype


def test_image_label_and_instance_are_cropped_and_mirrored_together():
    for batch in _take(NumberedSource(200), _config(condition='labels+edges'), 10):
        number, column = batch.image[..., 0].astype(int), batch.image[..., 1].astype(int)
        np.testing.assert_array_equal(batch.label, column < SIDE // 2)
        np.testing.assert_array_equal(batch.instance, number * 1000 + column)


def test_crops_and_flips_cover_what_there_is():
    examples = [
        read_for_training(NumberedSource(100), _config(), position) for position in range(300)
    ]
    left = {int(example.image[0, :, 1].min()) for example in examples}
    top = {int(example.image[0, 0, 2]) for example in examples}
    assert left == top == {0, 1, 2, 3, 4}  # 36 - 32, both ends included.
    mirrored = np.mean([example.image[0, 0, 1] > example.image[0, -1, 1] for example in examples])
    assert 0.4 < mirrored < 0.6


def test_without_flip_nothing_is_mirrored():
    batches = _take(NumberedSource(100), _config(flip=False), 10)
    assert all((batch.image[:, :, 0, 1] < batch.image[:, :, -1, 1]).all() for batch in batches)


def test_another_epoch_crops_otherwise():
    source, config = NumberedSource(1), _config()
    corners = {
        tuple(read_for_training(source, config, position).image[0, 0, 1:]) for position in range(20)
    }
    assert len(corners) > 5


def test_validation_examples_are_fixed_spread_and_centred():
    batch = validation_examples(NumberedSource(10), _config(condition='labels+edges'), 4)
    np.testing.assert_array_equal(batch.image[:, 0, 0], [(number, 2, 2) for number in (0, 2, 5, 7)])
    assert batch.label.shape == batch.instance.shape == (4, 32, 32)


def test_fewer_validation_examples_than_wanted():
    batch = validation_examples(NumberedSource(3), _config(), 8)
    np.testing.assert_array_equal(batch.image[:, 0, 0, 0], [0, 1, 2])
    assert batch.instance is None


def test_an_error_comes_out_as_it_was_raised_and_not_before_its_batch():
    config = _config()
    broken = example_index(config.seed, 9, 10)  # In the third batch.
    batches = training_batches(NumberedSource(10, broken={broken}), config, first_step=0)
    next(batches), next(batches)
    with pytest.raises(UserError) as error:
        next(batches)
    assert str(error.value) == f'picture {broken}: the photograph cannot be read'


def test_bad_examples_give_way_to_the_next_of_their_epoch_and_are_counted():
    sound, skipped = _take(NumberedSource(10), _config(), 10), Skipped()
    batches = _take(
        NumberedSource(10, broken=(3, 7)), _config(on_bad_example='skip'), 10, skipped=skipped
    )
    before, after = _numbers(sound).reshape(4, 10), _numbers(batches).reshape(4, 10)
    for epoch_before, epoch_after in zip(before, after):
        for place in range(10):
            candidates = [
                number for number in np.roll(epoch_before, -place) if number not in (3, 7)
            ]
            assert epoch_after[place] == candidates[0]
    assert skipped.count >= 8 and set(skipped.reasons) == {'picture 3', 'picture 7'}
    _assert_same(
        _take(NumberedSource(10, broken=(3, 7)), _config(on_bad_example='skip'), 3, first_step=7),
        batches[7:],
    )


def test_each_skipped_example_is_named_once(capsys):
    skipped, source, config = (
        Skipped(),
        NumberedSource(10, broken=(3, 7)),
        _config(on_bad_example='skip'),
    )
    validation_examples(source, config, 10, skipped)
    assert skipped.count == 0
    _take(source, config, 10, skipped=skipped)
    assert skipped.count >= 8
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f'skipped: picture {number}: the photograph cannot be read' for number in (3, 7)
    ]


def test_nothing_but_bad_examples_is_an_error():
    with pytest.raises(
        UserError,
        match='no usable example after 3 that were skipped, the last because: picture .: the photograph cannot be read',
    ):
        _take(NumberedSource(3, broken=(0, 1, 2)), _config(on_bad_example='skip'), 1)


def test_bad_validation_examples_are_skipped_too():
    source = NumberedSource(4, broken=(2,))
    assert validation_examples(source, _config(on_bad_example='skip'), 4).image[
        :, 0, 0, 0
    ].tolist() == [0, 1, 3, 3]
    with pytest.raises(UserError):
        validation_examples(source, _config(), 4)


def test_condition_pictures_travel_in_the_place_of_label_maps():
    class Drawings(NumberedSource):
        def read(self, index):
            example = super().read(index)
            return example._replace(label=255 - example.image)

    (batch,) = _take(Drawings(10), _config(condition='rgb'), 1)
    assert (
        batch.label.shape == (4, 32, 32, 3)
        and batch.label.dtype == np.uint8
        and batch.instance is None
    )
    np.testing.assert_array_equal(batch.label, 255 - batch.image)


def test_an_id_out_of_range_names_its_picture():
    with pytest.raises(UserError, match=r'picture \d+: label id 1 at pixel'):
        _take(NumberedSource(10), _config(num_classes=1), 1)


def test_a_picture_that_does_not_come_out_right_is_named():
    with pytest.raises(UserError, match='picture .*smaller than the crop of 64x64'):
        _take(NumberedSource(10), _config(crop_size=64, preprocess_mode='crop'), 1)
    with pytest.raises(UserError, match='picture 0: .*smaller than the crop of 64x64'):
        validation_examples(NumberedSource(10), _config(crop_size=64, preprocess_mode='crop'), 1)


@pytest.mark.skipif(not os.path.isdir('/proc/self/task'), reason='counts threads as Linux does')
def test_closed_iterators_leave_no_threads_behind():
    _take(NumberedSource(10), _config(), 2)
    before = len(os.listdir('/proc/self/task'))
    for _ in range(5):
        _take(NumberedSource(10), _config(data_workers=8), 2)
    assert len(os.listdir('/proc/self/task')) <= before + 8


def test_a_program_that_ends_with_an_open_iterator_does_not_hang():
    program = (
        'from tests.data import input_pipeline_test as test\n'
        'batches = test.training_batches(test.NumberedSource(50), test._config(), first_step=0)\n'
        'next(batches)\n'
        'raise SystemExit(3)\n'
    )
    assert (
        subprocess.run(
            [sys.executable, '-c', program], cwd=pathlib.Path(__file__).parents[3], timeout=60
        ).returncode
        == 3
    )


def test_steps_in_epochs():
    assert steps_in_epochs(2, batch_size=4, num_examples=10) == 5
    assert steps_in_epochs(1, batch_size=4, num_examples=10) == 3
    assert steps_in_epochs(0, batch_size=4, num_examples=10) == 0
