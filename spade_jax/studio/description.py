"""What a page must know of the model and of the limits; read without JAX."""

import dataclasses
import os
import sys
from typing import Any

import spade_jax
from spade_jax.checkpoints.stored_metadata import stored_metadata
from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID
from spade_jax.data.files.palette import classes_of
from spade_jax.errors import UserError
from spade_jax.studio.connections import MOST_PAGES
from spade_jax.studio.correspondences import materials, materials_of
from spade_jax.studio.guards import UPLOADS
from spade_jax.studio.label_numbers import class_ids, file_values
from spade_jax.studio.messages import LARGEST_PIXELS
from spade_jax.studio.proposals import take_as_choices
from spade_jax.studio.time_lapse import MOST_FRAMES

# Of an uploaded image, by what its header says.
MOST_SIDE, MOST_PIXELS = 8192, 1 << 24


@dataclasses.dataclass(frozen=True)
class Run:
    """The run whose model samples.

    Attributes:
      workdir: Its directory.
      name: What the page calls it.
      step: Of the checkpoint.
      config: Of the checkpoint.
    """

    workdir: str
    name: str
    step: int
    config: Config

    @classmethod
    def open(cls, workdir: str, step: int | None = None) -> 'Run':
        """The run of a work directory; raises as `stored_metadata`. Default: the newest step."""
        step, metadata = stored_metadata(workdir, step)
        name = os.path.basename(os.path.abspath(workdir))
        return cls(workdir, name, step, metadata.config)


def check_paintable(config: Config) -> None:
    """Raise a UserError for a model that does not sample from label maps."""
    if not config.data.uses_labels:
        problem = f'condition={config.data.condition}, but the studio paints label maps'
        raise UserError(problem, 'give the --workdir of a run with --condition=labels, or the demo')


def describe(run: Run, command: list[str]) -> dict[str, Any]:
    """What `/api/model` answers, but for what only the sampler knows.

    Args:
      run: The run.
      command: The arguments that start this server again.
    """
    data, model = run.config.data, run.config.model
    names, colors = classes_of(data)
    columns = class_ids(data), names, colors.tolist(), file_values(data), materials_of(names)
    classes = [
        dict(id=number, name=name, color=color, **values, material=material._asdict())
        for number, name, color, values, material in zip(*columns, strict=True)
    ]
    return dict(
        version=spade_jax.__version__,
        name=run.name,
        step=run.step,
        width=data.image_width,
        height=data.image_height,
        multiple=model.size_multiple,
        fixed_size=model.size_is_fixed,
        classes=classes,
        unknown=DONTCARE_ID if data.dontcare and DONTCARE_ID in columns[0] else None,
        materials=[dict(name=entry['name'], color=entry['color']) for entry in materials()],
        tables=take_as_choices(),
        has_style=model.has_latent,
        # A table of features by class needs the label map of the photo, too.
        can_encode=model.can_encode and model.feature_table is None,
        has_instances=data.instance_edges,
        workdir=os.path.abspath(run.workdir),
        command=command,
        limits=dict(
            upload_bytes=UPLOADS['/api/import'].most_bytes,
            time_lapse_bytes=UPLOADS['/api/timelapse'].most_bytes,
            frames=MOST_FRAMES,
            side=MOST_SIDE,
            pixels=MOST_PIXELS,
            map_pixels=LARGEST_PIXELS,
            pages=MOST_PAGES,
        ),
    )


def restart_command(arguments: list[str]) -> list[str]:
    """The command that starts this server again with the same arguments."""
    return [sys.executable or 'python', '-m', 'spade_jax.main', *arguments]
