"""A file imports only from lower floors, and each library stays in its room."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'spade_jax'
# From the ground up. A module belongs to the floor with the longest prefix that fits.
FLOORS = [
    ['errors', 'whole_files', 'compilation_cache'],
    ['label_table', 'step_range', 'data.catalog'],
    ['config', 'batch', 'replicas', 'random_streams', 'image_grid', ''],
    ['config_flags', 'processes', 'semantic_layout', 'layers', 'data.builders.landscapes', 'data.image_files', 'data.png_integrity', 'data.resampling',
     'data.tensorflow_host', 'data.paired_transforms', 'data.in_order', 'convert.state_files'],
    ['networks', 'losses', 'convert', 'data.builders', 'initialization', 'training.live_bytes', 'training.healthy_ranges', 'training.run_facts',
     'training.interruption', 'training.work_directory', 'training.integrity', 'training.manifest', 'training.retention', 'training.divergence',
     'training.svg_curves'],
    ['models', 'data.palette', 'evaluation'],
    ['data.label_reader'],
    ['data.sources'],
    ['data.validation', 'data.builders.records'],
    ['data', 'training.optimizers', 'training.run_log', 'training.profiling'],
    ['training.train_state', 'training.run_report'],
    ['training.gauges'],
    ['training.train_step', 'training.checkpoints', 'training.checkpoint_record', 'training.placement'],
    ['training.fine_tuning'],
    ['training.starting'],
    ['training.memory'],
    ['sampling', 'convert.from_torch', 'convert.to_torch'],
    ['training.train_loop', 'export'],
    ['main'],
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}


def name_of(path):
    return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts).removesuffix('__init__').removesuffix('.')


MODULES = {name_of(path): path for path in PACKAGE.rglob('*.py')}


def floor(module):
    while module not in FLOOR:
        if '.' not in module:
            raise AssertionError(f'spade_jax.{module} stands on no floor; add it to FLOORS')
        module = module.rpartition('.')[0]
    return FLOOR[module]


def imports(path):
    """(dotted name, whether it is imported when the module is) of all imports."""
    tree = ast.parse(path.read_text())
    at_top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f'{node.module}.{alias.name}', id(node) in at_top


def our_module(dotted):
    """'spade_jax.losses.hinge' -> 'losses'."""
    parts = dotted.split('.')[1:]
    while parts and '.'.join(parts) not in MODULES:
        parts.pop()
    return '.'.join(parts)


@pytest.mark.parametrize('module', sorted(name for name in MODULES if name))
def test_imports_come_from_lower_floors(module):
    for dotted, _ in imports(MODULES[module]):
        if dotted.split('.')[0] == 'spade_jax':
            used = our_module(dotted)
            same_room = used.rpartition('.')[0] == module.rpartition('.')[0] != ''
            inside = used.startswith(f'{module}.') or module.startswith(f'{used}.')
            assert floor(used) < floor(module) or (floor(used) == floor(module) and (same_room or inside)), f'{module} imports {used}, which is not below it'


@pytest.mark.parametrize('module', sorted(name for name in MODULES if name.startswith(('layers', 'networks'))))
def test_networks_do_not_know_config_or_flags(module):
    used = {our_module(dotted) for dotted, _ in imports(MODULES[module]) if dotted.startswith('spade_jax')}
    assert not used & {'config', 'config_flags', 'main'}


@pytest.mark.parametrize('library, rooms', [
    ('tensorflow', ('data',)), ('tensorflow_datasets', ('data',)), ('orbax', ('training.checkpoints',)),
    ('torch', ('convert.state_files',)), ('safetensors', ('convert.state_files',)),
])
def test_libraries_stay_in_their_rooms(library, rooms):
    users = [name for name, path in MODULES.items() if any(dotted.split('.')[0] == library for dotted, _ in imports(path))]
    assert users
    assert all(name.startswith(rooms) for name in users), users


def test_flags_are_touched_by_two_files_alone():
    users = {name for name, path in MODULES.items() if any(dotted in ('absl.flags', 'absl.app') for dotted, _ in imports(path))}
    assert users == {'config_flags', 'main'}


def test_pmap_is_in_one_file():
    assert [name for name, path in MODULES.items() if 'jax.pmap(' in path.read_text()] == ['replicas']


def test_help_imports_nothing_heavy():
    script = 'import sys, spade_jax.main; print([name for name in ("jax", "tensorflow", "flax", "orbax", "numpy", "PIL") if name in sys.modules])'
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stdout.strip() == '[]'


def test_sampling_does_not_import_tensorflow():
    script = 'import sys, spade_jax.sampling.drawing, spade_jax.sampling.choices; print("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stdout.strip() == 'False'
