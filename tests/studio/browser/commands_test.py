"""The copied command makes the image of the page, bit for bit."""

import base64
import pathlib
import shlex

import numpy as np
import pytest

import spade_jax
from spade_jax.studio.description import Run, describe
from spade_jax.studio.style_messages import latent_of, parse_style
from tests.fixtures.cli import succeed_inline
from tests.sampling import tiny
from tests.studio.browser.scripts import decoded, document, run, run_bytes

LATENT = base64.b64encode(np.array([0.5, -1.25, 2, 0.1], '<f4').tobytes()).decode()
SEED = {'kind': 'seed', 'seed': 2, 'truncation': 1}
PHOTO = {'kind': 'photo', 'latent': LATENT, 'strength': 0.7}
STYLES = {
    'seed': SEED,
    'seed with less variety': SEED | {'truncation': 0.35},
    'photo': PHOTO,
    'blend of seeds': {'kind': 'blend', 'from': SEED, 'to': SEED | {'seed': 9}, 'share': 0.35},
    'blend with a photo': {'kind': 'blend', 'from': SEED, 'to': PHOTO, 'share': 0.8},
}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    return tiny.write_checkpoint(tiny.STYLED, tmp_path_factory.mktemp("it's a run") / 'styled')


@pytest.fixture(scope='module')
def generator(workdir):
    return spade_jax.load(str(workdir))


@pytest.mark.parametrize('name', STYLES)
def test_command_makes_the_same_image(tab, workdir, generator, name, tmp_path, monkeypatch):
    ids = (np.indices((32, 32)).sum(0) // 5 % 3).astype(np.uint8)
    model = describe(Run.open(str(workdir)), ['python', '-m', 'spade_jax.main', '--mode=studio'])
    given = dict(model=model, style=STYLES[name], **document(ids))
    start = "update('model', given.model); open(given); update('style', {current: given.style});"
    command = run(tab, start + "return (await load('commands')).sampleCommand();", **given)
    label_map = run_bytes(
        tab, start + "return bytes.toBase64(await (await load('exports')).idsFile());", **given
    )
    monkeypatch.chdir(tmp_path)
    pathlib.Path('Untitled.png').write_bytes(label_map)
    program, arguments = shlex.split(command)[:3], shlex.split(command)[3:]
    assert program == ['python', '-m', 'spade_jax.main']
    succeed_inline(*arguments, '--nogallery')
    latent = latent_of(parse_style(STYLES[name]), generator.latent_dim)
    expected = generator(ids, style=latent)
    np.testing.assert_array_equal(
        decoded(pathlib.Path('images/Untitled.png').read_bytes()), expected
    )
    assert len(np.unique(expected)) > 20
