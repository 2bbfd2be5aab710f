"""Published files of weights, and how a protocol names them."""

from __future__ import annotations

import hashlib
import os

from spade_jax.errors import user_errors


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
