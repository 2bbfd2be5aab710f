"""From a DataConfig to its examples, and the check that every one of them can be used."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Iterator

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.pipeline.paired_transforms import Geometry, max_crop_offset
from spade_jax.data.records.fingerprint import first_change
from spade_jax.data.sources.folders import FolderSource, folders_of, size_of
from spade_jax.data.sources.pairing import pair_files
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.errors import UserError


def open_source(config: DataConfig, split: str) -> Source | None:
    """The examples of a split, 'train' or 'validation'; None where there is no validation set and no flag names any.

    The scenes are rendered when they are opened for the first time. With `config.records_dir`, the prepared records are opened instead of the files.

    Raises:
      UserError: when there are no data, or they do not fit together or to the configuration.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split} is not one of {", ".join(SPLITS)}')
    if config.records_dir:
        from spade_jax.data.records.reader import open_records

        return open_records(config, split)
    return open_files(config, split)


def open_files(config: DataConfig, split: str) -> Source | None:
    """As `open_source`, from the data set itself, whatever `config.records_dir` says."""
    match config.dataset:
        case 'scenes':
            from spade_jax.data.sources.scenes import ScenesSource

            return ScenesSource(config, split)
        case 'tfds':
            from spade_jax.data.sources.tfds_source import TfdsSource

            return (
                TfdsSource(config, split)
                if split == 'train' or config.tfds_validation_split
                else None
            )
        case 'celebamask_hq':
            from spade_jax.data.sources.celebamask import CelebAMaskSource

            return CelebAMaskSource(config, split)
    if split == 'validation' and not _names_validation(config):
        return None
    return FolderSource(config, split)


def change_since_prepared(config: DataConfig, split: str) -> str | None:
    """A warning where the files that the records of a split were made from have changed since; None where they have not, or are not there.

    Records may be read where the files are not, and where they are, they are what the user looks at and mends. Sizes and times are compared, which takes a
    few seconds for a hundred thousand examples.
    """
    if not config.records_dir or config.dataset in ('scenes', 'tfds', 'celebamask_hq'):
        return None
    from spade_jax.data.records.reader import read_manifest

    manifest = read_manifest(os.path.expanduser(config.records_dir))
    if manifest is None or split not in manifest.splits or not manifest.splits[split].states:
        return None
    try:
        files = pair_files(folders_of(config, split)).files
    except UserError:
        return None
    if not files or (change := first_change(files, manifest.splits[split].states)) is None:
        return None
    return (
        f'the {split} files have changed since records_dir={config.records_dir} was prepared: {change}; training reads the records as they are; '
        'to have the change in them, remove the directory and run --mode=prepare_data with the same flags'
    )


@contextlib.contextmanager
def pointing_to_the_report(config: DataConfig, *, preparing: bool = False) -> Iterator[None]:
    """What is wrong with the data is followed by where all of it is listed. Records were checked when they were prepared, and scenes are not the user's.

    Args:
      preparing: True where records are written, and `config.records_dir` is not what is read.
    """
    try:
        yield
    except UserError as error:
        if config.records_dir and not preparing or config.dataset == 'scenes':
            raise
        pointer = f'--mode=validate_data with the same flags{", but for --records_dir," if preparing else ""} lists all defects and suggests flags'
        raise UserError(
            error.problem, f'{error.remedy}; {pointer}' if error.remedy else pointer
        ) from error


def check_source(source: Source, config: DataConfig) -> dict[str, UserError]:
    """Reads every label map and instance map once, so that a bad one stops the run now and not in the middle of an epoch.

    Shows a progress bar when it takes longer than two seconds.

    Returns:
      With config.on_bad_example 'skip', by location what is wrong with the examples that will be skipped; else nothing.

    Raises:
      UserError: for the first example whose label map cannot be read or has another size than its photograph or an id out of range, or that cannot be
        brought to the training size; with 'skip', only if there is no other.
    """
    if source.already_scaled or config.dataset == 'scenes':
        return {}  # Checked when they were written, for this very configuration.
    from tqdm import tqdm

    bad = {}
    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        checks = pool.map(functools.partial(_defect_of, source, config), range(len(source)))
        try:
            for location, error in zip(
                source.locations,
                tqdm(
                    checks,
                    desc='checking the label maps',
                    total=len(source),
                    unit='map',
                    delay=2,
                    leave=False,
                ),
            ):
                if error is None:
                    continue
                bad[location] = error
                if config.on_bad_example == 'error' or len(bad) == len(source):
                    raise error
        finally:
            pool.shutdown(cancel_futures=True)
    return bad


def check_example(source: Source, config: DataConfig, index: int) -> None:
    """Raises UserError when the maps of an example cannot be used: unreadable, of wrong size, with ids out of range, or too small for the crop."""
    label = source.read_maps(index).label
    check_label_ids(label, config, source.locations[index])
    try:
        max_crop_offset(Geometry.from_config(config), *size_of(label))
    except UserError as error:
        raise error.at(source.locations[index]) from None


def _defect_of(source: Source, config: DataConfig, index: int) -> UserError | None:
    try:
        check_example(source, config, index)
    except UserError as error:
        return error
    return None


def _names_validation(config: DataConfig) -> bool:
    """True where there are validation folders, or a flag names some."""
    if (
        config.validation_list
        or config.validation_image_dir
        != DataConfig.__dataclass_fields__['validation_image_dir'].default
    ):
        return bool(config.validation_image_dir)
    return os.path.isdir(
        os.path.join(os.path.expanduser(config.data_dir), config.validation_image_dir)
    )
