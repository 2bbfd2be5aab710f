"""Pair the files of directories by name: photos, label maps and instance maps.

Files belong together if their relative paths are equal without extension and suffix. Directories
are searched recursively, without hidden files. Every problem is a Defect; nothing is dropped.
"""

import collections
import dataclasses
import functools
import itertools
import os
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import (
    ID_EXTENSIONS,
    LOSSY_EXTENSIONS,
    PHOTO_EXTENSIONS,
    UNREAD_EXTENSIONS,
)
from spade_jax.data.files.label_reader import condition_role
from spade_jax.errors import UserError, user_errors
from spade_jax.files.text_files import read_text

LISTED_ELSEWHERE = 'listed examples are other files'
_NAMES_SHOWN = 3
_AS_PNG = 'save it as PNG (from NumPy: Image.fromarray(ids.astype("uint16")).save(path), of Pillow)'
_SPLIT_OF_PREFIX = {'train': 'train', 'val': 'validation'}  # Of "prefix/stem" in a list.


class Role(NamedTuple):
    """One of the files of an example ('photo', 'label map', ...) and the flags that describe it."""

    name: str
    directory: str
    directory_flag: str
    suffix: str
    suffix_flag: str
    extensions: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where the files of a split are; `listing` is the file that lists its examples, or ''."""

    photo: Role
    label: Role  # The photo, if there is no condition.
    instance: Role | None  # None if no files of instance maps are paired.
    unused: Role | None  # The label maps among the photos, if there is no condition.
    listing: str
    listing_flag: str
    config: DataConfig

    @classmethod
    def from_config(cls, config: DataConfig, split: str, instance_files: bool) -> Self:
        root = config.data_dir

        def role(name: str, field: str, extensions: frozenset[str]) -> Role:
            flag, suffix_flag = f'{split}_{field}_dir', f'{field}_suffix'
            directory = os.path.normpath(os.path.join(root, getattr(config, flag)))
            suffix = composed(getattr(config, suffix_flag))
            return Role(name, directory, flag, suffix, suffix_flag, extensions)

        photo = role('photo', 'image', PHOTO_EXTENSIONS)
        unused = None
        if config.unconditional:
            label, maps = photo, role('label map', 'label', ID_EXTENSIONS)
            if (maps.directory + os.sep).startswith(photo.directory + os.sep):
                unused = maps
        else:
            extensions = ID_EXTENSIONS if config.uses_labels else PHOTO_EXTENSIONS
            label = role(condition_role(config), 'label', extensions)
        instance = role('instance map', 'instance', ID_EXTENSIONS) if instance_files else None
        listing = getattr(config, f'{split}_list')
        path = os.path.join(root, listing) if listing else ''
        return cls(photo, label, instance, unused, path, f'{split}_list', config)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The one to three roles, photos first."""
        return tuple(dict.fromkeys(filter(None, (self.photo, self.label, self.instance))))


class ExampleFiles(NamedTuple):
    """The paths of one example, and the name that they share."""

    name: str
    photo: str
    label: str  # The photo, if there is no condition.
    instance: str | None = None


class Defect(NamedTuple):
    """A problem with one file (its path included) and how to repair it."""

    kind: str  # What several of them have in common: 'photos have no label map'.
    path: str
    problem: str
    remedy: str

    @classmethod
    def from_error(cls, kind: str, path: str, error: UserError) -> Self:
        return cls(kind, path, error.problem, error.remedy)


class Pairing(NamedTuple):
    """The complete examples by name (or as listed), the defects, and label maps without photo."""

    files: list[ExampleFiles]
    defects: list[Defect]
    labels_without_photo: list[str]


def pair_files(folders: Folders) -> Pairing:
    """Find the examples of a split; UserError if there are none, or the roles are ambiguous."""
    return _listed_files(folders) if folders.listing else _paired_files(folders)


