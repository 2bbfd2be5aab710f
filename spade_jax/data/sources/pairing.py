"""Which files belong together: photographs, label maps and instance maps in directories, paired by name.

Files belong together when their paths agree, relative to their directories, without extension and suffix. Directories are searched recursively, hidden
files are left out. Whatever does not work out is a Defect; nothing is dropped silently.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import ID_EXTENSIONS, LOSSY_EXTENSIONS, PHOTO_EXTENSIONS
from spade_jax.errors import UserError

LISTED_WITH_EXTENSION = 'listed examples have an extension'
_NAMES_SHOWN = 3


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
      photo, label, instance: directory, suffix and file types of each role; instance is None where no instance files are paired.
      listing: path of the text file that lists the examples; '' for every pair.
      listing_flag: the flag that names it.
      root: data_dir.
      splits: directories of the roles by the name that a listed 'split/stem' gives them: "train" and "val".
    """

    photo: Role
    label: Role
    instance: Role | None
    listing: str = ''
    listing_flag: str = ''
    root: str = ''
    splits: Mapping[str, tuple[str, str, str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_config(cls, config: DataConfig, split: str, *, instance_files: bool) -> Folders:
        root = os.path.expanduser(config.data_dir)

        def directory(split, field):
            return os.path.normpath(os.path.join(root, getattr(config, f'{split}_{field}_dir')))

        def role(name, field, extensions):
            return Role(
                name,
                directory(split, field),
                f'{split}_{field}_dir',
                getattr(config, f'{field}_suffix'),
                f'{field}_suffix',
                extensions,
            )

        rgb = config.condition == 'rgb'
        listing_flag = f'{split}_list'
        listing = getattr(config, listing_flag)
        return cls(
            photo=role('photograph', 'image', PHOTO_EXTENSIONS),
            label=role('condition picture', 'label', PHOTO_EXTENSIONS)
            if rgb
            else role('label map', 'label', ID_EXTENSIONS),
            instance=role('instance map', 'instance', ID_EXTENSIONS) if instance_files else None,
            listing=os.path.join(root, listing) if listing else '',
            listing_flag=listing_flag,
            root=root,
            splits={
                name: tuple(directory(split, field) for field in ('image', 'label', 'instance'))
                for name, split in (('train', 'train'), ('val', 'validation'))
            },
        )

    @property
    def roles(self) -> tuple[Role, ...]:
        return (
            (self.photo, self.label)
            if self.instance is None
            else (self.photo, self.label, self.instance)
        )

    def of_split(self, split: str) -> Folders:
        """The directories that a listed 'split/stem' means: those of training or validation, or for any other split split_img, split_label, split_inst."""
        others = tuple(
            os.path.normpath(os.path.join(self.root, f'{split}_{ending}'))
            for ending in ('img', 'label', 'inst')
        )
        photo, label, instance = self.splits.get(split, others)
        return dataclasses.replace(
            self,
            photo=self.photo._replace(directory=photo),
            label=self.label._replace(directory=label),
            instance=self.instance and self.instance._replace(directory=instance),
        )


class ExampleFiles(NamedTuple):
    """The paths of one example, under the name that they share."""

    name: str
    photo: str
    label: str
    instance: str | None = None


class Defect(NamedTuple):
    """Something that is wrong with one file.

    kind: what several of them have in common: 'photographs have no label map'.
    path: the file.
    problem: what to say of this one alone, its path included.
    remedy: what would mend it.
    """

    kind: str
    path: str
    problem: str
    remedy: str

    @classmethod
    def from_error(cls, kind: str, path: str, error: UserError) -> Defect:
        return cls(kind, path, error.problem, error.remedy)


class Pairing(NamedTuple):
    """The complete examples in order of name (or as listed), what is wrong, and the label maps that no photograph belongs to."""

    files: list[ExampleFiles]
    defects: list[Defect]
    labels_without_photo: list[str]


def pair_files(folders: Folders) -> Pairing:
    """Finds the examples of a split.

    Raises:
      UserError: when there is nothing to pair: a directory or the listing is missing, there are no photographs, or the roles cannot be told apart.
    """
    return _listed_files(folders) if folders.listing else _paired_files(folders)


def raise_defects(defects: Sequence[Defect]) -> None:
    """Raises a UserError over the defects of the first kind, if there are any."""
    if not defects:
        return
    first, *others = [defect for defect in defects if defect.kind == defects[0].kind]
    if not others:
        raise UserError(first.problem, first.remedy)
    paths = ', '.join(defect.path for defect in (first, *others)[:_NAMES_SHOWN]) + (
        ', ...' if len(others) >= _NAMES_SHOWN else ''
    )
    raise UserError(f'{len(others) + 1} {first.kind} ({paths}): {first.problem}', first.remedy)


def files_below(directory: str) -> Iterator[str]:
    """Paths of all files below a directory, in order, without hidden ones; none where there is no directory. Links are followed.

    Raises:
      UserError: when a directory cannot be listed, or a link leads back to a directory that it lies in.
    """

    def refuse(error):
        raise UserError(
            f'{error.filename}: the directory cannot be read ({error.strerror})',
            'change its permissions',
        ) from error

    if not os.path.isdir(directory):
        return
    for parent, subdirectories, names in os.walk(directory, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        for name in subdirectories:
            link = os.path.join(parent, name)
            if os.path.islink(link) and f'{real}{os.sep}'.startswith(
                os.path.realpath(link) + os.sep
            ):
                raise UserError(
                    f'{link} is a link to a directory that it lies in, so it has no end',
                    'remove the link',
                )
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith('.'))
        yield from (
            os.path.join(parent, name) for name in sorted(names) if not name.startswith('.')
        )


def numbered_lines(path: str, flag: str, remedy: str) -> list[tuple[int, str]]:
    """The lines of a text file with their numbers, stripped, without empty ones. Raises UserError when it cannot be read."""
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'{flag}: {path} cannot be read ({getattr(error, "strerror", None) or error})', remedy
        ) from error
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _paired_files(folders: Folders) -> Pairing:
    for role in folders.roles:
        if not os.path.isdir(role.directory):
            raise UserError(
                f'{role.directory_flag}: there is no directory {role.directory}',
                f'set --data_dir or --{role.directory_flag}',
            )
    found, defects = _files_by_role(folders.roles)
    photos, labels = found[0], found[1]
    if not photos:
        raise _no_photographs(folders.photo)
    complete = []
    for stem in sorted(photos):
        missing = [role for role, files in zip(folders.roles[1:], found[1:]) if stem not in files]
        defects += [_missing_partner(role, stem, photos[stem]) for role in missing]
        if not missing:
            complete.append(ExampleFiles(stem, *(files[stem] for files in found)))
    return Pairing(complete, defects, [path for stem, path in labels.items() if stem not in photos])


def _listed_files(folders: Folders) -> Pairing:
    duplicates: list[Defect] = []

    @functools.cache
    def search(split: str) -> tuple[tuple[Role, ...], list[dict[str, str]]]:
        roles = (folders.of_split(split) if split else folders).roles
        found, defects = _files_by_role(roles)
        duplicates.extend(defects)
        return roles, found

    examples: dict[str, ExampleFiles] = {}
    defects = []
    for number, name in numbered_lines(
        folders.listing, folders.listing_flag, f'set --data_dir or --{folders.listing_flag}'
    ):
        line = f'{folders.listing}, line {number}'
        if name in examples:
            defects.append(
                Defect(
                    'lines are listed twice',
                    name,
                    f'{line}: {name} is listed twice',
                    'remove one of the lines',
                )
            )
            continue
        photos_here = search('')[1][0]
        split, stem = name.split('/', 1) if '/' in name and name not in photos_here else ('', name)
        roles, found = search(split)
        missing = [role for role, files in zip(roles, found) if stem not in files]
        short, extension = os.path.splitext(stem)
        if (
            len(missing) == len(roles)
            and extension.lower() in PHOTO_EXTENSIONS | ID_EXTENSIONS
            and short in found[0]
        ):
            defects.append(
                Defect(
                    LISTED_WITH_EXTENSION,
                    name,
                    f'{line}: {name} has an extension',
                    f'write {name.removesuffix(extension)}',
                )
            )
            continue
        defects += [
            Defect(
                f'listed examples have no {role.name}',
                name,
                f'{line}: {name} has no {role.name} in {role.directory}',
                'write "stem" or "split/stem", without extension and suffix',
            )
            for role in missing
        ]
        if not missing:
            examples[name] = ExampleFiles(name, *(files[stem] for files in found))
    if not examples and not defects:
        raise UserError(
            f'{folders.listing_flag}: {folders.listing} lists no examples',
            'write one "stem" or "split/stem" a line',
        )
    return Pairing(list(examples.values()), defects + duplicates, [])


def _files_by_role(roles: Sequence[Role]) -> tuple[list[dict[str, str]], list[Defect]]:
    """The files {stem: path} of each role, and the defects of those that are there twice.

    Roles may share a directory: a file then belongs to the role with the longest suffix among those whose suffix it carries; between a photograph
    and a map with equal suffixes, it is the map (x.jpg and x.png together).
    """
    for one, other in itertools.combinations(roles, 2):
        alike = (one.directory, one.suffix) == (
            other.directory,
            other.suffix,
        ) and other.extensions >= one.extensions
        if alike:
            raise UserError(
                f'{other.directory_flag}: every file in {other.directory} could be {one.name} or {other.name}',
                f'tell them apart with --{one.suffix_flag} and --{other.suffix_flag}',
            )
    candidates = [dict(_candidates(role)) for role in roles]
    owner: dict[str, Role] = {}
    for role, stems in zip(
        roles, candidates
    ):  # Photographs come first, so that a map takes a file over at equal suffixes.
        for path in stems:
            if path not in owner or len(role.suffix) >= len(owner[path].suffix):
                owner[path] = role
    found, defects = [], []
    for role, stems in zip(roles, candidates):
        paths: dict[str, str] = {}
        for path, stem in stems.items():
            if owner[path] is not role:
                continue
            if stem in paths:
                defects.append(
                    Defect(
                        f'{role.name}s are there twice',
                        path,
                        f'{stem} has two files as {role.name}: {paths[stem]} and {path}',
                        f'remove one, or tell them apart with --{role.suffix_flag}',
                    )
                )
            paths.setdefault(stem, path)
        found.append(paths)
    return found, defects


def _candidates(role: Role) -> Iterator[tuple[str, str]]:
    """(path, stem) of every file below the role's directory with its suffix and one of its extensions."""
    for path in files_below(role.directory):
        base, extension = os.path.splitext(path)
        if extension.lower() in role.extensions and os.path.basename(base).endswith(role.suffix):
            relative = os.path.relpath(base, role.directory)
            yield path, relative[: len(relative) - len(role.suffix)].replace(os.sep, '/')


def _no_photographs(role: Role) -> UserError:
    extensions = ' '.join(sorted(role.extensions))
    if role.suffix:
        return UserError(
            f'{role.directory_flag}: no photographs ({extensions}) whose names end in {role.suffix} in {role.directory}',
            f'set --{role.directory_flag} or --{role.suffix_flag}',
        )
    return UserError(
        f'{role.directory_flag}: no photographs ({extensions}) in {role.directory}',
        f'set --{role.directory_flag}',
    )


def _missing_partner(role: Role, stem: str, photo: str) -> Defect:
    """The defect of a photograph that lacks the map of `role`."""
    kind = f'photographs have no {role.name}'
    base = os.path.join(role.directory, stem + role.suffix)
    for extension in LOSSY_EXTENSIONS - role.extensions:
        if os.path.exists(base + extension) and base + extension != photo:
            return Defect(
                f'{role.name}s are lossy',
                base + extension,
                f'{base + extension}: {extension[1:].upper()} is a lossy format, so the ids of the {role.name} are not exact',
                'make the map anew as PNG',
            )
    return Defect(
        kind,
        photo,
        f'{photo} has no {role.name}: there is no {base}.png',
        f'set --{role.directory_flag} or --{role.suffix_flag}, or list the complete examples with --{role.directory_flag.split("_")[0]}_list',
    )
