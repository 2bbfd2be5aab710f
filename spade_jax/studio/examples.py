"""The label maps and photos next to a checkpoint, with which a page can begin."""

import base64
import functools
import io
import os
from typing import Any, NamedTuple

from PIL import Image

from spade_jax.config.config import Config
from spade_jax.data.files.image_files import PHOTO_EXTENSIONS, read_photo
from spade_jax.errors import user_errors
from spade_jax.files.whole_file import read_file
from spade_jax.studio.label_imports import import_map
from spade_jax.studio.uploads import map_of

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
    content = _content(example.path)
    read = import_map(map_of(content, example.path), config, example.path)
    file = base64.b64encode(content).decode() if read['report']['exact'] else ''
    return dict(
        name=example.name, width=read['width'], height=read['height'], ids=read['ids'], file=file
    )


def type_of_photo(example: Example) -> str:
    """The type of the photo's file, as a response tells it."""
    extension = os.path.splitext(example.photo)[1].lower()
    return _TYPES.get(extension, 'application/octet-stream')


def read_photo_file(example: Example) -> bytes:
    """The file of the photo of an example, which has one; raises UserError."""
    return _content(example.photo)


@functools.lru_cache(_MOST)
def thumbnail_of(example: Example) -> bytes:
    """The photo of an example, which has one, as a small JPEG file; raises UserError."""
    image, file = Image.fromarray(read_photo(example.photo)), io.BytesIO()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(file, 'JPEG', quality=85)
    return file.getvalue()


def _content(path: str) -> bytes:
    with user_errors(f'{path} cannot be read', 'restore or remove it'):
        return read_file(path, _MOST_BYTES)
