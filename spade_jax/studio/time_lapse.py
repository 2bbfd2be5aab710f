"""Time-lapses: the images of a painting as an animated GIF or WebP."""

import io

import numpy as np
from PIL import Image

from spade_jax.errors import UserError

# Name in a request -> name for Pillow, options, media type. WebP keeps every bit; GIF has 256
# colors a frame.
FORMATS = {
    'gif': ('GIF', dict(disposal=1, optimize=False), 'image/gif'),
    'webp': ('WEBP', dict(lossless=True, quality=20, method=0), 'image/webp'),
}
MOST_FRAMES = 240
MILLISECONDS = (20, 2000)  # A frame. Viewers slow faster ones down.
LAST_FRAME = 1500  # Milliseconds: the end is what one wants to see before it starts again.


def read_frames(content: bytes, width: int, height: int) -> np.ndarray:
    """Return frames [N, height, width, 3] uint8, which follow one another row by row.

    Raises:
      UserError: They are not whole frames, none or too many.
    """
    size = 3 * max(width, 0) * max(height, 0)
    if not size or not content or len(content) % size:
        problem = f'{len(content)} bytes are not frames of {width}x{height} RGB pixels'
        raise UserError(problem, 'send all bytes of each frame')
    count = len(content) // size
    if count > MOST_FRAMES:
        raise UserError(f'{count} frames', f'send at most {MOST_FRAMES}')
    return np.frombuffer(content, np.uint8).reshape(count, height, width, 3)


def encode(frames: np.ndarray, format: str, milliseconds: int = 80) -> bytes:
    """Encode frames [N, H, W, 3] uint8 as an animation without end.

    Args:
      frames: Equal frames in a row become one that is shown longer.
      format: One of `FORMATS`.
      milliseconds: Of each frame; the last one stays longer.

    Raises:
      UserError: Another format, or milliseconds out of range.
    """
    if format not in FORMATS:
        raise UserError(f'format={format} of a time-lapse', f'use {" or ".join(FORMATS)}')
    least, most = MILLISECONDS
    if not least <= milliseconds <= most:
        raise UserError(f'milliseconds={milliseconds} of a frame', f'use {least} to {most}')
    name, options, _ = FORMATS[format]
    durations: list[int] = []
    images: list[Image.Image] = []
    for index, frame in enumerate(frames):
        if index and np.array_equal(frame, frames[index - 1]):
            durations[-1] += milliseconds
        else:
            images.append(Image.fromarray(frame))
            durations.append(milliseconds)
    durations[-1] = max(durations[-1], LAST_FRAME)
    file = io.BytesIO()
    images[0].save(
        file, name, save_all=True, append_images=images[1:], duration=durations, loop=0, **options
    )
    return file.getvalue()
