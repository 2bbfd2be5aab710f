"""The label maps and photos beside a checkpoint, with which a page can begin."""

import base64
import os
from typing import Any, NamedTuple

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import PHOTO_EXTENSIONS
from spade_jax.data.files.label_reader import LabelReader, check_label_ids, label_dtype
from spade_jax.files.whole_file import read_file
from spade_jax.studio.proposals import page_ids

_MOST = 100
_TYPES = {'.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.webp': 'image/webp'}
_MOST_BYTES = 20 << 20


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


def read_example(example: Example, config: DataConfig) -> dict[str, Any]:
    """What `/api/examples/N` answers: ids row by row and the file itself, both in base64.

    Raises:
      UserError: The file is no label map of this model.
    """
    content = read_file(example.path, _MOST_BYTES)
    ids = LabelReader(config).read(example.path)
    check_label_ids(ids, config, example.path)
    pixels = page_ids(ids, config).astype(label_dtype(config).newbyteorder('<')).tobytes()
    return dict(
        name=example.name,
        width=ids.shape[1],
        height=ids.shape[0],
        ids=base64.b64encode(pixels).decode(),
        file=base64.b64encode(content).decode(),
    )


def read_photo_file(example: Example) -> tuple[bytes, str]:
    """The content and the type of the photo of an example, which has one."""
    extension = os.path.splitext(example.photo)[1].lower()
    kind = _TYPES.get(extension, 'application/octet-stream')
    return read_file(example.photo, _MOST_BYTES), kind
