"""Where examples come from: paired folders of image files, or the prepared records of the scenes. Both are random access.

A source decodes and checks one example at a time; it knows nothing of order, crops or batches. Whatever is wrong with the data is a UserError that
names the file.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import io
import itertools
import os
from typing import Iterator, NamedTuple, Protocol, Sequence

import numpy as np

from spade_jax.config import DONTCARE_ID, Config
from spade_jax.data.image_files import ID_EXTENSIONS, LOSSY_EXTENSIONS, PHOTO_EXTENSIONS, photo_size, read_ids, read_photo
from spade_jax.data.paired_transforms import Example, Geometry, crop_room, scaled_size
from spade_jax.errors import UserError

SPLITS = ('train', 'validation')
SCENES_VALIDATION_EXAMPLES = 64
_NAMES_SHOWN = 3


class Source(Protocol):
    """Examples by number. Reading is safe from several threads.

    names: what output files call each example, in order.
    locations: what messages call it: the path of its label map.
    """

    names: Sequence[str]
    locations: Sequence[str]

    def __len__(self) -> int:
        ...

    def read(self, index: int) -> Example:
        """The example; its maps have the size of its photograph. Raises UserError, with the file's name, where that cannot be had."""

    def read_maps(self, index: int) -> Example:
        """The example without its photograph, whose pixels are not decoded; only its size is compared. Raises UserError as `read` does."""


