"""Images that a notebook shows in a row, with the colors of the classes."""

import base64
import html
import io
import os
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.palette import classes_of
from spade_jax.files.image_grid import write_png
from spade_jax.sampling.arguments import check_images

Color = tuple[int, int, int]  # Red, green, blue.
TILE = 256  # Pixels of the screen; smaller images are enlarged.


class ImageRow:
    """Images with captions; Jupyter and Colab show it in a row when it is the value of a cell.

    Attributes:
      title: Heading.
      images: [H, W, 3] uint8 by caption.
      classes: Colors by name, shown below, see `TrainedGenerator.classes_in`.
    """

    def __init__(
        self,
        title: str,
        images: Mapping[str, np.ndarray],
        classes: Mapping[str, Color] | None = None,
    ):
        self.title, self.classes = title, dict(classes or {})
        self.images = {caption: check_images(image)[0][0] for caption, image in images.items()}

    def save(self, directory: str) -> list[str]:
        """Write each image as `<title>, <caption>.png`; returns the paths."""
        names = [f'{self.title}, {caption}.png'.replace('/', ' ') for caption in self.images]
        paths = [os.path.join(directory, name) for name in names]
        for path, image in zip(paths, self.images.values(), strict=True):
            write_png(path, image)
        return paths

    def _repr_html_(self) -> str:
        figures = ''.join(_figure(*item) for item in self.images.items())
        row = f'<div style="display: flex; gap: 8px; margin: 4px 0 12px">{figures}</div>'
        entries = ''.join(_entry(*item) for item in self.classes.items())
        legend = f'<div style="margin-bottom: 12px">{entries}</div>' if entries else ''
        return f'<b>{html.escape(self.title)}</b>{row}{legend}'


def colors_of(data: DataConfig, ids: Iterable[int]) -> dict[str, Color]:
    """Names and colors of the classes of some label ids; {} for RGB conditions."""
    if not data.uses_labels:
        return {}
    names, colors = classes_of(data)
    # 255, don't-care, is the last channel.
    channels = sorted({min(int(class_id), data.label_channels - 1) for class_id in ids})
    return {names[i]: (int(r), int(g), int(b)) for i in channels for r, g, b in [colors[i]]}


def _figure(caption: str, image: np.ndarray) -> str:
    png, text = io.BytesIO(), html.escape(caption)
    Image.fromarray(image).save(png, 'png')
    url = f'data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}'
    width = image.shape[1] * max(1, TILE // image.shape[1])
    return (
        f'<figure style="margin: 0; flex: 0 1 {width}px; min-width: 64px">'
        f'<img src="{url}" alt="{text}" style="display: block; width: 100%; '
        f'image-rendering: pixelated"><figcaption>{text}</figcaption></figure>'
    )


def _entry(name: str, color: Color) -> str:
    box = 'display: inline-block; width: 0.8em; height: 0.8em; border: 1px solid gray'
    return (
        '<span style="white-space: nowrap; margin-right: 16px">'
        f'<span style="{box}; background: rgb{color}"></span> {html.escape(name)}</span> '
    )
