"""What a checkpoint says of itself, beside its arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

from spade_jax.checkpoints import checksums
from spade_jax.config.config import Config
from spade_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CheckpointRecord:
    """The small item of a checkpoint.

    config: of the run.
    num_examples: in the training set, on which order and learning rate depend; None before the run saw any.
    detour: how often the run has gone back and taken other data, see `divergence`.
    metrics: the last ones before the checkpoint.
    checksums: item -> path of the array -> checksum, see `checksums.checksums`.
    """

    config: Config
    num_examples: int | None
    detour: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    checksums: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with a checksum of all of them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return checksums.with_checksum(fields | {'config': self.config.to_json()})

    @classmethod
    def from_json(cls, values: Any, place: str) -> CheckpointRecord:
        """The inverse of `to_json`.

        Args:
          values: what was read.
          place: what messages call it.

        Raises:
          CorruptCheckpoint: it is not what was written.
          UserError: another version wrote it.
        """
        fields = checksums.opened(values, place)
        if other := fields.keys() ^ {field.name for field in dataclasses.fields(cls)}:
            raise UserError(
                f'{place} is a record of another version of the program ({", ".join(sorted(other))})',
                'use the version that wrote it',
            )
        return cls(**fields | {'config': Config.from_json(fields['config'])})
