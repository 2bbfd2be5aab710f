"""The tour from GAN to SPADE: its time, its page, and the measured argument of the paper."""

import json

import numpy as np
import pytest
from PIL import Image

import spade_jax
from experiments.figures import tour
from spade_jax.errors import UserError
from spade_jax.evaluation import comparison
from spade_jax.evaluation.judges import FittedJudge, judge_images
from spade_jax.reports.run_log import FILE
from tests.program import ROOT
from tests.sampling import tiny

SCENES = dict(dataset='scenes', crop_size=16, load_size=16, scenes_train_examples=8)


def slower_steps(step):
    """Seconds of a step: those of a network that grows after 40 steps."""
    return 0.1 if step <= 40 else 0.4


class AllSky:
    """A judge that needs no training."""

    def predict(self, images):
        return np.zeros(images.shape[:3], int)


@pytest.fixture
def sessions(monkeypatch):
    """The last steps of the sessions that are trained; instead, their log is written."""
    last_steps, epochs_end = [], 1000

    def train(config, workdir):
        first, last = tour.pace_of(workdir, 1).steps, min(config.optimizer.max_steps, epochs_end)
        last_steps.append(last)
        with open(f'{workdir}/{FILE}', 'a') as file:
            for step in range(first + 1, last + 1):
                speed = config.optimizer.batch_size / slower_steps(step)
                file.write(json.dumps({'step': step, 'images_per_second': speed}) + '\n')
            file.write(json.dumps({'step': last, 'layout': 0.5}) + '\n')  # No step of training.

    monkeypatch.setattr(spade_jax, 'train', train)
    return last_steps


def test_train_for_takes_the_time_at_most_doubling_the_steps(sessions, tmp_path):
    config = spade_jax.configure('tour/gan_growing', log_every=4)
    pace = tour.train_for(config, str(tmp_path), 30)
    assert sessions == [8, 16, 32, 64, 105]
    assert 0.95 * 30 <= pace.seconds <= 1.05 * 30
    assert pace.recent == pytest.approx(0.4)


def test_train_for_repeats_nothing_and_extends(sessions, tmp_path):
    config = spade_jax.configure('tour/gan')
    tour.train_for(config, str(tmp_path), 4)
    sessions.clear()
    assert tour.train_for(config, str(tmp_path), 4).steps == 40
    assert not sessions
    assert tour.train_for(config, str(tmp_path), 8).steps > 40


def test_train_for_refuses_epochs_that_end_before(sessions, tmp_path):
    with pytest.raises(UserError, match='ends after 1000 steps, 388 of 10000 s.*constant_epochs'):
        tour.train_for(spade_jax.configure('tour/gan'), str(tmp_path), 10_000)


def test_uniform_maps_differ_after_spade_and_not_after_normalization():
    convolution, plain, spade = tour.differences_of_layers()
    assert convolution > 0.1
    assert plain < 1e-3 * convolution
    assert spade > 0.05


def test_fill_replaces_one_block(tmp_path):
    path = tmp_path / 'page.md'
    path.write_text('a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\n<!-- end -->\n')
    tour.Page(path).fill('x', r'new \1')
    tour.Page(path).fill('x', r'newer \1')
    expected = 'a\n<!-- x -->\nnewer \\1\n<!-- end -->\nb\n<!-- y -->\n<!-- end -->\n'
    assert path.read_text() == expected
    with pytest.raises(UserError, match='one block <!-- z -->'):
        tour.Page(path).fill('z', '')


def test_page_has_block_flagfile_and_code_of_each_system():
    text = tour.PAGE.read_text()
    for name in [*tour.SYSTEMS, 'maps', 'uniform', 'systems']:
        assert text.count(f'<!-- {name} -->\n') == 1
    assert all(f'`tour/{name}`' in text for name in tour.SYSTEMS)
    assert set(tour.SYSTEMS) == {path.stem for path in (ROOT / 'spade_jax/configs/tour').iterdir()}


def test_page_is_small():
    figures = [*(tour.PAGE.parent / 'tour').glob('*.png')]
    assert sum(path.stat().st_size for path in [tour.PAGE, *figures]) < 600_000


def test_tour_of_two_systems_fills_page_and_repeats_nothing(sessions, tmp_path, monkeypatch):
    data = dict(data_dir=str(tmp_path / 'data'), batch_size=2, **SCENES)
    options = dict(generator_width=2, generator_multipliers='2,1', spade_hidden=4)
    options |= dict(discriminator_width=4, discriminator_depth=2, perceptual_weight=0)
    configs = {
        'gan': spade_jax.configure(model='gan', gan_width=4, gan_max_width=8, **data),
        'spade': spade_jax.configure(**options, **data),
    }
    for name, config in configs.items():
        tiny.write_checkpoint(config, tmp_path / 'runs' / name)  # Untrained.
    blocks = ['maps', 'gan', 'spade', 'uniform', 'systems']
    page = tmp_path / 'page.md'
    page.write_text('\n'.join(f'<!-- {name} -->\n<!-- end -->' for name in blocks))
    monkeypatch.setattr(tour, 'has_frechet', lambda: False)

    def fitted(training, photos, labels):
        return FittedJudge(AllSky(), judge_images(AllSky(), photos, labels), {})

    monkeypatch.setattr(comparison, 'fit_layout_judge', fitted)
    tour.run(configs, str(tmp_path / 'runs'), 5, tour.Page(page))
    text = page.read_text()
    for name in ('maps', 'gan', 'spade', 'uniform'):
        assert f'(tour/{name}.png)' in text
        assert Image.open(tmp_path / 'tour' / f'{name}.png').width == 6 * 128 + 5 * 4
    assert text.count('| `tour/spade` |') == 1
    assert 'Layout judge' in text

    sessions.clear()
    monkeypatch.setattr(tour.Scorer, '__call__', None)
    tour.run(configs, str(tmp_path / 'runs'), 5, tour.Page(page))
    assert not sessions
    assert page.read_text() == text


def test_difference_is_the_mean_over_pairs():
    images = np.array([0, 2, 4], np.uint8).reshape(3, 1, 1, 1)
    assert tour.difference(images) == pytest.approx((2 + 4 + 2) / 3)