def raise_defects(defects: Sequence[Defect]) -> None:
    """Raise a UserError for the defects of the first kind, if there are any."""
    if paths := [defect.path for defect in defects if defect.kind == defects[0].kind]:
        kind, _, problem, remedy = defects[0]
        if len(paths) > 1:
            listed = ', '.join(paths[:_NAMES_SHOWN] + ['...'] * (len(paths) > _NAMES_SHOWN))
            problem = f'{len(paths)} {kind} ({listed}): {problem}'
        raise UserError(problem, remedy)


def files_below(directory: str) -> Iterator[str]:
    """Yield the sorted paths of all files below a directory, but hidden ones; follows links."""

    def refuse(error):
        problem = f'{error.filename}: the directory cannot be read ({error.strerror})'
        raise UserError(problem, 'change its permissions') from error

    if not os.path.isdir(directory):
        return
    for parent, subdirectories, names in os.walk(directory, followlinks=True, onerror=refuse):
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith('.'))
        real = os.path.realpath(parent) + os.sep
        for link in filter(os.path.islink, (os.path.join(parent, n) for n in subdirectories)):
            if real.startswith(os.path.realpath(link) + os.sep):
                problem = f'{link} is a link to a directory that contains it'
                raise UserError(problem, 'remove the link')
        yield from (os.path.join(parent, n) for n in sorted(names) if not n.startswith('.'))


def composed(name: str) -> str:
    """Return a name in Unicode's form NFC: a Mac decomposes accents in names of files."""
    return unicodedata.normalize('NFC', name)


def stem_of(path: str, directory: str) -> str:
    """Return the composed path below a directory, without extension and with slashes."""
    relative = os.path.relpath(os.path.splitext(path)[0], directory)
    return composed(relative).replace(os.sep, '/')


def extension_of(path: str) -> str:
    """Return the extension in lower case, e.g. '.png' or '.nii.gz'."""
    base, extension = os.path.splitext(path.lower())
    return os.path.splitext(base)[1] + extension if extension == '.gz' else extension


def contents(directory: str) -> str:
    """Return ' (it has 12 .heic files)', with the numbers of files by extension, for an error."""
    counts = collections.Counter(map(extension_of, files_below(directory))).most_common()
    files = [f'{count} {kind or "nameless"} file{"s" * (count > 1)}' for kind, count in counts]
    return f' (it has {", ".join(files[:_NAMES_SHOWN]) or "no files"})'


def numbered_lines(path: str, flag: str, remedy: str) -> list[tuple[int, str]]:
    """Return the stripped lines of a text file with their numbers, without empty ones."""
    with user_errors(f'{flag}: {path} cannot be read', remedy):
        lines = read_text(path).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _paired_files(folders: Folders) -> Pairing:
    for role in folders.roles:
        if not os.path.isdir(role.directory):
            problem = f'{role.directory_flag}: there is no directory {role.directory}'
            raise UserError(problem, f'set --data_dir or --{role.directory_flag}')
    found, defects = _files_by_role(folders)
    photos, labels = found[folders.photo], found[folders.label]
    if not photos:
        role, extensions = folders.photo, ' '.join(sorted(PHOTO_EXTENSIONS))
        ending = f' whose names end in {role.suffix}' if role.suffix else ''
        problem = f'{role.directory_flag}: no photos ({extensions}){ending} in {role.directory}'
        label = folders.unused or folders.label
        if role.directory == label.directory and any(_candidates(label)):
            problem += f', which is {label.directory_flag} too: its files count as {label.name}s'
            remedy = f'tell them apart with --{role.suffix_flag} and --{label.suffix_flag}'
            raise UserError(problem, remedy)
        problem += contents(role.directory)
        raise UserError(problem, f'set --{role.directory_flag} or --{role.suffix_flag}')
    complete = []
    similar = {
        (role, stem.casefold()): path for role in found for stem, path in found[role].items()
    }
    for stem, photo in sorted(photos.items()):
        missing = [role for role, files in found.items() if stem not in files]
        others = (similar.get((role, stem.casefold())) for role in missing)
        defects += map(functools.partial(_missing_partner, stem, photo), missing, others)
        if not missing:
            complete.append(_example_files(stem, [files[stem] for files in found.values()]))
    return Pairing(complete, defects, [path for stem, path in labels.items() if stem not in photos])


