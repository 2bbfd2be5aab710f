"""What the input pipeline hands to the train step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Pictures with their label maps, as they travel from host to device: a few bytes a pixel.

    image: [B, H, W, 3] uint8, red green blue.
    label: [B, H, W] uint8 (uint16 where the ids do not fit): class ids, 255 for don't-care where the configuration has it; with condition "rgb"
      [B, H, W, 3] uint8, the picture to draw from.
    instance: [B, H, W] int32 instance ids, of which only the borders count; None without instance edges.
    """

    image: np.ndarray
    label: np.ndarray
    instance: np.ndarray | None = None
