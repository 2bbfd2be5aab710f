"""A room imports only from rooms below it, and each library stays in its room."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'spade_jax'
# The rooms from the ground up. Files of one room import each other; a file at the top level of the
# package is a room of its own.
FLOORS = [
    ['errors'],
    ['forking'],
    ['files', 'standard_streams'],
    ['config'],
    ['batch', 'random_streams'],
    ['distributed'],
    ['layers'],
    ['models', 'landscapes'],
    ['data'],
    ['checkpoints', 'reports'],
    ['sampling'],
    ['evaluation'],
    ['training'],
    ['memory', 'convert', 'export', 'studio'],
    ['commands'],
    ['main', ''],
    ['__main__'],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts).removesuffix('__init__').removesuffix('.')


MODULES = {module_name(path): path for path in PACKAGE.rglob('*.py')}


def room(module):
    return module.split('.')[0]


def imports(path, tree=None):
    """The dotted names of all imports of a file, or of a part of its tree, functions included."""
    for node in ast.walk(tree or ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}: relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def imported_modules(path):
    """The modules of the package that a file imports: 'models.losses' for `losses.hinge`."""
    for dotted in imports(path):
        package, *parts = dotted.split('.')
        if package == 'spade_jax':
            while parts and '.'.join(parts) not in MODULES:
                parts.pop()
            yield '.'.join(parts)


def test_every_room_has_a_floor():
    assert {room(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize('module', sorted(name for name in MODULES if name))
def test_rooms_import_only_from_below(module):
    for used in imported_modules(MODULES[module]):
        below = FLOOR[room(used)] < FLOOR[room(module)] or used == ''
        assert below or room(used) == room(module), f'{module} imports {used}, which is not below'


@pytest.mark.parametrize('module', sorted(name for name in MODULES if room(name) == 'layers'))
def test_layers_do_not_know_the_configuration(module):
    assert 'config' not in {room(used) for used in imported_modules(MODULES[module])}


@pytest.mark.parametrize('module', sorted(n for n in MODULES if n.startswith('models.')))
def test_only_model_files_know_the_configuration(module):
    """Inside a model's folder, `model.py`, the options and the published weights see Config."""
    if module.count('.') < 2 or module.split('.')[2] in ('model', 'options', 'published'):
        return
    assert 'config' not in {room(used) for used in imported_modules(MODULES[module])}


@pytest.mark.parametrize(
    'library, users',
    [
        ('tensorflow', ('data',)),
        ('tensorflow_datasets', ('data',)),
        ('orbax', ('checkpoints',)),
        ('torch', ('files.weight_files',)),
        ('safetensors', ('files.weight_files',)),
        ('tornado', ('studio',)),
    ],
)
def test_libraries_stay_in_their_rooms(library, users):
    found = [
        name
        for name, path in MODULES.items()
        if library in {dotted.split('.')[0] for dotted in imports(path)}
    ]
    assert found
    assert all(name.startswith(users) for name in found), found


def test_flags_are_touched_by_config_and_commands_alone():
    users = {
        name
        for name, path in MODULES.items()
        if any(dotted in ('absl.flags', 'absl.app') for dotted in imports(path))
    }
    assert {'config.flags', 'main'} <= users
    assert all(name in ('config.flags', 'main') or room(name) == 'commands' for name in users)


def test_pmap_is_in_one_file():
    users = [name for name, path in MODULES.items() if 'jax.pmap(' in path.read_text()]
    assert users == ['distributed.replicas']


def python(script):
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_help_imports_nothing_heavy():
    heavy = ('jax', 'tensorflow', 'flax', 'orbax', 'numpy', 'PIL', 'tornado')
    script = f'import sys, spade_jax.main; print([name for name in {heavy} if name in sys.modules])'
    assert python(script) == '[]'


def test_server_of_the_studio_does_not_import_jax():
    script = (
        'import sys, time, spade_jax; '
        'from spade_jax.studio import description, guards, sampler, server; '
        'run = description.Run.open(spade_jax.DEMO); '
        'access = guards.Access.create("127.0.0.1", 8128); '
        'server.Studio(run, access, sampler.GeneratorSampler(None)).describe(); '
        'assert time.process_time() < 3; '
        'print([name for name in ("jax", "flax", "orbax", "tensorflow") if name in sys.modules])'
    )
    assert python(script) == '[]'


def test_sampling_does_not_import_tensorflow():
    script = (
        'import sys, spade_jax.sampling.sample_files, spade_jax.sampling.style_flags; '
        'print("tensorflow" in sys.modules)'
    )
    assert python(script) == 'False'