def _example_files(name: str, paths: Sequence[str]) -> ExampleFiles:
    """Return an example of the paths of its roles; the photo has the place of a missing label."""
    photo, label, *instance = paths if len(paths) > 1 else [*paths, *paths]
    return ExampleFiles(name, photo, label, *instance)


def _listed_files(folders: Folders) -> Pairing:
    duplicates: list[Defect] = []

    @functools.cache
    def search(split: str) -> dict[Role, dict[str, str]]:
        """Find the files of another split than the one that is listed; '' for this one."""
        config, instances = folders.config, folders.instance is not None
        other = Folders.from_config(config, split, instances) if split else folders
        found, defects = _files_by_role(other)
        duplicates.extend(defects)
        return found

    examples, defects, flag = {}, [], folders.listing_flag
    names = _names_in_list(search(''))
    for number, line in numbered_lines(folders.listing, flag, f'set --data_dir or --{flag}'):
        name = _listed_name(line, folders, names)
        if name.startswith('#') and name not in names:  # A comment.
            continue
        split, stem = '', name
        match = re.fullmatch('(train|val)/(.+)', name)
        if match and name not in names:
            split, stem = _SPLIT_OF_PREFIX[match[1]], match[2]
        photos, *_ = files_of_roles = search(split).values()
        missing = [role for role, files in search(split).items() if stem not in files]
        where = f'{folders.listing}, line {number}: {name}'
        if name in examples:
            problem = f'{where} is listed twice'
            defects.append(Defect('lines are listed twice', name, problem, 'remove one of them'))
        elif not missing:
            examples[name] = _example_files(name, [files[stem] for files in files_of_roles])
        elif len(missing) == len(files_of_roles) and (end := _stem_at_end(stem, photos)):
            problem, prefix = f'{where} is not a file of these directories', name[: -len(stem)]
            defects.append(Defect(LISTED_ELSEWHERE, name, problem, f'write {prefix}{end}'))
        elif not examples and not defects and not re.search(r'[/.]', name):
            problem = f'{folders.listing}, line {number}: "{line[:60]}" is no example'
            remedy = 'remove it if it is a header, or begin it with "#"; else write "stem"'
            defects.append(Defect('listed lines are no examples', name, problem, remedy))
        else:
            remedy = 'write "stem" or "split/stem", without extension and suffix'
            for role in missing:
                kind = f'listed examples have no {role.name}'
                problem = f'{where} has no {role.name} in {role.directory}'
                defects.append(Defect(kind, name, problem, remedy))
    if not examples and not defects:
        problem = f'{flag}: {folders.listing} lists no examples'
        raise UserError(problem, 'write one "stem" or "split/stem" a line')
    return Pairing(list(examples.values()), defects + duplicates, [])


def _names_in_list(found: Mapping[Role, Mapping[str, str]]) -> dict[str, str]:
    """Return the stem of every name that a line may have: a stem, or the path of a file."""
    stems = [(stem, path) for files in found.values() for stem, path in files.items()]
    return {name: stem for stem, path in stems for name in (stem, composed(os.path.abspath(path)))}


def _listed_name(line: str, folders: Folders, names: Mapping[str, str]) -> str:
    """Return the stem of a line, or of the files that it names; else the line with slashes.

    Files are relative to the data, the list or a directory of a role. A line may name the photo and
    the label map of an example, in columns, and a comment after " #".
    """
    root, here = folders.config.data_dir, os.path.dirname(folders.listing)
    directories = [root, here, *(role.directory for role in folders.roles)]

    def stem_named(path: str) -> str | None:
        path = posixpath.normpath(path)
        paths = [path, *(os.path.abspath(os.path.join(place, path)) for place in directories)]
        return next((names[path] for path in paths if path in names), None)

    if (line := composed(line)) in names:
        return names[line]
    path = line.replace('\\', '/')
    if (stem := stem_named(path)) is None:
        path = re.sub(r'\s+#.*', '', path)  # A comment.
        columns = set(map(stem_named, re.split(r'[\s,;]+', path)))
        stem = columns.pop() if len(columns) == 1 else None
    return stem or posixpath.normpath(path)