def open_source(config: Config, split: str) -> Source | None:
    """The examples of a split, 'train' or 'validation'; None where there are no validation folders and no flag names any.

    The scenes are rendered when they are opened for the first time.

    Raises:
      UserError: when there are no data, or they do not fit together or to the configuration.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split} is not one of {", ".join(SPLITS)}')
    if config.dataset == 'scenes':
        return ScenesSource(config, split)
    folders = Folders.from_config(config, split)
    if split == 'validation' and not folders.listing and _is_default(config, 'validation_image_dir') and not os.path.isdir(folders.photo.directory):
        return None
    return FolderSource(folders)


def check_source(source: Source, config: Config) -> None:
    """Reads every label map and instance map once, so that a bad one stops the run now and not in the middle of an epoch.

    Shows a progress bar when it takes longer than two seconds.

    Raises:
      UserError: for the first example whose label map cannot be read or has another size than its photograph or an id out of range, or that cannot be
        brought to the training size.
    """
    if isinstance(source, ScenesSource):
        return  # Rendered for this very configuration.
    from tqdm import tqdm
    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        checks = pool.map(functools.partial(_check_example, source, config), range(len(source)))
        try:
            for _ in tqdm(checks, desc='checking the label maps', total=len(source), unit='map', delay=2, leave=False):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def check_label_ids(label: np.ndarray, config: Config, name: str) -> None:
    """Raises UserError, with value, first pixel and remedy, when `label` [H, W] holds an id that the configuration does not know.

    The ids are 0 to label_channels - 1 and, with don't-care, 255.
    """
    if 0 <= label.min() and label.max() < config.label_channels:
        return
    known = (label >= 0) & (label < config.label_channels)
    if config.dontcare:
        known |= label == DONTCARE_ID
    if known.all():
        return
    y, x = np.argwhere(~known)[0]
    raise UserError(f'{name}: label id {label[y, x]} at pixel (x={x}, y={y}) is not one of the {config.num_classes} classes '
                    f'0..{config.num_classes - 1}; {_label_remedy(label, config)}')


def _is_default(config: Config, name: str) -> bool:
    return getattr(config, name) == Config.__dataclass_fields__[name].default


def scenes_size(config: Config) -> tuple[int, int]:
    """Width and height in pixels at which the scenes are rendered: the size to which the configuration scales a picture anyway.

    Raises:
      UserError: when that is not the training size and the preprocessing does not crop.
    """
    geometry = Geometry.from_config(config)
    size = scaled_size(geometry, geometry.width, geometry.height)
    crop_room(geometry, *size)
    return size


class ScenesSource:
    """The procedural landscapes, from their prepared records; rendered first where there are none yet.

    Raises:
      UserError: on construction, when the configuration does not have the classes of the scenes.
    """

    def __init__(self, config: Config, split: str):
        from spade_jax.data.builders import landscapes, scenes
        num_classes = len(landscapes.CLASSES)
        if config.num_classes != num_classes:
            raise UserError(f'num_classes={config.num_classes}, but dataset=scenes has {num_classes} classes; use --num_classes={num_classes}')
        if config.dontcare:
            raise UserError('dontcare=True, but every pixel of dataset=scenes has a class; use --nodontcare')
        width, height = scenes_size(config)
        builder_config = scenes.ScenesConfig(width=width, height=height, train_examples=config.scenes_train_examples,
                                             validation_examples=SCENES_VALIDATION_EXAMPLES)
        self._records = scenes.SceneRecords(builder_config, split, config.data_dir)
        self._instance_edges = config.instance_edges
        self.names = self.locations = [f'{split}_{index:05d}' for index in range(len(self._records))]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Example:
        record = self._records[index]
        return self._maps(record)._replace(image=read_photo(io.BytesIO(record.image)))

    def read_maps(self, index: int) -> Example:
        return self._maps(self._records[index])

    def _maps(self, record) -> Example:
        return Example(None, read_ids(io.BytesIO(record.label)), record.instance.astype(np.int32) if self._instance_edges else None)


class Role(NamedTuple):
    """One of the files that make an example: photograph, label map or instance map."""

    name: str
    directory: str
    directory_flag: str
    suffix: str
    suffix_flag: str
    extensions: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where the files of a split lie.

    Attributes:
      photo, label, instance: directory, suffix and file types of each role; instance is None where the run does not use it.
      listing: path of the text file that lists the examples; '' for every pair.
      listing_flag: the flag that names it.
      root: what the 'split' of a listed 'split/stem' is relative to.
    """

    photo: Role
    label: Role
    instance: Role | None
    listing: str = ''
    listing_flag: str = ''
    root: str = ''

    @classmethod
    def from_config(cls, config: Config, split: str) -> Folders:
        root = os.path.expanduser(config.data_dir)

        def role(name, field, extensions):
            directory_flag, suffix_flag = f'{split}_{field}_dir', f'{field}_suffix'
            directory = os.path.normpath(os.path.join(root, getattr(config, directory_flag)))
            return Role(name, directory, directory_flag, getattr(config, suffix_flag), suffix_flag, extensions)

        listing_flag = f'{split}_list'
        listing = getattr(config, listing_flag)
        return cls(photo=role('photograph', 'image', PHOTO_EXTENSIONS), label=role('label map', 'label', ID_EXTENSIONS),
                   instance=role('instance map', 'instance', ID_EXTENSIONS) if config.instance_edges else None,
                   listing=os.path.join(root, listing) if listing else '', listing_flag=listing_flag, root=root)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (self.photo, self.label) if self.instance is None else (self.photo, self.label, self.instance)

    def of_split(self, split: str) -> Folders:
        """The directories that a listed 'split/stem' means."""
        def moved(role, ending):
            return role and role._replace(directory=os.path.normpath(os.path.join(self.root, f'{split}_{ending}')))

        return dataclasses.replace(self, photo=moved(self.photo, 'img'), label=moved(self.label, 'label'), instance=moved(self.instance, 'inst'))


class FolderFiles(NamedTuple):
    """The paths of one example, under the name that they share."""

    name: str
    photo: str
    label: str
    instance: str | None = None


