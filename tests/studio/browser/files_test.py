"""Files that the page reads and writes: exact to the pixel, and mostly without the server."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.catalog import CATALOG
from spade_jax.config.config import Config
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.files.palette import rgb
from spade_jax.studio.description import Run, describe
from spade_jax.studio.label_imports import import_map
from spade_jax.studio.label_numbers import class_ids
from tests.config.catalog_test import config_of
from tests.studio.browser.scripts import decoded, document, png, run, run_bytes

DEMO = Config.create(crop_size=128, load_size=128)
OF_LABELS = [name for name in CATALOG if config_of(name).uses_labels]


def model_of(data):
    config = dataclasses.replace(DEMO, data=data)
    return describe(Run('runs/x', 'x', 7, config), ['python', '-m', 'spade_jax.main'])


@pytest.mark.parametrize(
    'channels, dtype', [(1, np.uint8), (1, np.uint16), (3, np.uint8), (4, np.uint8)]
)
def test_png_files_hold_the_pixels(tab, channels, dtype):
    shape = (37, 53) if channels == 1 else (37, 53, channels)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    content = run_bytes(
        tab,
        """const {encodePng} = await load('png');
        const pixels = bytes.idsOfBytes(bytes.fromBase64(given.pixels), given.dtype);
        return bytes.toBase64(await encodePng({...given, pixels}));""",
        **dict(pixels=pixels.tobytes(), dtype=pixels.dtype.name),
        **dict(width=53, height=37, channels=channels),
    )
    np.testing.assert_array_equal(decoded(content), pixels)


def test_png_files_carry_texts(tab):
    text = json.dumps({'name': 'Tal mit See 🏔', 'x': 'ä' * 1000}, ensure_ascii=False)
    content = run_bytes(
        tab,
        """const {encodePng} = await load('png');
        return bytes.toBase64(await encodePng({
          width: 1, height: 1, channels: 1, pixels: new Uint8Array(1), texts: given.texts}));""",
        texts={'other': 'no', 'spade_jax.studio': text},
    )
    with Image.open(io.BytesIO(content)) as image:
        assert image.text['spade_jax.studio'] == text
    read = """const {readPngText} = await load('png');
      return readPngText(bytes.fromBase64(given.content), given.keyword);"""
    assert run(tab, read, content=content, keyword='spade_jax.studio') == text
    assert run(tab, read, content=content, keyword='spade_jax') is None
    for end in range(0, len(content), 7):
        assert run(tab, read, content=content[:end], keyword='spade_jax.studio') in (None, text)


@pytest.mark.parametrize('name', OF_LABELS)
def test_painted_maps_are_read_by_training(tab, name):
    data = config_of(name)
    generator = np.random.default_rng(1)
    ids = generator.choice(class_ids(data), (32, 64)).astype(np.uint8)
    ids[0, : data.label_channels] = class_ids(data)[:64]
    content = run_bytes(
        tab,
        """update('model', given.model);
        open(given);
        return bytes.toBase64(await (await load('exports')).idsFile());""",
        model=model_of(data),
        **document(ids),
    )
    read = LabelReader(data, on_indexed=lambda *_: None).read(io.BytesIO(content))
    np.testing.assert_array_equal(read, ids)
    result = import_map(content, dataclasses.replace(DEMO, data=data), fit='nearest')
    assert result['taken_for'] in ('ids', 'model')


@pytest.mark.parametrize('name', OF_LABELS)
def test_unchanged_imports_are_exported_byte_for_byte(tab, name):
    data = dataclasses.replace(config_of(name), crop_size=64, load_size=64, aspect_ratio=1.0)
    values = [item['number'] for item in model_of(data)['classes']]
    pixels = np.random.default_rng(2).choice(values, (64, 64)).astype(np.uint8)
    if data.palette:
        colors = [rgb(item['mask']) for item in model_of(data)['classes']]
        pixels = np.array(colors, np.uint8)[pixels % len(colors)]
    content = png(pixels, compress_level=3)
    result = import_map(content, dataclasses.replace(DEMO, data=data))
    assert result['report']['exact']
    exported = run_bytes(
        tab,
        """update('model', given.model);
        open(given);
        const {idsFile} = await load('exports');
        map.replaceIds(state.document.ids.slice().reverse());
        const painted = await idsFile();
        map.undo();
        const unchanged = await idsFile();
        if (bytes.toBase64(painted) === given.origin) throw new Error('not written anew');
        return bytes.toBase64(unchanged);""",
        model=model_of(data),
        origin=content,
        **{key: result[key] for key in ('ids', 'width', 'height', 'dtype')},
    )
    assert exported == content


def test_sixteen_bits_are_written_where_numbers_need_them(tab):
    data = dataclasses.replace(config_of('scenes'), label_remap='300:0,301:1')
    ids = np.indices((32, 32))[1].astype(np.uint8) % 13
    content = run_bytes(
        tab,
        """update('model', given.model);
        open(given);
        return bytes.toBase64(await (await load('exports')).idsFile());""",
        model=model_of(data),
        **document(ids),
    )
    assert decoded(content).max() == 301
    np.testing.assert_array_equal(LabelReader(data).read(io.BytesIO(content)), ids)


def test_classes_without_a_number_are_refused(tab):
    data = dataclasses.replace(config_of('scenes'), label_remap='0:1')
    message = run(
        tab,
        """update('model', given.model);
        open(given);
        return (await load('exports')).idsFile().catch((error) => error.message);""",
        model=model_of(data),
        **document(np.zeros((32, 32), np.uint8)),
    )
    assert message.startswith('files of this model have no number for sky; export the colors')


def test_recorder_thins_by_two(tab):
    result = run(
        tab,
        """const {Recorder} = await load('recorder');
        const recorder = new Recorder(8);
        const frames = Array.from({length: 100}, (_, i) => new Uint8Array(3).fill(i));
        const lengths = frames.map((frame) => {
          recorder.add(frame, 1, 1);
          return recorder.frames.length;
        });
        const all = recorder.bytes(frames[99]);
        recorder.add(new Uint8Array(12), 2, 2);
        const numbers = [...all].filter((_, i) => i % 3 === 0);
        return [Math.max(...lengths), numbers, recorder.frames.length];""",
    )
    assert result == [8, [0, 16, 32, 48, 64, 80, 96, 99], 1]


@pytest.mark.parametrize(
    'name, stem',
    [
        ('Valley with lake', 'Valley_with_lake'),
        ('../../etc/passwd', 'etc_passwd'),
        ("it's; rm -rf *", 'it_s_rm_-rf'),
        ('Übersee', 'Übersee'),
        ('///', 'Untitled'),
    ],
)
def test_names_of_files_are_plain(tab, name, stem):
    assert run(tab, "return (await load('commands')).fileStem(given.name);", name=name) == stem
