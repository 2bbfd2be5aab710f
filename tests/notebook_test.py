"""The notebook, executed as it is but for its installation: with the demo, and with other models, maps and files in its fields."""

import base64
import copy
import dataclasses
import io
import itertools
import json
import re
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

PATH = program.ROOT / 'experiments' / 'spade_jax.ipynb'
FIGURE = re.compile(r'<img src="data:image/png;base64,([^"]+)".*?<figcaption>(.*?)</figcaption>')
DRAWING = ('workdir', 'pictures', 'seeds', 'photo', 'between', 'slider', 'paint', 'own')


def notebook():
    return nbformat.read(PATH, as_version=4)


def cells(*names, fails=False, **fields):
    """Copies of some cells, with other values in their fields; the last of them `fails`."""
    by_name = {cell.id: cell for cell in notebook().cells}
    chosen = [copy.deepcopy(by_name[name]) for name in names]
    for field, value in fields.items():
        replaced = [
            re.subn(
                rf'^{field} = .*?(?=  #@param)',
                lambda _: f'{field} = {value!r}',
                cell.source,
                flags=re.MULTILINE,
            )
            for cell in chosen
        ]
        assert sum(count for _, count in replaced) == 1, f'{field} is no field of {names}'
        for cell, (source, _) in zip(chosen, replaced):
            cell.source = source
    if fails:
        chosen[-1].metadata.tags = ['raises-exception']
    return chosen


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that executes cells, in the directory of the notebook."""
    monkeypatch.setenv('JUPYTER_RUNTIME_DIR', str(tmp_path / 'jupyter'))
    for directory in ('files', 'ipython'):
        (tmp_path / directory).mkdir()

    def run(chosen):
        executed = notebook()
        executed.cells = [copy.deepcopy(cell) for cell in chosen]
        for number, cell in enumerate(executed.cells):
            cell.id = f'{cell.id}-{number}'
            if 'install' in cell.metadata.get('tags', ()):
                cell.source = ''
        before = files_of_the_repository()
        nbclient.NotebookClient(
            executed,
            timeout=120,
            kernel_name='python3',
            resources={'metadata': {'path': str(PATH.parent)}},
        ).execute(
            env=program.environment(1)
            | {
                'XLA_FLAGS': '',
                'TMPDIR': str(tmp_path / 'files'),
                'IPYTHONDIR': str(tmp_path / 'ipython'),
            }
        )  # compiled as a user's is: drawing takes longer than that
        assert files_of_the_repository() == before
        return executed

    return run


def files_of_the_repository():
    """Those that the notebook could touch, with the times of their last change."""
    places = [program.ROOT / 'experiments', program.ROOT / 'spade_jax', *program.ROOT.glob('*')]
    files = itertools.chain.from_iterable(
        place.rglob('*') if place in places[:2] else [place] for place in places
    )
    return {
        file: file.stat().st_mtime
        for file in files
        if file.is_file() and '__pycache__' not in file.parts
    }


def pictures(cell):
    """What a cell shows, see `pictures_of`."""
    return pictures_of(cell.outputs)


def pictures_of(outputs):
    """Group -> caption -> [H, W, 3] uint8."""
    shown = {}
    for output in outputs:
        page = output.get('data', {}).get('text/html', '')
        if figures := FIGURE.findall(page):
            shown[re.match('<b>(.*?)</b>', page)[1]] = {
                caption: np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
                for png, caption in figures
            }
    return shown


def printed(cell):
    return ''.join(output.text for output in cell.outputs if output.output_type == 'stream')


def error(cell):
    """The one line with which a cell refuses its fields, after the one that says how to see more."""
    (output,) = [output for output in cell.outputs if output.output_type == 'error']
    hint, line = ''.join(output.traceback).splitlines()
    assert 'use %tb' in hint and 'UserError' in line
    return line


def assert_differ(images, least=0.0):
    """Every two of some pictures, by more than `least` grey levels in the mean; and none is flat."""
    images = [image.astype(float) for image in images]
    assert min(image.std() for image in images) > 5
    assert (
        min(np.abs(one - other).mean() for one, other in itertools.combinations(images, 2)) > least
    )


def test_the_file_is_as_nbformat_writes_it_and_has_no_outputs():
    nbformat.validate(notebook())
    assert PATH.read_text(encoding='utf-8') == nbformat.writes(notebook()) + '\n'
    for cell in notebook().cells:
        assert re.fullmatch('[a-z]+(-[a-z]+)*', cell.id), 'names say what is in a cell'
        if cell.cell_type == 'code':
            assert not cell.outputs and cell.execution_count is None
            assert max(map(len, cell.source.splitlines())) <= 160
    assert 'widgets' not in notebook().metadata


@pytest.mark.slow
def test_top_to_bottom_with_the_demo(execute, tmp_path):
    executed = execute(notebook().cells)
    by_name = {cell.id.rpartition('-')[0]: cell for cell in executed.cells}
    assert '13 classes: sky, cloud, sun' in printed(by_name['workdir'])

    shown = pictures(by_name['pictures'])
    names = list(shown['Pictures'])
    assert len(names) == 4 and list(shown['Label maps']) == list(shown['Photographs']) == names
    for name in names:
        ids = tiny.pixels(f'{spade_jax.DEMO}/labels/{name}.png')
        np.testing.assert_array_equal(
            shown['Label maps'][name],
            colorize(ids, np.array([entry.color for entry in landscapes.CLASSES])),
        )
        np.testing.assert_array_equal(
            shown['Photographs'][name], tiny.pixels(f'{spade_jax.DEMO}/photos/{name}.png')
        )
        assert shown['Pictures'][name].shape == (128, 128, 3)
    assert_differ(shown['Pictures'].values(), least=5)
    assert 'sky</span>' in json.dumps(by_name['pictures'].outputs)

    (seeds,) = pictures(by_name['seeds']).values()
    assert len(seeds) == 4
    assert_differ(seeds.values(), least=3)
    np.testing.assert_array_equal(seeds['seed 0'], shown['Pictures'][names[0]])
    assert_differ(pictures(by_name['photo'])[f'Their styles for {names[0]}'].values(), least=3)

    way = pictures(by_name['between'])['From 1 to 2']
    assert_differ(way.values())
    for end, seed in (('0%', 1), ('100%', 2)):
        assert np.abs(way[end].astype(int) - seeds[f'seed {seed}']).max() <= 1, (
            'an interpolation begins and ends with its ends'
        )
    models = executed.metadata.widgets['application/vnd.jupyter.widget-state+json'][
        'state'
    ].values()
    (slide,) = [
        model['state']['outputs'] for model in models if model['model_name'] == 'OutputModel'
    ]
    assert_differ([*way.values(), pictures_of(slide)['Slider']['1 to 2']])

    own = pictures(by_name['own'])['My label map']
    assert list(own) == ['label map', 'seed 0', 'seed 1', 'seed 2']
    assert len(np.unique(own['label map'].reshape(-1, 3), axis=0)) == 8, (
        'sky, sun, mountain, snow, hill, water, grass, tree'
    )
    assert_differ(own.values())
    assert 'empty' in printed(by_name['convert'])

    (archive,) = (tmp_path / 'files').glob('*/pictures.zip')
    count = (
        sum(
            len(group)
            for cell in by_name.values()
            if cell.cell_type == 'code'
            for group in pictures(cell).values()
        )
        + 1
    )
    assert f'{count} pictures: {archive}' in printed(by_name['download'])
    assert (
        len([name for name in zipfile.ZipFile(archive).namelist() if name.endswith('.png')])
        == count
    )


@pytest.mark.slow
def test_other_models_and_files(execute, tmp_path):
    plain = tiny.write_checkpoint(tiny.PLAIN, tmp_path / 'plain')
    edges = tiny.write_checkpoint(
        dataclasses.replace(tiny.PLAIN, condition='labels+edges'), tmp_path / 'edges'
    )
    drawings = tiny.write_checkpoint(
        dataclasses.replace(tiny.PLAIN, condition='rgb', dontcare=False), tmp_path / 'drawings'
    )
    maps = tiny.write_labels(tmp_path / 'maps', 'a', 'b', 'c')
    photos = tiny.write_photos(tmp_path / 'photos', 'a', 'b', 'c')
    wrong = np.zeros((32, 32), np.uint8)
    wrong[2, 1] = 7
    Image.fromarray(wrong).save(tmp_path / 'wrong.png')
    Image.fromarray(colorize(tiny.pixels(maps / 'a.png'), default_palette(3))).save(
        tmp_path / 'mask.png'
    )
    palette = {
        'classes': [
            {'name': f'class {i}', 'color': color.tolist()}
            for i, color in enumerate(default_palette(3))
        ]
    }
    (tmp_path / 'palette.json').write_text(json.dumps(palette))
    released = Config.create(
        num_classes=3,
        crop_size=32,
        load_size=32,
        generator_width=2,
        spade_hidden=4,
        discriminator_width=4,
        init_gain=1.3,
    )
    files = released_files.write_files(
        tmp_path / 'released', released_files.random_states(released)
    )

    chosen = [
        cells('shared'),
        cells(
            *DRAWING,
            WORKDIR=str(plain),
            LABEL_DIR=str(maps),
            PHOTO_DIR=str(photos),
            LABEL_MAP=str(maps / 'a.png'),
        ),
        cells('own', LABEL_MAP=str(tmp_path / 'mask.png'), PALETTE=str(tmp_path / 'palette.json')),
        cells('own', LABEL_MAP=str(tmp_path / 'wrong.png'), LABEL_REMAP='7:255'),
        cells('own', LABEL_MAP=str(tmp_path / 'wrong.png'), fails=True),
        cells('own', LABEL_MAP=str(tmp_path / 'mask.png'), fails=True),
        cells('own', LABEL_MAP=str(maps / 'a.png'), SAMPLE_SIZE='native', fails=True),
        cells('own', UPLOAD=True, fails=True),
        cells(
            'convert',
            TORCH_CHECKPOINT_DIR=str(files),
            DATASET='',
            OTHER_FLAGS='--num_classes=3 --crop_size=32 --upsampling=normal',
        ),
        cells('convert', TORCH_CHECKPOINT_DIR=str(tmp_path / 'gone'), fails=True),
        cells(*DRAWING, WORKDIR=str(edges)),
        cells(*DRAWING, WORKDIR=str(drawings)),
        cells('workdir', WORKDIR=str(tmp_path / 'gone'), fails=True),
        cells('download'),
    ]
    executed = iter(execute(itertools.chain.from_iterable(chosen)).cells)
    (
        (_,),
        first,
        (mask,),
        (remapped,),
        (ids,),
        (colors,),
        (size,),
        (upload,),
        (converted,),
        (lost,),
        second,
        third,
        (gone,),
        (download,),
    ) = [[next(executed) for _ in group] for group in chosen]

    by_name = dict(zip(DRAWING, first))
    assert 'style encoder: none' in printed(by_name['workdir'])
    shown = pictures(by_name['pictures'])
    assert (
        list(shown['Label maps'])
        == list(shown['Photographs'])
        == list(shown['Pictures'])
        == ['a', 'b', 'c']
    )
    assert all(
        picture.shape == (32, 32, 3) for group in shown.values() for picture in group.values()
    ), 'all are scaled to the training size'
    assert_differ(shown['Pictures'].values())
    (seeds,) = pictures(by_name['seeds']).values()
    np.testing.assert_array_equal(seeds['seed 0'], shown['Pictures']['a'])
    assert len(seeds) == 1
    assert (
        'No style encoder' in printed(by_name['photo'])
        and 'No style encoder' in printed(by_name['between'])
        and not by_name['slider'].outputs
    )

    own = pictures(by_name['own'])['My label map']
    np.testing.assert_array_equal(own['seed 0'], shown['Pictures']['a'])
    np.testing.assert_array_equal(pictures(mask)['My label map']['seed 0'], own['seed 0'])
    assert (pictures(remapped)['My label map']['label map'][2, 1] == 0).all(), 'unknown is black'

    assert 'wrong.png: label id 7 at pixel (x=1, y=2)' in error(ids) and 'LABEL_REMAP' in error(ids)
    assert 'mask.png: the label map is a RGB picture' in error(colors) and 'palette' in error(
        colors
    )
    assert 'a label map of 48x40' in error(size) and 'the training size, 32x32' in error(size)
    assert 'LABEL_MAP' in error(upload)
    assert 'gone' in error(lost) and 'gone' in error(gone)

    shown = pictures(converted)['Converted']
    assert 'To train on, repeat: ' in printed(converted) and shown['picture'].shape == (32, 32, 3)
    assert_differ(shown.values())
    for drawn in (second, third):
        by_name = dict(zip(DRAWING, drawn))
        assert 'bands of classes stand in' in printed(by_name['pictures'])
        shown = pictures(by_name['pictures'])
        assert_differ([shown['Label maps']['bands'], shown['Pictures']['bands']])
        assert_differ(pictures(by_name['own'])['My label map'].values())
    assert 'draws from pictures' in printed(third[0])
    assert 'pictures.zip' in printed(download)
