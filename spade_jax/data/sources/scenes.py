"""The procedural landscapes, from their prepared records."""

from __future__ import annotations

import io

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids, read_photo
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, max_crop_offset, scaled_size
from spade_jax.errors import UserError

SCENES_VALIDATION_EXAMPLES = 64


def scenes_size(config: DataConfig) -> tuple[int, int]:
    """Width and height in pixels at which the scenes are rendered: the size to which the configuration scales a picture anyway.

    Raises:
      UserError: when that is not the training size and the preprocessing does not crop.
    """
    geometry = Geometry.from_config(config)
    size = scaled_size(geometry, geometry.width, geometry.height)
    max_crop_offset(geometry, *size)
    return size


class ScenesSource:
    """The landscapes of a split; rendered first where there are no records yet.

    Raises:
      UserError: on construction, when the configuration does not have the classes of the scenes.
    """

    already_scaled = False

    def __init__(self, config: DataConfig, split: str):
        from spade_jax import landscapes
        from spade_jax.data.sources import scenes_builder

        num_classes = len(landscapes.CLASSES)
        if config.condition == 'rgb':
            raise UserError(
                'condition=rgb, but dataset=scenes has label maps',
                'use --condition=labels or --condition=labels+edges',
            )
        if config.num_classes != num_classes:
            raise UserError(
                f'num_classes={config.num_classes}, but dataset=scenes has {num_classes} classes',
                f'use --num_classes={num_classes}',
            )
        for name in ('dontcare', 'palette', 'label_remap'):
            if getattr(config, name):
                raise UserError(
                    f'{name} is set, but every pixel of dataset=scenes has one of its own classes',
                    f'leave --{name} out',
                )
        width, height = scenes_size(config)
        builder_config = scenes_builder.ScenesConfig(
            width=width,
            height=height,
            train_examples=config.scenes_train_examples,
            validation_examples=SCENES_VALIDATION_EXAMPLES,
        )
        self._records = scenes_builder.SceneRecords(builder_config, split, config.data_dir)
        self._instance_edges = config.instance_edges
        self.names = self.locations = [
            f'{split}_{index:05d}' for index in range(len(self._records))
        ]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Example:
        record = self._records[index]
        return self._maps(record)._replace(image=read_photo(io.BytesIO(record.image)))

    def read_maps(self, index: int) -> Example:
        return self._maps(self._records[index])

    def _maps(self, record) -> Example:
        return Example(
            None,
            read_ids(io.BytesIO(record.label)),
            record.instance if self._instance_edges else None,
        )
