"""The notebook, executed without its installation: with the demo, and with other models and files.

Each kernel runs once, in a module fixture; the tests look at the outputs of its cells.
"""

import base64
import copy
import io
import itertools
import json
import pathlib
import re
import shlex
import subprocess
import sys
import types
import urllib.request
import zipfile

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax import landscapes
from spade_jax.config.config import Config
from spade_jax.data.files.palette import colorize, default_palette
from tests import program
from tests.convert import released_files
from tests.sampling import tiny

pytestmark = pytest.mark.tools

PATH = program.ROOT / 'experiments' / 'colab' / 'spade_jax.ipynb'
FIGURE = re.compile(r'<img src="data:image/png;base64,([^"]+)".*?<figcaption>(.*?)</figcaption>')
WIDGETS = 'application/vnd.jupyter.widget-state+json'
SAMPLING = ('workdir', 'images', 'seeds', 'photo', 'between', 'slider', 'paint', 'own')


def read_notebook():
    return nbformat.read(PATH, as_version=4)


def cells(*names, fails=False, **fields):
    """Copies of some cells with other values in their fields; with `fails` the last one raises."""
    by_name = {cell.id: cell for cell in read_notebook().cells}
    chosen = [copy.deepcopy(by_name[name]) for name in names]
    for field, value in fields.items():
        pattern = re.compile(rf'^{field} = .*?(?=  #@param|  # @param)', re.MULTILINE)
        matches = [cell for cell in chosen if pattern.search(cell.source)]
        assert len(matches) == 1, f'{field} is not a field of {names}'
        text = f'{field} = {value!r}'.replace('\\', r'\\')
        matches[0].source = pattern.sub(text, matches[0].source)
    if fails:
        chosen[-1].metadata.tags = ['raises-exception']
    return chosen


def execute(chosen, directory):
    """Execute cells in one kernel, in the directory of the notebook; check the repository."""
    for name in ('jupyter', 'files', 'ipython'):
        (directory / name).mkdir()
    executed = read_notebook()
    executed.cells = [copy.deepcopy(cell) for cell in chosen]
    for number, cell in enumerate(executed.cells):
        cell.id = f'{cell.id}-{number}'
        if 'install' in cell.metadata.get('tags', ()):
            cell.source = ''
    # XLA optimizes as it does for a user: sampling takes longer than compiling.
    environment = program.environment(1) | {
        'XLA_FLAGS': '',
        'TMPDIR': str(directory / 'files'),
        'IPYTHONDIR': str(directory / 'ipython'),
    }
    resources = {'metadata': {'path': str(PATH.parent)}}
    before = repository_files()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv('JUPYTER_RUNTIME_DIR', str(directory / 'jupyter'))
        client = nbclient.NotebookClient(
            executed, timeout=300, kernel_name='python3', resources=resources
        )
        client.execute(env=environment)
    assert repository_files() == before
    return executed


def repository_files():
    """The files that the notebook could change, with their modification times."""
    folders = [program.ROOT / 'experiments', program.ROOT / 'spade_jax']
    nested = itertools.chain.from_iterable(folder.rglob('*') for folder in folders)
    files = [path for path in (*nested, *program.ROOT.glob('*')) if path.is_file()]
    return {path: path.stat().st_mtime for path in files if '__pycache__' not in path.parts}


def shown(outputs):
    """The images that a cell shows: group -> caption -> [H, W, 3] uint8."""
    groups = {}
    for output in outputs:
        page = output.get('data', {}).get('text/html', '')
        if figures := FIGURE.findall(page):
            title = re.match('<b>(.*?)</b>', page)[1]
            groups[title] = {caption: decode(png) for png, caption in figures}
    return groups


