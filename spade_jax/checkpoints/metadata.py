"""The metadata that a checkpoint stores with its arrays."""

import dataclasses
from typing import Any, Self

from spade_jax.checkpoints.checksums import verified, with_checksum
from spade_jax.config.config import Config
from spade_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CheckpointMetadata:
    """The item `metadata`.

    Attributes:
      config: Of the run.
      num_examples: Size of the training set, on which order and learning rate depend; None before
        the run saw any example.
      metrics: The last ones before the checkpoint.
      checksums: Item -> path of the array -> checksum, see `checksums.checksums`.
    """

    config: Config
    num_examples: int | None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    checksums: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values, with a checksum of all of them."""
        return with_checksum(vars(self) | {'config': self.config.to_json()})

    @classmethod
    def from_json(cls, values: Any, place: str) -> Self:
        """The inverse of `to_json`; `place` names the item in messages.

        Raises:
          CorruptCheckpoint: The values are not what was written.
          UserError: Another version wrote them.
        """
        record = verified(values, place)
        if other := record.keys() ^ {field.name for field in dataclasses.fields(cls)}:
            problem = f'{place} was written by another version ({", ".join(sorted(other))})'
            raise UserError(problem, 'use the version that wrote it')
        record['config'] = Config.from_json(record['config'])
        return cls(**record)
