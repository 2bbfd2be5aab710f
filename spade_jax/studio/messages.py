"""The messages of the WebSocket, between frames and dataclasses.

A frame has the length of its header in 4 bytes, little-endian; the header, a JSON object in UTF-8;
and a payload. `static/js/frames.js` is its twin in the page. Every field is checked: a page that
sends anything else is of another version, or none of ours.

| from the page | header | payload |
|---|---|---|
| `Hello` | op, version | |
| `SampleRequest` | op, rev, width, height, dtype, style, quick | ids row by row, uint8 or uint16 |
| `VariationsRequest` | op, rev, width, height, dtype, styles | ids |

| to the page | header | payload |
|---|---|---|
| `Image` | op, rev, width, height, exact, milliseconds, waited | RGB row by row |
| `Variation` | op, rev, index, width, height | RGB |
| `Progress` | op, state, stage, done, of, seconds, milliseconds | |
| `Waiting` | op, rev, before | |
| `Refusal` | op, rev, code, problem, remedy | |
"""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any, ClassVar, NoReturn

import numpy as np

from spade_jax.studio.style_messages import BadMessage, Style, fields, parse_style, whole

SUBPROTOCOL = 'spade-studio.1'
LARGEST_HEADER = 2**16
LARGEST_PIXELS = 2**22
LARGEST_FRAME = 4 + LARGEST_HEADER + 2 * LARGEST_PIXELS
LARGEST_REVISION = 2**53 - 1
MOST_VARIATIONS = 6


class Closing(enum.IntEnum):
    """Why the server closes a connection."""

    BAD_MESSAGE = 4400
    TOO_LARGE = 4413
    OTHER_VERSION = 4426
    TOO_MANY = 4429
    STOPPED = 4503


@dataclasses.dataclass(frozen=True)
class Hello:
    """The first message of a page: the version of the server that it was loaded from."""

    version: str


@dataclasses.dataclass(frozen=True, eq=False)
class SampleRequest:
    """Sample an image of a label map.

    Attributes:
      revision: Of the page's state; it grows.
      ids: [H, W] uint8 or uint16.
      style: None for a model without styles.
      quick: The image may differ from the generator's by rounding, if that is faster.
    """

    revision: int
    ids: np.ndarray
    style: Style | None
    quick: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class VariationsRequest:
    """Sample images of one label map in several styles."""

    revision: int
    ids: np.ndarray
    styles: tuple[Style, ...]


Request = Hello | SampleRequest | VariationsRequest


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """A sampled image.

    Attributes:
      revision: Of the request.
      rgb: [H, W, 3] uint8.
      exact: False if it may differ from the generator's by rounding.
      milliseconds: What sampling took.
      waited: Milliseconds before it.
    """

    op: ClassVar = 'image'
    revision: int
    rgb: np.ndarray
    exact: bool
    milliseconds: int
    waited: int


@dataclasses.dataclass(frozen=True, eq=False)
class Variation:
    """The image of one of the styles of a `VariationsRequest`."""

    op: ClassVar = 'variation'
    revision: int
    index: int
    rgb: np.ndarray


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the sampler is.

    Attributes:
      state: 'loading', 'compiling', 'ready' or 'failed'. When it is ready, images are sampled; with
        a stage, what they do not need is still compiled.
      stage: What it does now, or why it failed: words for the user.
      done: Number of finished stages.
      of: Number of all stages.
      seconds: Since the server started.
      milliseconds: What an image takes, once that is known.
    """

    op: ClassVar = 'state'
    state: str
    stage: str = ''
    done: int = 0
    of: int = 0
    seconds: float = 0.0
    milliseconds: int = 0


@dataclasses.dataclass(frozen=True)
class Waiting:
    """The number of pages whose images come before this request."""

    op: ClassVar = 'waiting'
    revision: int
    before: int


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why there is no image: `code` is 'ids', 'size', 'style', 'memory' or 'failed'."""

    op: ClassVar = 'refused'
    revision: int
    code: str
    problem: str
    remedy: str


Answer = Image | Variation | Progress | Waiting | Refusal


def parse(frame: bytes) -> Request:
    """The request of a frame. Raises BadMessage for any frame that a page does not write."""
    header, payload = split(frame)
    op = header.get('op')
    if op == 'hello':
        (version,) = fields(header, 'version')
        if not isinstance(version, str) or payload:
            raise BadMessage('hello has a version and no payload')
        return Hello(version)
    if op == 'sample':
        rev, style, quick = _map_fields(header, 'style', 'quick')
        if not isinstance(quick, bool):
            raise BadMessage('quick is neither true nor false')
        style = None if style is None else parse_style(style)
        return SampleRequest(rev, _ids(header, payload), style, quick)
    if op == 'variations':
        rev, styles = _map_fields(header, 'styles')
        if not isinstance(styles, list) or not 1 <= len(styles) <= MOST_VARIATIONS:
            raise BadMessage(f'styles is no list of 1 to {MOST_VARIATIONS}')
        return VariationsRequest(rev, _ids(header, payload), tuple(map(parse_style, styles)))
    raise BadMessage('op is none of hello, sample, variations')


def frame_of(answer: Answer) -> bytes:
    """The frame of an answer."""
    values = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    header, payload = {'op': answer.op}, b''
    for name, value in values.items():
        if name == 'rgb':
            header['height'], header['width'] = value.shape[:2]
            payload = value.tobytes()
        else:
            header[{'revision': 'rev'}.get(name, name)] = value
    return join(header, payload)


def join(header: dict[str, Any], payload: bytes = b'') -> bytes:
    """The frame of a header and a payload."""
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    return len(text).to_bytes(4, 'little') + text + payload


def split(frame: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and the payload of a frame."""
    length = int.from_bytes(frame[:4], 'little')
    if len(frame) < 4 or length > min(LARGEST_HEADER, len(frame) - 4):
        raise BadMessage('a frame is shorter than its header, or the header too long')
    try:
        text = frame[4 : 4 + length].decode()
        header = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f'a header is no JSON ({error})') from None
    if not isinstance(header, dict):
        raise BadMessage('a header is no object')
    return header, memoryview(frame)[4 + length :]


def _map_fields(header: dict[str, Any], *others: str) -> list[Any]:
    rev, _, _, _, *values = fields(header, 'rev', 'width', 'height', 'dtype', *others)
    return [whole('rev', rev, LARGEST_REVISION), *values]


def _ids(header: dict[str, Any], payload: memoryview) -> np.ndarray:
    width, height = (whole(side, header[side], LARGEST_PIXELS, 1) for side in ('width', 'height'))
    if header['dtype'] not in ('uint8', 'uint16'):
        raise BadMessage('dtype is neither uint8 nor uint16')
    dtype = np.dtype(header['dtype']).newbyteorder('<')
    if width * height > LARGEST_PIXELS or len(payload) != width * height * dtype.itemsize:
        raise BadMessage('the payload has not the size of the map')
    return np.frombuffer(payload, dtype).reshape(height, width).astype(header['dtype'])


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError('an object has a field twice')
    return dict(pairs)
