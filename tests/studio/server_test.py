"""What the server answers to a page."""

import base64
import dataclasses
import gzip
import io
import json
import os
import pathlib
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_networks
from spade_jax.studio import description
from spade_jax.studio.examples import Example, thumbnail_of
from tests.studio.small_demo import small_demo


def test_static_files_are_served_with_types_and_etags(served):
    status, headers, content = served.request('GET', '/static/js/state.js')
    assert status == 200 and content.startswith(b'/**')
    assert headers['Content-Type'] == 'text/javascript; charset=utf-8'
    assert 'Server' not in headers
    again = served.request('GET', '/static/js/state.js', If_None_Match=headers['Etag'])
    assert again[0] == 304 and not again[2]


def test_files_are_compressed_for_clients_that_read_that(served):
    whole = served.request('GET', '/static/js/state.js')[2]
    status, headers, content = served.request('GET', '/static/js/state.js', Accept_Encoding='gzip')
    assert status == 200 and headers['Content-Encoding'] == 'gzip'
    assert gzip.decompress(content) == whole and len(content) < len(whole) / 2
    again = served.request(
        'GET', '/static/js/state.js', Accept_Encoding='gzip', If_None_Match=headers['Etag']
    )
    assert again[0] == 304 and not again[2]


def test_model_is_described_without_jax(served):
    model = served.get('/api/model')
    assert (model['width'], model['height'], model['fixed_size']) == (128, 128, True)
    assert model['has_style'] and model['can_encode'] and model['unknown'] is None
    first = model['classes'][0]
    assert (first['id'], first['name'], first['color']) == (0, 'sky', [0x87, 0xBE, 0xEB])
    assert (first['number'], first['material']['color']) == (0, '#9ceedd')
    assert len(model['classes']) == 13


def test_examples_have_the_ids_of_their_files(served):
    listed = served.get('/api/examples')['examples']
    assert [example['name'] for example in listed] == [f'landscape_0{i}' for i in range(8)]
    path = pathlib.Path(small_demo().workdir, 'labels', 'landscape_03.png')
    example = served.get('/api/examples/3')
    ids = np.frombuffer(base64.b64decode(example['ids']), np.uint8).reshape(128, 128)
    np.testing.assert_array_equal(ids, np.asarray(Image.open(path)))
    assert base64.b64decode(example['file']) == path.read_bytes()
    status, headers, _ = served.request('GET', '/api/examples/3/photo')
    assert status == 200 and headers['Content-Type'] == 'image/png'


def test_photos_of_examples_have_thumbnails(served):
    status, headers, content = served.request('GET', '/api/examples/3/thumbnail')
    assert status == 200 and headers['Content-Type'] == 'image/jpeg'
    path = pathlib.Path(small_demo().workdir, 'photos', 'landscape_03.png')
    photo, thumbnail = (Image.open(file).convert('RGB') for file in (path, io.BytesIO(content)))
    assert np.abs(np.asarray(thumbnail, int) - np.asarray(photo, int)).mean() < 8
    assert len(content) < path.stat().st_size / 2


def test_thumbnail_of_a_large_photo_is_small(tmp_path):
    Image.new('RGB', (6000, 4500), 'green').save(tmp_path / 'lake.png')
    content = thumbnail_of(Example('lake', '', str(tmp_path / 'lake.png')))
    thumbnail = Image.open(io.BytesIO(content))
    assert thumbnail.size == (128, 96)
    np.testing.assert_allclose(thumbnail.getpixel((60, 40)), (0, 128, 0), atol=3)


@pytest.mark.parametrize('part', ['', '/photo', '/thumbnail'])
def test_example_that_is_gone_is_refused_in_a_sentence(served, monkeypatch, part):
    gone = Example('lake', '/no/label.png', '/no/photo.png')
    monkeypatch.setattr(served.studio, 'examples', [gone])
    status, _, content = served.request('GET', f'/api/examples/0{part}')
    assert status == 422
    assert json.loads(content)['problem'].startswith('/no/')


