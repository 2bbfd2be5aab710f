"""Frames of the WebSocket: what pages write is read, anything else is refused."""

import base64
import json
import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from spade_jax.studio import messages
from spade_jax.studio.style_messages import BadMessage, Blend, Photo, Seed
from tests.studio.live_server import SEED, sample_frame

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)
LATENT = np.array([0.5, -1], '<f4')
PHOTO = {'kind': 'photo', 'latent': base64.b64encode(LATENT.tobytes()).decode(), 'strength': 0.5}
BLEND = {'kind': 'blend', 'from': SEED, 'to': PHOTO, 'share': 0.25}
GOOD = sample_frame(17, IDS, BLEND)
HEADER, _ = messages.split(GOOD)


def with_header(text, payload=b''):
    return len(text).to_bytes(4, 'little') + text + payload


def is_read(frame):
    """Whether a frame is read; any other exception than BadMessage fails the test."""
    try:
        messages.parse(frame)
    except BadMessage:
        return False
    return True


def mutated(rng, frame):
    """A frame with some bytes changed, inserted, removed or repeated."""
    content = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content) + 1)
        end = place + rng.randint(1, 6)
        part = rng.choice([b'', rng.randbytes(rng.randint(1, 6)), bytes(content[place:end]) * 2])
        content[place : end if rng.random() < 0.7 else place] = part
    return bytes(content)


def test_request_of_an_image_is_read():
    request = messages.parse(GOOD)
    assert isinstance(request, messages.SampleRequest) and request.revision == 17
    np.testing.assert_array_equal(request.ids, IDS)
    assert request.style == Blend(Seed(2, 1.0), Photo(LATENT.tobytes(), 0.5), 0.25)


def test_wide_ids_are_read():
    ids = IDS.astype('<u2') * 300
    request = messages.parse(sample_frame(0, ids))
    assert isinstance(request, messages.SampleRequest) and request.ids.dtype == np.uint16
    np.testing.assert_array_equal(request.ids, ids)


def test_request_of_variations_is_read():
    header = {name: HEADER[name] for name in HEADER if name not in ('style', 'quick')}
    header |= {'op': 'variations', 'styles': [SEED, PHOTO]}
    request = messages.parse(messages.join(header, IDS.tobytes()))
    assert isinstance(request, messages.VariationsRequest)
    assert [type(style) for style in request.styles] == [Seed, Photo]


def test_answer_has_its_fields():
    rgb = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    header, payload = messages.split(messages.frame_of(messages.Image(5, rgb, True, 55, 3)))
    sizes = dict(op='image', rev=5, width=4, height=3)
    assert header == sizes | dict(exact=True, milliseconds=55, waited=3)
    assert bytes(payload) == rgb.tobytes()


def test_frame_is_refused_when_it_is_cut_anywhere():
    assert not [length for length in range(len(GOOD)) if is_read(GOOD[:length])]


@pytest.mark.parametrize(
    'changes',
    [
        {'rev': -1}, {'rev': 2**53}, {'rev': 1.0}, {'rev': True}, {'rev': '1'}, {'rev': None},
        {'width': 0}, {'width': 3}, {'width': -4, 'height': -3}, {'width': 2**40}, {'height': []},
        {'dtype': 'uint16'}, {'dtype': 'int8'}, {'dtype': ['uint8']}, {'dtype': 'O'},
        {'op': 'draw'}, {'op': None}, {'op': ['sample']}, {'op': 'hello'}, {'op': 'variations'},
        {'more': 1}, {'quick': 1}, {'quick': None}, {'style': {}}, {'style': []}, {'style': 'seed'},
        {'style': SEED | {'seed': 2**32}}, {'style': SEED | {'seed': -1}},
        {'style': SEED | {'seed': 2.0}}, {'style': SEED | {'truncation': 1.01}},
        {'style': SEED | {'truncation': True}}, {'style': SEED | {'sample': 0}},
        {'style': PHOTO | {'latent': 'AAA'}}, {'style': PHOTO | {'latent': ''}},
        {'style': PHOTO | {'latent': 'AAAA'}}, {'style': PHOTO | {'latent': 'AADAfw=='}},
        {'style': PHOTO | {'latent': 'é' * 8}}, {'style': PHOTO | {'latent': 7}},
        {'style': PHOTO | {'strength': -0.1}}, {'style': BLEND | {'from': BLEND}},
        {'style': BLEND | {'share': '0'}}, {'style': BLEND | {'to': None}},
    ],
)  # fmt: skip
def test_frame_is_refused_for_a_bad_field(changes):
    with pytest.raises(BadMessage):
        messages.parse(messages.join(HEADER | changes, IDS.tobytes()))


@pytest.mark.parametrize('name', HEADER)
def test_frame_is_refused_without_a_field(name):
    header = {other: value for other, value in HEADER.items() if other != name}
    with pytest.raises(BadMessage):
        messages.parse(messages.join(header, IDS.tobytes()))


@pytest.mark.parametrize(
    'text',
    [
        b'', b'null', b'[]', b'{', b'\xff\xfe', b'{"op":"hello","version":NaN}', b'{}}',
        b'{"op":"hello","op":"hello","version":"1"}', b'{"rev":' + b'9' * 5000 + b'}',
        b'[' * 60_000, b'{"a":' * 12_000, b'\xef\xbb\xbf{}', b'{"op":"hello","version":7}',
    ],
)  # fmt: skip
def test_frame_is_refused_for_a_bad_header(text):
    with pytest.raises(BadMessage):
        messages.parse(with_header(text))


def test_frame_is_refused_for_a_long_header():
    text = json.dumps(HEADER | {'more': 'x' * messages.LARGEST_HEADER}).encode()
    with pytest.raises(BadMessage, match='too long'):
        messages.parse(with_header(text, IDS.tobytes()))


@pytest.mark.parametrize('seed', range(4))
def test_mutated_frames_raise_nothing_else(seed):
    rng = random.Random(seed)
    read = sum(is_read(mutated(rng, GOOD)) for _ in range(2000))
    assert read < 1500  # Those whose ids alone changed.


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(strategies.binary(max_size=200))
def test_random_bytes_are_no_frame(content):
    assert not is_read(content)


VALUES = [None, True, 0, -1, 2**53, 1e308, 'uint8', 'sample', '', [], {}, [[]], SEED, PHOTO, BLEND]
FIELDS = {name: strategies.sampled_from([*VALUES, [*VALUES]]) for name in [*HEADER, 'styles']}


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(strategies.fixed_dictionaries({}, optional=FIELDS))
def test_random_fields_raise_nothing_else(fields):
    is_read(messages.join(HEADER | fields, IDS.tobytes()))