def decode(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def printed(cell):
    return ''.join(output.text for output in cell.outputs if output.output_type == 'stream')


def refusal(cell):
    """The line with which a cell refuses its fields, after IPython's hint."""
    (output,) = [output for output in cell.outputs if output.output_type == 'error']
    hint, line = ''.join(output.traceback).splitlines()
    assert 'use %tb' in hint
    assert 'UserError' in line
    return line


def check_distinct(images, least=0.0):
    """Fail if an image is flat, or if two differ by at most `least` gray levels in the mean."""
    images = [image.astype(float) for image in images]
    assert min(image.std() for image in images) > 5
    pairs = itertools.combinations(images, 2)
    assert min(np.abs(one - other).mean() for one, other in pairs) > least


def test_notebook_is_stored_as_nbformat_writes_it():
    nbformat.validate(read_notebook())
    assert PATH.read_text(encoding='utf-8') == nbformat.writes(read_notebook()) + '\n'


def test_notebook_has_no_outputs_and_short_lines():
    assert 'widgets' not in read_notebook().metadata
    for cell in read_notebook().cells:
        assert re.fullmatch('[a-z]+(-[a-z]+)*', cell.id), 'ids are words'
        if cell.cell_type == 'code':
            assert not cell.outputs
            assert cell.execution_count is None
            assert max(map(len, cell.source.splitlines())) <= 100


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """The whole notebook, executed with the demo."""
    directory = tmp_path_factory.mktemp('demo')
    executed = execute(read_notebook().cells, directory)
    by_name = {cell.id.rpartition('-')[0]: cell for cell in executed.cells}
    return types.SimpleNamespace(directory=directory, executed=executed, cells=by_name)


def demo_images(demo, name):
    return shown(demo.cells[name].outputs)


def test_demo_lists_its_classes(demo):
    assert '13 classes: sky, cloud, sun' in printed(demo.cells['workdir'])
    assert 'sky</span>' in json.dumps(demo.cells['images'].outputs)


def test_demo_shows_label_maps_photos_and_images(demo):
    groups = demo_images(demo, 'images')
    names = list(groups['Images'])
    assert len(names) == 4
    assert list(groups['Label maps']) == list(groups['Photos']) == names
    colors = np.array([entry.color for entry in landscapes.CLASSES])
    for name in names:
        labels = tiny.pixels(f'{spade_jax.DEMO}/labels/{name}.png')
        photo = tiny.pixels(f'{spade_jax.DEMO}/photos/{name}.png')
        np.testing.assert_array_equal(groups['Label maps'][name], colorize(labels, colors))
        np.testing.assert_array_equal(groups['Photos'][name], photo)
        assert groups['Images'][name].shape == photo.shape
    check_distinct(groups['Images'].values(), least=5)


def test_seeds_of_demo_differ(demo):
    (seeds,) = demo_images(demo, 'seeds').values()
    assert len(seeds) == 4
    check_distinct(seeds.values(), least=3)
    first = next(iter(demo_images(demo, 'images')['Images'].values()))
    np.testing.assert_array_equal(seeds['seed 0'], first)


def test_styles_of_photos_differ(demo):
    name = next(iter(demo_images(demo, 'images')['Images']))
    check_distinct(demo_images(demo, 'photo')[f'Their styles for {name}'].values(), least=3)


def test_interpolation_ends_at_its_seeds(demo):
    images = demo_images(demo, 'between')['From 1 to 2']
    (seeds,) = demo_images(demo, 'seeds').values()
    check_distinct(images.values())
    for share, seed in (('0%', 'seed 1'), ('100%', 'seed 2')):
        assert np.abs(images[share].astype(int) - seeds[seed]).max() <= 1


def test_slider_shows_another_interpolated_image(demo):
    widgets = demo.executed.metadata.widgets[WIDGETS]['state'].values()
    (outputs,) = [
        widget['state']['outputs'] for widget in widgets if widget['model_name'] == 'OutputModel'
    ]
    images = demo_images(demo, 'between')['From 1 to 2']
    check_distinct([*images.values(), shown(outputs)['Slider']['1 to 2']])


def test_painted_map_has_all_its_classes(demo):
    images = demo_images(demo, 'own')['My label map']
    assert list(images) == ['label map', 'seed 0', 'seed 1', 'seed 2']
    # Sky, sun, mountain, snow, hill, water, grass, tree.
    assert len(np.unique(images['label map'].reshape(-1, 3), axis=0)) == 8
    check_distinct(images.values())


def test_empty_conversion_field_converts_nothing(demo):
    assert 'empty' in printed(demo.cells['convert'])


def test_demo_opens_no_studio(demo):
    assert 'STUDIO is off' in printed(demo.cells['studio'])


def test_studio_is_opened_by_the_proxy_of_colab(monkeypatch):
    (source,) = (cell.source for cell in read_notebook().cells if cell.id == 'studio')
    opened, host = [], '8128-m-s-1a2b.region-0.prod.colab.dev'
    output = types.SimpleNamespace(
        eval_js=lambda text: f'https://{host}/' if text.endswith('.proxyPort(8128)') else None,
        serve_kernel_port_as_window=lambda port, path: opened.append((port, path)),
    )
    monkeypatch.setitem(sys.modules, 'google.colab', types.SimpleNamespace(output=output))
    variables = dict(IN_COLAB=True, spade_jax=spade_jax, workdir=spade_jax.DEMO)
    variables |= dict(subprocess=subprocess, sys=sys, shlex=shlex)
    exec(source.replace('STUDIO = False', 'STUDIO = True'), variables)
    try:
        ((port, path),) = opened
        request = urllib.request.Request(f'http://127.0.0.1:{port}/', headers={'Host': host})
        assert b'<html' in urllib.request.urlopen(request, timeout=10).read()
        assert re.fullmatch('/#token=[0-9a-f]{32}', path)
    finally:
        variables['studio'].terminate()
        variables['studio'].wait()


def test_demo_trains_nothing_and_exports(demo):
    assert 'STEPS is 0' in printed(demo.cells['train'])
    (file,) = (demo.directory / 'files').glob('*/generator.jaxexport')
    assert f'{file}: ' in printed(demo.cells['export'])
    assert 'arguments labels, style' in printed(demo.cells['export'])


def test_download_has_every_image(demo):
    (archive,) = (demo.directory / 'files').glob('*/images.zip')
    code = [cell for cell in demo.cells.values() if cell.cell_type == 'code']
    count = sum(len(group) for cell in code for group in shown(cell.outputs).values())
    count += 1  # That of the slider.
    assert f'{count} images: {archive}' in printed(demo.cells['download'])
    files = [name for name in zipfile.ZipFile(archive).namelist() if name.endswith('.png')]
    assert len(files) == count


def write_inputs(directory):
    """Label maps and photos, maps of wrong id and size, a color mask, its palette."""
    maps = tiny.write_labels(directory / 'maps', 'a', 'b', 'c')
    photos = tiny.write_photos(directory / 'photos', 'a', 'b', 'c')
    names = ('wrong.png', 'mask.png', 'palette.json', 'odd.png')
    wrong, mask, palette, odd = (directory / name for name in names)
    Image.fromarray(np.zeros((30, 31), np.uint8)).save(odd)
    labels = np.zeros((32, 32), np.uint8)
    labels[2, 1] = 7
    Image.fromarray(labels).save(wrong)
    colors = default_palette(3)
    Image.fromarray(colorize(tiny.pixels(maps / 'a.png'), colors)).save(mask)
    classes = [{'name': f'class {i}', 'color': color.tolist()} for i, color in enumerate(colors)]
    palette.write_text(json.dumps({'classes': classes}))
    paths = dict(maps=maps, photos=photos, wrong=wrong, mask=mask, palette=palette, odd=odd)
    paths['label_map'] = maps / 'a.png'
    return types.SimpleNamespace(**{name: str(path) for name, path in paths.items()})


def write_published(directory):
    """A published checkpoint in PyTorch's names, with random weights."""
    size = dict(num_classes=3, crop_size=32, load_size=32, init_gain=1.3)
    networks = dict(generator_width=2, spade_hidden=4, discriminator_width=4)
    states = released_files.random_states(Config.create(**size, **networks))
    return str(released_files.write_files(pathlib.Path(directory), states))


@pytest.fixture(scope='module')
def others(tmp_path_factory):
    """Cells executed in one kernel with other fields than the defaults, by what they show."""
    directory = tmp_path_factory.mktemp('others')
    files = write_inputs(directory)
    configs = {
        'plain': tiny.PLAIN,
        'edges': tiny.PLAIN.replace(condition='labels+edges'),
        'rgb': tiny.PLAIN.replace(condition='rgb', dontcare=False),
    }
    runs = {
        name: str(tiny.write_checkpoint(config, directory / name))
        for name, config in configs.items()
    }
    folders = dict(LABEL_DIR=files.maps, PHOTO_DIR=files.photos)
    published = write_published(directory / 'published')
    flags = '--num_classes=3 --crop_size=32 --upsampling=normal'
    gone = str(directory / 'gone')
    tiny_run = directory / 'tiny.flags'
    program.write_folders(directory / 'data', count=4)
    data = ['--dataset=folders', f'--data_dir={directory}/data', '--num_classes=3']
    tiny_run.write_text('\n'.join([*data, *program.SMALL]))
    groups = {
        'shared': cells('shared'),
        'plain': cells(*SAMPLING, WORKDIR=runs['plain'], LABEL_MAP=files.label_map, **folders),
        'mask': cells('own', LABEL_MAP=files.mask, PALETTE=files.palette),
        'remapped': cells('own', LABEL_MAP=files.wrong, LABEL_REMAP='7:255'),
        'wrong id': cells('own', LABEL_MAP=files.wrong, fails=True),
        'no palette': cells('own', LABEL_MAP=files.mask, fails=True),
        'native size': cells('own', LABEL_MAP=files.odd, SAMPLE_SIZE='native', fails=True),
        'upload': cells('own', UPLOAD=True, fails=True),
        'converted': cells(
            'convert', TORCH_CHECKPOINT_DIR=published, DATASET='', OTHER_FLAGS=flags
        ),
        'trained': cells('train', STEPS=1, FLAGFILE=str(tiny_run)),
        'lost files': cells('convert', TORCH_CHECKPOINT_DIR=gone, fails=True),
        'edges': cells(*SAMPLING, WORKDIR=runs['edges']),
        'rgb': cells(*SAMPLING, WORKDIR=runs['rgb']),
        'lost run': cells('workdir', WORKDIR=gone, fails=True),
        'download': cells('download'),
    }
    chosen = itertools.chain.from_iterable(groups.values())
    executed = iter(execute(chosen, directory).cells)
    results = {name: [next(executed) for _ in group] for name, group in groups.items()}
    return types.SimpleNamespace(
        last={name: group[-1] for name, group in results.items()},
        sampling={name: dict(zip(SAMPLING, results[name], strict=True)) for name in configs},
    )


def own_images(cell):
    return shown(cell.outputs)['My label map']


def test_folders_are_shown_at_training_size(others):
    groups = shown(others.sampling['plain']['images'].outputs)
    for title in ('Label maps', 'Photos', 'Images'):
        assert list(groups[title]) == ['a', 'b', 'c']
        assert {image.shape for image in groups[title].values()} == {(32, 32, 3)}
    check_distinct(groups['Images'].values())


def test_model_without_styles_samples_one_image(others):
    by_name = others.sampling['plain']
    assert 'no style latent' in printed(by_name['workdir'])
    (seeds,) = shown(by_name['seeds'].outputs).values()
    assert list(seeds) == ['seed 0']
    image = shown(by_name['images'].outputs)['Images']['a']
    np.testing.assert_array_equal(seeds['seed 0'], image)
    assert 'No style encoder' in printed(by_name['photo'])
    assert 'No style latent' in printed(by_name['between'])
    assert not by_name['slider'].outputs


def test_own_label_map_gives_image_of_its_ids(others):
    image = shown(others.sampling['plain']['images'].outputs)['Images']['a']
    np.testing.assert_array_equal(own_images(others.last['plain'])['seed 0'], image)
    np.testing.assert_array_equal(own_images(others.last['mask'])['seed 0'], image)


def test_remapped_id_is_shown_as_unknown(others):
    assert not own_images(others.last['remapped'])['label map'][2, 1].any()


@pytest.mark.parametrize(
    'name, words',
    [
        ('wrong id', ['wrong.png: label id 7 at pixel (x=1, y=2)', 'label_remap']),
        ('no palette', ['mask.png', 'RGB', 'palette']),
        ('native size', ['a label map of 31x30', 'the training size 32x32']),
        ('upload', ['LABEL_MAP']),
        ('lost files', ['gone']),
        ('lost run', ['gone']),
    ],
)
def test_bad_field_is_refused_in_one_line(others, name, words):
    line = refusal(others.last[name])
    assert [word for word in words if word not in line] == []


def test_converted_checkpoint_samples(others):
    images = shown(others.last['converted'].outputs)['Converted']
    assert images['image'].shape == (32, 32, 3)
    check_distinct(images.values())
    assert 'set WORKDIR above to ' in printed(others.last['converted'])


def test_small_run_is_trained_and_samples(others):
    (images,) = shown(others.last['trained'].outputs).values()
    assert images['image'].shape == (32, 32, 3)
    assert 'set WORKDIR above to ' in printed(others.last['trained'])


@pytest.mark.parametrize('name', ['edges', 'rgb'])
def test_bands_replace_missing_label_maps(others, name):
    by_name = others.sampling[name]
    assert 'bands of classes' in printed(by_name['images'])
    groups = shown(by_name['images'].outputs)
    check_distinct([groups['Label maps']['bands'], groups['Images']['bands']])
    check_distinct(own_images(by_name['own']).values())


def test_rgb_model_says_what_it_is_conditioned_on(others):
    assert 'conditioned on images' in printed(others.sampling['rgb']['workdir'])


def test_download_names_archive(others):
    assert 'images.zip' in printed(others.last['download'])