def test_copied_command_works_in_any_directory():
    run = dataclasses.replace(small_demo(), workdir='runs/mine')
    assert description.describe(run, [])['workdir'] == os.path.abspath('runs/mine')


def test_thumbnail_of_a_damaged_photo_is_refused_in_a_sentence(tmp_path):
    photo = tmp_path / 'lake.jpg'
    photo.write_bytes(b'GIF89a')
    with pytest.raises(UserError, match='lake.jpg'):
        thumbnail_of(Example('lake', '', str(photo)))


def test_localhost_is_sent_to_the_one_address_of_drafts(served):
    status, headers, _ = served.request('GET', '/', Host=f'localhost:{served.port}')
    assert (status, headers['Location']) == (307, f'http://127.0.0.1:{served.port}/')


def test_a_map_is_imported(served):
    content = pathlib.Path(small_demo().workdir, 'labels', 'landscape_03.png').read_bytes()
    status, imported = served.post('/api/import?name=valley.png', content, 'image/png')
    assert status == 200 and imported['report']['exact']
    assert imported['ids'] == served.get('/api/examples/3')['ids']


def test_a_bad_map_is_refused_in_a_sentence(served):
    status, error = served.post('/api/import?name=valley.png', b'GIF89a', 'image/gif')
    assert status == 422
    assert error['problem'] == 'valley.png is a GIF file: label maps are PNG files'
    status, error = served.post('/api/import?as=none', b'\x89PNG\r\n\x1a\n')
    assert status == 422 and error['remedy']


def test_a_photo_has_a_latent(served):
    content = pathlib.Path(small_demo().workdir, 'photos', 'landscape_03.png').read_bytes()
    status, answer = served.post('/api/style', content, 'image/png')
    latent = np.frombuffer(base64.b64decode(answer['latent']), np.float32)
    mean = np.asarray(Image.open(io.BytesIO(content)).convert('RGB')).mean((0, 1))
    assert status == 200
    np.testing.assert_allclose(latent[:3], mean, rtol=1e-6)


def test_a_time_lapse_is_an_animation(served):
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 16, 3)).astype(np.uint8)
    query = '/api/timelapse?format=webp&width=16&height=8&milliseconds=50'
    status, content = served.post(query, frames.tobytes())
    image = Image.open(io.BytesIO(content))
    assert status == 200 and (image.format, image.n_frames) == ('WEBP', 3)
    np.testing.assert_array_equal(np.asarray(image.convert('RGB')), frames[0])
    for wrong in (query.replace('16', '1e9'), query.replace('webp', 'exe'), '/api/timelapse'):
        assert served.post(wrong, frames.tobytes())[0] == 422


def test_the_room_adds_at_most_400_kb_to_the_wheel():
    room = pathlib.Path(description.__file__).parent
    files = [path for path in room.rglob('*') if path.suffix != '.pyc' and path.is_file()]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) <= 400_000


@pytest.mark.parametrize(
    'options',
    [
        dict(model='spade', style_encoder=True),
        dict(model='spade', style_encoder=False),
        dict(model='spade', style_encoder=False, generator_start='noise'),
        dict(model='gan', condition='none'),
        dict(model='pix2pix', pix2pix_dropout=True),
        dict(model='pix2pix', pix2pix_dropout=False),
        dict(model='pix2pixhd', condition='labels+edges', instance_features=True),
        dict(model='pix2pixhd', condition='labels+edges', instance_features=False),
    ],
    ids=lambda options: '-'.join(map(str, options.values())),
)
def test_options_tell_of_a_model_what_it_says_of_itself(options):
    config = Config.create(**options)
    model = build_model(config)
    assert config.model.has_latent == (model.latent_dim is not None)
    assert config.model.can_encode == ('encoder' in model.sampling_networks)
    shapes, larger = (
        abstract_networks(build_model(Config.create(**options, crop_size=side, load_size=side)))
        for side in (256, 512)
    )
    sampled = model.sampling_networks[0]
    assert config.model.size_is_fixed == (shapes[sampled] != larger[sampled])
