"""Open the examples that a DataConfig describes, and check that all of them can be used."""

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.pipeline.paired_transforms import Geometry, max_crop_offset
from spade_jax.data.records.fingerprint import first_change
from spade_jax.data.sources.folders import folders_of
from spade_jax.data.sources.pairing import pair_files
from spade_jax.data.sources.source import SPLITS, DatasetSource, Source, size_of
from spade_jax.errors import DatasetError, UserError, require_extra


def open_source(config: DataConfig, split: str) -> Source | None:
    """Open 'train' or 'validation': the records of `config.records_dir`, or the data set itself.

    Returns None if there is no validation set and no flag names one. Raises a UserError if there
    are no data, or they do not match each other or the configuration.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split} is not one of {", ".join(SPLITS)}')
    if config.records_dir:
        from spade_jax.data.records.reader import open_records

        return open_records(config, split)
    return open_files(config, split)


def open_files(config: DataConfig, split: str) -> DatasetSource | None:
    """Open a split of the data set itself, whatever `config.records_dir` is."""
    source = source_class(config)
    return source(config, split) if source.has_split(config, split) else None


def source_class(config: DataConfig) -> type[DatasetSource]:
    """Return the class that reads the data set; imports only what this class needs.

    Raises:
      UserError: A package that the class needs is not installed.
    """
    if config.dataset in ('scenes', 'tfds'):
        require_extra('train', f'dataset={config.dataset}')
    match config.dataset:
        case 'scenes':
            from spade_jax.data.sources.scenes import ScenesSource as source
        case 'tfds':
            from spade_jax.data.sources.tfds_source import TfdsSource as source
        case 'pairs':
            from spade_jax.data.sources.pairs import PairsSource as source
        case 'celebamask_hq':
            from spade_jax.data.sources.celebamask import CelebAMaskSource as source
        case _:
            from spade_jax.data.sources.folders import FolderSource as source
    return source


def change_since_prepared(config: DataConfig, split: str) -> str | None:
    """Return a warning if files have other sizes or times than the split was prepared from."""
    source = source_class(config)
    if not config.records_dir or not (source.pairs_files or config.dataset == 'pairs'):
        return None
    from spade_jax.data.records.reader import read_manifest

    manifest = read_manifest(config.records_dir)
    prepared = manifest.splits.get(split) if manifest else None
    if prepared and prepared.states:
        with contextlib.suppress(UserError):
            if source.pairs_files:
                files = pair_files(folders_of(config, split)).files
            else:
                files = source(config, split).files
            if files and (change := first_change(files, prepared.states)):
                changed = f'the {split} files have changed since records_dir={config.records_dir}'
                update = 'remove it and run --mode=prepare_data with the same flags'
                return f'{changed} was prepared: {change}; to update it, {update}'


@contextlib.contextmanager
def pointing_to_the_report(config: DataConfig, *, preparing: bool = False) -> Iterator[None]:
    """Add to errors of the user's data that validate_data lists them all.

    With `preparing`, records are written, so that `config.records_dir` is not read.
    """
    try:
        yield
    except UserError as error:
        if config.records_dir and not preparing or source_class(config).already_scaled:
            raise
        flags = 'the same flags, but for --records_dir,' if preparing else 'the same flags'
        pointer = f'--mode=validate_data with {flags} lists all defects and suggests flags'
        remedy = f'{error.remedy}; {pointer}' if error.remedy else pointer
        raise type(error)(error.problem, remedy) from error


def check_source(source: Source, config: DataConfig) -> dict[str, UserError]:
    """Read every label map and instance map once, so that a bad one stops the run at its start.

    Returns the errors by location with `on_bad_example` 'skip', unless all examples are bad. Else
    the UserError of the first bad one (see `check_example`) is raised.
    """
    if source.already_scaled:
        return {}
    check = functools.partial(check_example, source, config)
    return bad_examples(source.locations, check, config)


def bad_examples(
    locations: Sequence[str], check: Callable[[int], object], config: DataConfig
) -> dict[str, UserError]:
    """The errors that `check` raises for indices, by location; see `check_source`."""
    from tqdm import tqdm

    def error_of(index: int) -> UserError | None:
        try:
            check(index)
        except UserError as error:
            return error

    bad = {}
    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        checks = zip(locations, pool.map(error_of, range(len(locations))), strict=True)
        bar: dict[str, Any] = dict(desc='checking the label maps', unit='map', delay=2, leave=False)
        try:
            for location, error in tqdm(checks, total=len(locations), **bar):
                if error is not None:
                    bad[location] = error
                    stops = config.on_bad_example == 'error' or isinstance(error, DatasetError)
                    if stops or len(bad) == len(locations):
                        raise error
        finally:
            pool.shutdown(cancel_futures=True)
    return bad


def check_example(source: Source, config: DataConfig, index: int) -> None:
    """Raise a UserError if maps are damaged, differ in size, have unknown ids or are too small."""
    label = source.read_maps(index).label
    check_label_ids(label, config, source.locations[index])
    try:
        max_crop_offset(Geometry.from_config(config), *size_of(label))
    except UserError as error:
        raise error.at(source.locations[index]) from None