class FolderSource:
    """Paired files in directories, which are searched recursively.

    Files belong together when their paths agree, relative to their directories, without extension and suffix. Examples are ordered by that name,
    or as the listing has them. A label map without photograph is passed over; a photograph without label map is an error.

    Raises:
      UserError: on construction, when a directory, a listed example or a partner is missing.
    """

    def __init__(self, folders: Folders):
        self.files = tuple(_listed_files(folders) if folders.listing else _paired_files(folders))
        self.names = [files.name for files in self.files]
        self.locations = [files.label for files in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Example:
        files = self.files[index]
        label = read_ids(files.label)
        image = read_photo(files.photo, expected_size=_size(label))
        _require_same_size(files.photo, _size(image), files.label, _size(label))
        return Example(image, label, _read_instance(files, _size(label)))

    def read_maps(self, index: int) -> Example:
        files = self.files[index]
        label = read_ids(files.label)
        _require_same_size(files.photo, photo_size(files.photo, expected_size=_size(label)), files.label, _size(label))
        return Example(None, label, _read_instance(files, _size(label)))


def _read_instance(files: FolderFiles, label_size: tuple[int, int]) -> np.ndarray | None:
    """The instance map [H, W] int32, of the size of its label map; None where the run does not use it."""
    if not files.instance:
        return None
    instance = read_ids(files.instance, 'instance map').astype(np.int32)
    _require_same_size(files.instance, _size(instance), files.label, label_size)
    return instance


def _check_example(source: Source, config: Config, index: int) -> None:
    label = source.read_maps(index).label
    check_label_ids(label, config, source.locations[index])
    try:
        crop_room(Geometry.from_config(config), *_size(label))
    except UserError as error:
        raise UserError(f'{source.locations[index]}: {error}') from None


def _label_remedy(label: np.ndarray, config: Config) -> str:
    classes = label[label != DONTCARE_ID]
    remedies = []
    if classes.size and classes.max() >= config.label_channels:
        remedies.append(f'use --num_classes={classes.max() + 1} or more')
    if DONTCARE_ID in label and not config.dontcare:
        remedies.append('use --dontcare if 255 stands for "unknown"')
    return ', and '.join(remedies) or 'number the classes from 0'


def _size(pixels: np.ndarray) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return width, height


def _require_same_size(path: str, size: tuple[int, int], label_path: str, label_size: tuple[int, int]) -> None:
    if size != label_size:
        raise UserError(f'{path} has {size[0]}x{size[1]} pixels, but its label map {label_path} has {label_size[0]}x{label_size[1]}; '
                        f'make the two from the same picture')


def _paired_files(folders: Folders) -> list[FolderFiles]:
    for role in folders.roles:
        if not os.path.isdir(role.directory):
            raise UserError(f'{role.directory_flag}: there is no directory {role.directory}; set --data_dir or --{role.directory_flag}')
    found = _files_by_role(folders.roles)
    stems = sorted(found[0])
    if not stems:
        raise UserError(_no_photographs(folders.photo))
    for role, partners in zip(folders.roles[1:], found[1:]):
        missing = [stem for stem in stems if stem not in partners]
        if missing:
            raise UserError(_missing_partners(role, missing, found[0]))
    return [FolderFiles(stem, *(files[stem] for files in found)) for stem in stems]


def _listed_files(folders: Folders) -> list[FolderFiles]:
    @functools.cache
    def search(split: str) -> tuple[tuple[Role, ...], list[dict[str, str]]]:
        roles = (folders.of_split(split) if split else folders).roles
        return roles, _files_by_role(roles)

    examples: dict[str, FolderFiles] = {}
    for number, name in _lines(folders.listing, folders.listing_flag):
        if name in examples:
            raise UserError(f'{folders.listing}, line {number}: {name} is listed twice; remove one of the lines')
        photos_here = search('')[1][0]
        split, stem = name.split('/', 1) if '/' in name and name not in photos_here else ('', name)
        for role, files in zip(*search(split)):
            if stem not in files:
                raise UserError(f'{folders.listing}, line {number}: {name} has no {role.name} in {role.directory}; '
                                f'write "stem" or "split/stem", without extension and suffix')
        examples[name] = FolderFiles(name, *(files[stem] for files in search(split)[1]))
    if not examples:
        raise UserError(f'{folders.listing_flag}: {folders.listing} lists no examples; write one "stem" or "split/stem" a line')
    return list(examples.values())


def _lines(path: str, flag: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text file, without empty ones."""
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{flag}: {path} cannot be read ({getattr(error, "strerror", None) or error}); set --data_dir or --{flag}') from error
    return ((number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip())


def _files_by_role(roles: Sequence[Role]) -> list[dict[str, str]]:
    """The files {stem: path} of each role.

    Roles may share a directory: a file then belongs to the role with the longest suffix among those whose suffix it carries; between a photograph
    and a map with equal suffixes, it is the map (x.jpg and x.png together).
    """
    for one, other in itertools.combinations(roles[1:], 2):
        if (one.directory, one.suffix) == (other.directory, other.suffix):
            raise UserError(f'{other.directory_flag}: every file in {other.directory} could be {one.name} or {other.name}; '
                            f'tell them apart with --{one.suffix_flag} and --{other.suffix_flag}')
    candidates = [dict(_candidates(role)) for role in roles]
    owner: dict[str, Role] = {}
    for role, stems in zip(roles, candidates):  # Photographs come first, so that a map takes a file over at equal suffixes.
        for path in stems:
            if path not in owner or len(role.suffix) >= len(owner[path].suffix):
                owner[path] = role
    return [_by_stem(role, {path: stem for path, stem in stems.items() if owner[path] is role}) for role, stems in zip(roles, candidates)]


def _candidates(role: Role) -> Iterator[tuple[str, str]]:
    """(path, stem) of every file below the role's directory with its suffix and one of its extensions; none where there is no directory."""
    for directory, subdirectories, names in os.walk(role.directory, followlinks=True):
        subdirectories[:] = [name for name in subdirectories if not name.startswith('.')]
        for name in names:
            base, extension = os.path.splitext(name)
            if extension.lower() in role.extensions and base.endswith(role.suffix) and not name.startswith('.'):
                path = os.path.join(directory, name)
                relative = os.path.relpath(os.path.join(directory, base), role.directory)
                yield path, relative[:len(relative) - len(role.suffix)].replace(os.sep, '/')


def _by_stem(role: Role, stems: dict[str, str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for path, stem in sorted(stems.items()):
        if stem in paths:
            raise UserError(f'{stem} has two files as {role.name}: {paths[stem]} and {path}; '
                            f'remove one, or tell them apart with --{role.suffix_flag}')
        paths[stem] = path
    return paths


def _no_photographs(role: Role) -> str:
    extensions = ' '.join(sorted(role.extensions))
    if role.suffix:
        return (f'{role.directory_flag}: no photographs ({extensions}) whose names end in {role.suffix} in {role.directory}; '
                f'set --{role.directory_flag} or --{role.suffix_flag}')
    return f'{role.directory_flag}: no photographs ({extensions}) in {role.directory}; set --{role.directory_flag}'


def _missing_partners(role: Role, stems: list[str], photos: dict[str, str]) -> str:
    """What to say when the photographs `stems` lack the map of `role`."""
    names = ', '.join(photos[stem] for stem in stems[:_NAMES_SHOWN]) + (', ...' if len(stems) > _NAMES_SHOWN else '')
    for extension in LOSSY_EXTENSIONS:
        lossy = os.path.join(role.directory, stems[0] + role.suffix + extension)
        if os.path.exists(lossy) and lossy != photos[stems[0]]:
            return f'{lossy}: {extension[1:].upper()} is a lossy format, so the ids of the {role.name} are not exact; make the map anew as PNG'
    count = f'{len(stems)} photographs have' if len(stems) > 1 else '1 photograph has'
    return (f'{count} no {role.name} ({names}): there is no {os.path.join(role.directory, stems[0] + role.suffix)}.png; '
            f'set --{role.directory_flag} or --{role.suffix_flag}, or list the complete examples with --{role.directory_flag.split("_")[0]}_list')
