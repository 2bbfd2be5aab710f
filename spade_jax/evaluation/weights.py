"""Published files of weights, and how a protocol names them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from spade_jax.errors import user_errors
from spade_jax.files.weight_files import read_state
from spade_jax.models.pretrained import Entries, Path, load_params


class WeightsFile:
    """A file that a flag names.

    Attributes:
      path: The file.
      checksum: Its SHA-256.

    Raises:
      UserError: On construction, when the file cannot be read.
    """

    def __init__(self, flag: str, path: str, remedy: str):
        self.path = os.path.expanduser(path)
        with user_errors(f'{flag}={path} cannot be read', remedy):
            with open(self.path, 'rb') as file:
                self.checksum = hashlib.file_digest(file, 'sha256').hexdigest()

    def protocol(self) -> dict[str, str]:
        """Name and checksum."""
        return {'weights': os.path.basename(self.path), 'weights_sha256': self.checksum}


def read_segmenter(
    network: nn.Module, path: str, entries_of: Callable[[Path], Entries], remedy: str
) -> tuple[WeightsFile, Any]:
    """The file of --segmentation_weights, and its parameters on the device; see `load_params`."""
    file = WeightsFile('segmentation_weights', path, remedy)
    params = load_params(network, read_state(file.path), entries_of, source=path, remedy=remedy)
    return file, jax.device_put(params)
