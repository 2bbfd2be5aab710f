"""Time-lapses have the frames that were sent."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from spade_jax.errors import UserError
from spade_jax.studio import time_lapse


def moving_square(count=5, height=32, width=48):
    frames = np.full((count, height, width, 3), (10, 60, 200), np.uint8)
    for index, frame in enumerate(frames):
        frame[8:16, 8 * index : 8 * index + 8] = (250, 180, 20)
    return frames


@pytest.mark.parametrize('name', time_lapse.FORMATS)
def test_encode_keeps_every_frame(name):
    frames = moving_square()
    with Image.open(io.BytesIO(time_lapse.encode(frames, name))) as animation:
        assert animation.info['loop'] == 0
        decoded = [np.asarray(frame.convert('RGB')) for frame in ImageSequence.Iterator(animation)]
    np.testing.assert_array_equal(decoded, frames)


def test_equal_frames_become_one_that_stays_longer():
    frames = moving_square(2).repeat(3, axis=0)
    with Image.open(io.BytesIO(time_lapse.encode(frames, 'gif', 100))) as animation:
        durations = [frame.info['duration'] for frame in ImageSequence.Iterator(animation)]
    assert durations == [300, time_lapse.LAST_FRAME]


def test_read_frames_returns_what_was_sent():
    frames = moving_square()
    np.testing.assert_array_equal(time_lapse.read_frames(frames.tobytes(), 48, 32), frames)


@pytest.mark.parametrize(
    'content, width, height, reason',
    [
        (b'', 4, 4, 'are not frames'),
        (bytes(47), 4, 4, '47 bytes are not frames of 4x4'),
        (bytes(48), 0, 4, 'are not frames'),
        (bytes(48), -4, -4, 'are not frames'),
        (bytes(3 * 241), 1, 1, '241 frames; send at most 240'),
    ],
)
def test_read_frames_refuses_other_bytes(content, width, height, reason):
    with pytest.raises(UserError, match=reason):
        time_lapse.read_frames(content, width, height)


@pytest.mark.parametrize(
    'name, milliseconds, reason',
    [('mp4', 80, 'format=mp4 .*; use gif or webp'), ('gif', 0, 'milliseconds=0 .*; use 20')],
)
def test_encode_refuses_what_it_cannot_write(name, milliseconds, reason):
    with pytest.raises(UserError, match=reason):
        time_lapse.encode(moving_square(), name, milliseconds)
