"""What the server answers to a page."""

import base64
import pathlib

import numpy as np
from PIL import Image

import spade_jax


def test_static_files_are_served_with_types_and_etags(served):
    status, headers, content = served.request('GET', '/static/js/state.js')
    assert status == 200 and content.startswith(b'/**')
    assert headers['Content-Type'] == 'text/javascript; charset=utf-8'
    assert 'Server' not in headers
    again = served.request('GET', '/static/js/state.js', If_None_Match=headers['Etag'])
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
    path = pathlib.Path(spade_jax.DEMO, 'labels', 'landscape_03.png')
    example = served.get('/api/examples/3')
    ids = np.frombuffer(base64.b64decode(example['ids']), np.uint8).reshape(128, 128)
    np.testing.assert_array_equal(ids, np.asarray(Image.open(path)))
    assert base64.b64decode(example['file']) == path.read_bytes()
    status, headers, _ = served.request('GET', '/api/examples/3/photo')
    assert status == 200 and headers['Content-Type'] == 'image/png'


def test_localhost_is_sent_to_the_one_address_of_drafts(served):
    status, headers, _ = served.request('GET', '/', Host=f'localhost:{served.port}')
    assert (status, headers['Location']) == (307, f'http://127.0.0.1:{served.port}/')