def _stem_at_end(path: str, stems: Collection[str]) -> str | None:
    """Return the longest end of a path without extension that is a stem; of two paths, none."""
    if re.search(r'\.\w+[\s,;]', path):
        return None
    parts = os.path.splitext(path)[0].split('/')
    ends = ('/'.join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in stems), None)


def _files_by_role(folders: Folders) -> tuple[dict[Role, dict[str, str]], list[Defect]]:
    """Return the files {stem: path} of each role, and the defects of duplicates.

    Roles may share a directory. A file then belongs to the role with the longest suffix that it
    has; with equal suffixes, to the map (x.jpg and x.png side by side).
    """
    roles = (*folders.roles, *filter(None, [folders.unused]))
    for one, other in itertools.combinations(roles, 2):
        same_names = (one.directory, one.suffix) == (other.directory, other.suffix)
        if same_names and other.extensions >= one.extensions:
            every_file = f'every file in {other.directory} could be {one.name} or {other.name}'
            remedy = f'tell them apart with --{one.suffix_flag} and --{other.suffix_flag}'
            raise UserError(f'{other.directory_flag}: {every_file}', remedy)
    candidates = {role: dict(_candidates(role)) for role in roles}
    by_suffix = sorted(roles, key=lambda role: len(role.suffix))  # Stable: maps after photos.
    owner = {path: role for role in by_suffix for path in candidates[role]}  # The last one wins.
    found: dict[Role, dict[str, str]] = {role: {} for role in folders.roles}
    defects = []
    for role in folders.roles:
        for path, stem in candidates[role].items():
            if owner[path] is role and found[role].setdefault(stem, path) != path:
                problem = f'{stem} has two files as {role.name}: {found[role][stem]} and {path}'
                remedy = f'remove one, or tell them apart with --{role.suffix_flag}'
                defects.append(Defect(f'{role.name}s are there twice', path, problem, remedy))
    return found, defects


def _candidates(role: Role) -> Iterator[tuple[str, str]]:
    """Yield (path, stem) of every file of the directory with the suffix and an extension."""
    for path in files_below(role.directory):
        stem = stem_of(path, role.directory)
        is_of_role = os.path.basename(stem).endswith(role.suffix)
        if is_of_role and extension_of(path) in role.extensions:
            yield path, stem[: len(stem) - len(role.suffix)]


def _missing_partner(stem: str, photo: str, role: Role, other: str | None) -> Defect:
    """Return the defect of a photo without the map of `role`; `other` has another case."""
    kind = f'photos have no {role.name}'
    if other:
        problem = f'{photo} has no {role.name}: {other} differs in upper and lower case'
        return Defect(kind, photo, problem, 'rename one of them')
    base = os.path.join(role.directory, stem + role.suffix)
    for extension in LOSSY_EXTENSIONS - role.extensions:
        if os.path.exists(path := base + extension) and path != photo:
            lossy = f'{extension[1:].upper()} is a lossy format'
            problem = f'{path}: {lossy}, so the ids of the {role.name} are inexact'
            return Defect(f'{role.name}s are lossy', path, problem, 'recreate the map as PNG')
    for extension in UNREAD_EXTENSIONS:
        if os.path.exists(path := base + extension):
            problem = f'{path}: {extension} files are not read as {role.name}s'
            return Defect(f'{role.name}s are no images', path, problem, _AS_PNG)
    list_flag = role.directory_flag.split('_')[0] + '_list'
    flags = f'set --{role.directory_flag} or --{role.suffix_flag}'
    remedy = f'{flags}, or list the complete examples with --{list_flag}'
    problem = f'{photo} has no {role.name}: there is no {base}.png'
    return Defect(kind, photo, problem, remedy)
