"""What the input pipeline passes to the train step."""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Images with their label maps, as they go from host to device: a few bytes a pixel.

    Attributes:
      image: [B, H, W, 3] uint8 RGB.
      label: [B, H, W] class ids, uint8, or uint16 if they do not fit; 255 for don't-care if the
        configuration has it. With condition 'rgb': [B, H, W, 3] uint8, the condition image;
        with condition 'none': [B, H, W, 0] uint8.
      instance: [B, H, W] int32 ids, one for each instance of an image; None without instance edges.
    """

    image: Any  # np.ndarray on the host, jax.Array inside of a step; so are the others.
    label: Any
    instance: Any = None
