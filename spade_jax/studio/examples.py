"""The label maps and photos next to a checkpoint, with which a page can begin."""

import base64
import io
import os
from typing import Any, NamedTuple

from PIL import Image

from spade_jax.config.config import Config
from spade_jax.data.files.image_files import PHOTO_EXTENSIONS
from spade_jax.files.whole_file import read_file
from spade_jax.studio.label_imports import import_map
from spade_jax.studio.uploads import map_of, photo_of

_MOST = 100
_TYPES = {'.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.webp': 'image/webp'}
_MOST_BYTES = 20 << 20
_THUMBNAIL = 128  # Pixels of its longer side: twice what the page shows, for fine displays.


class Example(NamedTuple):
    """A label map, and the path of its photo or ''."""

    name: str
    path: str
    photo: str


def find_examples(workdir: str) -> list[Example]:
    """The examples in `labels/` and `photos/` of a work directory, by name."""
    labels, photos = (_files(os.path.join(workdir, name)) for name in ('labels', 'photos'))
    return [Example(name, path, photos.get(name, '')) for name, path in labels.items()][:_MOST]


def _files(directory: str) -> dict[str, str]:
    """The images of a directory by their names without extension; {} if there is none."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    parts = [os.path.splitext(name) for name in names]
    return {
        stem: os.path.join(directory, stem + extension)
        for stem, extension in parts
        if extension.lower() in PHOTO_EXTENSIONS
    }


def list_examples(examples: list[Example]) -> dict[str, Any]:
    """What `/api/examples` answers."""
    listed = [
        dict(number=number, name=example.name, has_photo=bool(example.photo))
        for number, example in enumerate(examples)
    ]
    return dict(examples=listed)


def read_example(example: Example, config: Config) -> dict[str, Any]:
    """What `/api/examples/N` answers: ids at the training size, row by row, in base64.

    `file` is the file itself if it holds exactly these ids, else ''.

    Raises:
      UserError: The file is no label map of this model.
    """
    content = read_file(example.path, _MOST_BYTES)
    read = import_map(map_of(content, example.path), config, example.path)
    file = base64.b64encode(content).decode() if read['report']['exact'] else ''
    return dict(
        name=example.name, width=read['width'], height=read['height'], ids=read['ids'], file=file
    )


def read_photo_file(example: Example) -> tuple[bytes, str]:
    """The content and the type of the photo of an example, which has one."""
    extension = os.path.splitext(example.photo)[1].lower()
    kind = _TYPES.get(extension, 'application/octet-stream')
    return read_file(example.photo, _MOST_BYTES), kind


def thumbnail_of(example: Example) -> bytes:
    """The photo of an example, which has one, as a small JPEG file; raises UserError."""
    pixels = photo_of(read_file(example.photo, _MOST_BYTES), example.photo)
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(file, 'JPEG', quality=85)
    return file.getvalue()
