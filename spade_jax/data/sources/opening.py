"""From a Config to its examples, and the check that every one of them can be used."""

from __future__ import annotations

import concurrent.futures
import functools
import os

from spade_jax.config import Config
from spade_jax.data.label_reader import check_label_ids
from spade_jax.data.paired_transforms import Geometry, crop_room
from spade_jax.data.sources.folders import FolderSource, size_of
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.errors import UserError


def open_source(config: Config, split: str) -> Source | None:
    """The examples of a split, 'train' or 'validation'; None where there is no validation set and no flag names any.

    The scenes are rendered when they are opened for the first time. With `config.records_dir`, the prepared records are opened instead of the files.

    Raises:
      UserError: when there are no data, or they do not fit together or to the configuration.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split} is not one of {", ".join(SPLITS)}')
    if config.records_dir:
        from spade_jax.data.sources.records import open_records
        return open_records(config, split)
    return open_files(config, split)


def open_files(config: Config, split: str) -> Source | None:
    """As `open_source`, from the data set itself, whatever `config.records_dir` says."""
    match config.dataset:
        case 'scenes':
            from spade_jax.data.sources.scenes import ScenesSource
            return ScenesSource(config, split)
        case 'tfds':
            from spade_jax.data.sources.tfds_source import TfdsSource
            return TfdsSource(config, split) if split == 'train' or config.tfds_validation_split else None
        case 'celebamask_hq':
            from spade_jax.data.sources.celebamask import CelebAMaskSource
            return CelebAMaskSource(config, split)
    if split == 'validation' and not _names_validation(config):
        return None
    return FolderSource(config, split)


def check_source(source: Source, config: Config) -> list[UserError]:
    """Reads every label map and instance map once, so that a bad one stops the run now and not in the middle of an epoch.

    Shows a progress bar when it takes longer than two seconds.

    Returns:
      With config.on_bad_example 'skip', what is wrong with the examples that will be skipped; else nothing.

    Raises:
      UserError: for the first example whose label map cannot be read or has another size than its photograph or an id out of range, or that cannot be
        brought to the training size; with 'skip', only if there is no other.
    """
    if source.already_scaled or config.dataset == 'scenes':
        return []  # Checked when they were written, for this very configuration.
    from tqdm import tqdm
    bad = []
    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        checks = pool.map(functools.partial(_defect_of, source, config), range(len(source)))
        try:
            for error in tqdm(checks, desc='checking the label maps', total=len(source), unit='map', delay=2, leave=False):
                if error is None:
                    continue
                bad.append(error)
                if config.on_bad_example == 'error' or len(bad) == len(source):
                    raise error
        finally:
            pool.shutdown(cancel_futures=True)
    return bad


def check_example(source: Source, config: Config, index: int) -> None:
    """Raises UserError when the maps of an example cannot be used: unreadable, of wrong size, with ids out of range, or too small for the crop."""
    label = source.read_maps(index).label
    check_label_ids(label, config, source.locations[index])
    try:
        crop_room(Geometry.from_config(config), *size_of(label))
    except UserError as error:
        raise error.at(source.locations[index]) from None


def _defect_of(source: Source, config: Config, index: int) -> UserError | None:
    try:
        check_example(source, config, index)
    except UserError as error:
        return error
    return None


def _names_validation(config: Config) -> bool:
    """True where there are validation folders, or a flag names some."""
    if config.validation_list or config.validation_image_dir != Config.__dataclass_fields__['validation_image_dir'].default:
        return bool(config.validation_image_dir)
    return os.path.isdir(os.path.join(os.path.expanduser(config.data_dir), config.validation_image_dir))
