"""--mode=evaluate with --workdir: the images of a run against its validation set."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.commands import evaluate as evaluate_command
from spade_jax.config.config import Config
from spade_jax.evaluation import comparison
from spade_jax.reports.run_log import read_scalars
from spade_jax.sampling import sample_files
from tests import program
from tests.fixtures.cli import refusal, run_inline, succeed_inline
from tests.sampling import tiny


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return program.write_folders(tmp_path_factory.mktemp('data'), count=3)


@pytest.fixture(scope='module')
def styled_run(tmp_path_factory, data):
    config = tiny.STYLED.replace(dataset='folders', data_dir=str(data))
    return tiny.write_checkpoint(config, tmp_path_factory.mktemp('runs') / 'styled')


def evaluate(workdir, *flags):
    output = succeed_inline('--mode=evaluate', f'--workdir={workdir}', '--evaluate=l1', *flags)
    return json.loads((workdir / 'evaluation' / 'evaluation.json').read_text()), output


def images_in(record):
    return {
        name: np.asarray(Image.open(f'{record["image_dir"]}/{name}.png')).astype(int)
        for name in '012'
    }


def test_images_of_the_run_are_compared_with_the_photos_at_the_training_size(styled_run, data):
    record, output = evaluate(styled_run)
    assert (record['checkpoint_step'], record['style_rule'], record['seed']) == (0, 'random', 0)
    assert record['scores']['l1']['protocol'] == {'pairs': 3}
    images, differences = images_in(record), []
    for path in sorted((data / 'val_img').iterdir()):
        photo = Image.open(path).convert('RGB').resize((32, 32), Image.Resampling.BICUBIC)
        differences.append(np.abs(images[path.stem] - np.asarray(photo)).mean())
    assert record['scores']['l1']['value'] == pytest.approx(np.mean(differences), abs=0.6)
    assert f'Scores: {styled_run}/evaluation/evaluation.json' in output


def test_scores_are_in_the_log_of_the_run(styled_run):
    record, _ = evaluate(styled_run)
    assert read_scalars(str(styled_run))[-1] == {'step': 0, 'l1': record['scores']['l1']['value']}


def test_style_rules_choose_the_styles(styled_run, data):
    directories = {}
    for rule in ('random', 'fixed', 'photo'):
        record, _ = evaluate(styled_run, f'--style_rule={rule}')
        directories[rule] = record['image_dir']
    assert len({*directories.values()}) == 3
    generator = spade_jax.load(str(styled_run))
    scenes = [*generator.read_folder(f'{data}/val_label', photo_dir=f'{data}/val_img')]
    labels = np.stack([scene.labels for scene in scenes])
    own = generator(labels, style=generator.encode([scene.photo for scene in scenes]))
    one = generator(
        labels, style=spade_jax.sampling.styles.random_styles(4, 0, 0, np.zeros(3, int))
    )
    for rule, expected in (('photo', own), ('fixed', one)):
        for name, image in zip('012', expected, strict=True):
            found = np.asarray(Image.open(f'{directories[rule]}/{name}.png'))
            np.testing.assert_allclose(found, image.astype(int), atol=1)


def test_what_is_sampled_is_not_sampled_again(styled_run, monkeypatch):
    record, _ = evaluate(styled_run, '--seed=5')
    removed, kept = (f'{record["image_dir"]}/{name}.png' for name in '10')
    before, write_png = images_in(record), sample_files.write_png
    Image.fromarray(before['0'].astype(np.uint8)).save(kept)
    pathlib.Path(removed).unlink()
    written = []

    def recorded(path, image):
        written.append(path)
        write_png(path, image)

    monkeypatch.setattr(sample_files, 'write_png', recorded)
    record, _ = evaluate(styled_run, '--seed=5')
    assert written == [removed]
    for name, image in images_in(record).items():
        np.testing.assert_allclose(image, before[name], atol=1)


def test_given_images_replace_those_of_the_run(styled_run, tmp_path):
    for name in '012':
        Image.new('RGB', (32, 32)).save(tmp_path / f'{name}.png')
    records = read_scalars(str(styled_run))
    record, _ = evaluate(styled_run, f'--image_dir={tmp_path}')
    assert record['scores']['l1']['value'] > 0 and 'seed' not in record
    assert read_scalars(str(styled_run)) == records
    for name in '012':
        Image.new('RGB', (32, 32), 'red').save(tmp_path / f'{name}.png')
    record, _ = evaluate(styled_run, f'--image_dir={tmp_path}', '--evaluate=psnr')
    assert list(record['scores']) == ['psnr']  # The others were of other images.
    assert record['image_dir'] == str(tmp_path)


def test_log_has_no_scores_of_another_protocol_than_that_of_the_training(data, tmp_path):
    options = dict(dataset='folders', data_dir=str(data), evaluate_every=2, evaluate='l1')
    config = tiny.STYLED.replace(**options)
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    for flag in ('--weights=raw', '--style_rule=fixed', '--evaluate_examples=2'):
        evaluate(workdir, flag)
    assert not [entry for entry in read_scalars(str(workdir)) if 'l1' in entry]
    evaluate(workdir)
    assert 'l1' in read_scalars(str(workdir))[-1]


def test_scores_of_a_run_that_cannot_be_written_are_given(styled_run, tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('spade_jax.reports.run_log.append_scores', fail)
    flags = [f'--workdir={styled_run}', '--evaluate=l1', f'--output_dir={tmp_path}']
    result = run_inline('--mode=evaluate', *flags)
    assert result.status == 0 and (tmp_path / 'evaluation.json').exists()
    assert 'warning: the scores are not in the log of the run ([Errno 13]' in result.stderr


def test_damaged_examples_are_skipped(tmp_path):
    data = program.write_folders(tmp_path / 'data', count=3)
    (data / 'val_img' / '1.jpg').write_bytes(b'no image')
    config = tiny.STYLED.replace(dataset='folders', data_dir=str(data), on_bad_example='skip')
    record, _ = evaluate(tiny.write_checkpoint(config, tmp_path / 'run'))
    assert record['scores']['l1']['protocol'] == {'pairs': 2}


def test_runs_are_not_compared_inside_of_the_package(monkeypatch, tmp_path, styled_run):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate_command, '_of_run', lambda *_: None)
    monkeypatch.setattr(evaluate_command, '_evaluate', lambda *_: (None, None))
    monkeypatch.setattr('spade_jax.evaluation.runs_page.write', lambda _, path: (path, path))
    output = succeed_inline('--mode=evaluate', f'--workdir=demo,{styled_run}', '--evaluate=l1')
    assert 'Comparison: demo_evaluation, demo_evaluation' in output


def test_model_without_styles_has_none_to_choose(data, tmp_path):
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(data))
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    flags = ['--mode=evaluate', f'--workdir={workdir}', '--evaluate=l1']
    assert 'this model has no style latent' in refusal(*flags, '--style_rule=photo')
    assert 'this model has no style latent' in refusal(*flags, '--style_rule=fixed')


def test_label_maps_and_photos_may_be_given(styled_run, data, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'x')
    photos = tiny.write_photos(tmp_path / 'photos', 'x')
    record, _ = evaluate(styled_run, f'--label_dir={labels}', f'--photo_dir={photos}')
    assert record['scores']['l1']['protocol'] == {'pairs': 1}
    message = refusal(
        '--mode=evaluate', f'--workdir={styled_run}', '--evaluate=l1', f'--label_dir={labels}'
    )
    assert '--photo_dir is missing; give the directory of the real images' in message


def test_runs_are_compared_in_a_table_and_on_a_page(styled_run, data, tmp_path):
    config = tiny.STYLED.replace(dataset='folders', data_dir=str(data), init_gain=1.0)
    other = tiny.write_checkpoint(config, tmp_path / 'other')
    flags = ['--evaluate=l1,psnr', f'--output_dir={tmp_path}/scores']
    output = succeed_inline('--mode=evaluate', f'--workdir={styled_run},{other}', *flags)
    assert f'Comparison: {tmp_path}/scores/comparison.md' in output
    lines = (tmp_path / 'scores' / 'comparison.md').read_text().splitlines()
    assert lines[0] == '| score | styled | other |'
    values = [
        json.loads((tmp_path / 'scores' / name / 'evaluation.json').read_text())['scores']['l1']
        for name in ('styled', 'other')
    ]
    row = re.findall(r'([\d.-]+) \[([\d.-]+), ([\d.-]+)\]', lines[2])
    for (value, low, high), record in zip(row, values, strict=True):
        assert float(low) <= float(value) <= float(high)
        assert float(value) == pytest.approx(record['value'], rel=1e-3)
    difference = re.search(r'\| ([\d.-]+) \[', lines[3])
    expected = values[1]['value'] - values[0]['value']
    assert float(difference[1]) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    page = (tmp_path / 'scores' / 'comparison.html').read_text()
    assert page.count('<figure>') == 2 * 2 * 3  # Worst and best of both runs: all three.
    assert page.count('data:image/') == 3 * 12
    message = refusal('--mode=evaluate', f'--workdir={other},{other}', '--evaluate=l1')
    assert 'has a run twice' in message


def test_runs_of_one_name_have_their_own_results(data, tmp_path):
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(data))
    runs = [tiny.write_checkpoint(config, tmp_path / name / 'run') for name in 'ab']
    flags = ['--evaluate=l1', f'--output_dir={tmp_path}/scores']
    succeed_inline('--mode=evaluate', f'--workdir={runs[0]},{runs[1]}', *flags)
    assert '| a/run | b/run |' in (tmp_path / 'scores' / 'comparison.md').read_text()
    found = sorted(tmp_path.rglob('evaluation.json'))
    assert found == [tmp_path / 'scores' / name / 'run' / 'evaluation.json' for name in 'ab']


def test_page_shows_images_that_are_named_as_in_cityscapes(styled_run, data, tmp_path):
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(data))
    other = tiny.write_checkpoint(config, tmp_path / 'other')
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (32, 32)).save(tmp_path / 'images' / '1_leftImg8bit.png')
    flags = [f'--image_dir={tmp_path}/images', f'--output_dir={tmp_path}/scores']
    workdirs = f'--workdir={styled_run},{other}'
    succeed_inline('--mode=evaluate', workdirs, '--evaluate=psnr', *flags)
    page = (tmp_path / 'scores' / 'comparison.html').read_text()
    assert page.count('data:image/') == 3 * page.count('<figure>') > 0


def test_data_of_the_run_are_not_mixed_with_images(styled_run, data):
    flags = ['--mode=evaluate', f'--workdir={styled_run}', '--evaluate=l1']
    message = refusal(*flags, f'--output_dir={data}/val_img/scores')
    assert f'is inside of validation_image_dir={data}/val_img' in message


def test_missing_data_are_named(tmp_path):
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(tmp_path / 'gone'))
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    message = refusal('--mode=evaluate', f'--workdir={workdir}', '--evaluate=l1')
    assert f'there is no directory {tmp_path}/gone' in message and 'set --data_dir' in message


def test_diversity_is_the_distance_between_styles(styled_run, data, monkeypatch, tmp_path):
    class MeanDifference:
        def __init__(self, network, weights):
            pass

        def distance(self, image, other):
            return np.abs(image.astype(float) - other).mean()

        def protocol(self):
            return {}

    monkeypatch.setattr(comparison, 'Lpips', MeanDifference)
    flags = ['--evaluate=lpips_diversity', '--diversity_styles=3']
    record, _ = evaluate(styled_run, *flags)
    score = record['scores']['lpips_diversity']
    assert score['protocol'] == {'label_maps': 3, 'styles': 3}
    images = np.stack(
        [[*images_in(evaluate(styled_run, f'--seed={seed}')[0]).values()] for seed in range(3)]
    )
    pairs = [np.abs(images[i] - images[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert score['value'] == pytest.approx(np.mean(pairs), rel=1e-5)
    assert score['value'] > 0
    plain = tiny.PLAIN.replace(dataset='folders', data_dir=str(data))
    workdir = tiny.write_checkpoint(plain, tmp_path / 'run')
    message = refusal('--mode=evaluate', f'--workdir={workdir}', *flags)
    assert 'this model has no style latent; train one that has' in message
    images = record['image_dir']
    flags.append(f'--image_dir={images}')
    message = refusal('--mode=evaluate', f'--workdir={styled_run}', *flags)
    assert f'image_dir={images} has one image of each label map' in message
    assert message.endswith('; leave --image_dir out: the run samples images in several styles')


def test_label_maps_that_the_run_lacks_are_not_asked_for(data, tmp_path):
    options = dict(dataset='folders', data_dir=str(data), condition='rgb', dontcare=False)
    config = tiny.PLAIN.replace(**options)
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    network = ['--evaluate=miou', '--segmentation_network=drn_d_105']
    message = refusal('--mode=evaluate', f'--workdir={workdir}', *network)
    assert 'condition=rgb: the score needs label maps; choose scores that compare with' in message


def test_scores_of_the_same_images_are_collected(styled_run):
    evaluate(styled_run, '--seed=7')
    record, _ = evaluate(styled_run, '--seed=7', '--evaluate=psnr')
    assert list(record['scores']) == ['l1', 'psnr']
    record, _ = evaluate(styled_run, '--seed=8', '--evaluate=psnr')
    assert list(record['scores']) == ['psnr']


def test_images_without_condition_have_no_photos_of_their_own(data, tmp_path):
    options = dict(dataset='folders', data_dir=str(data), crop_size=16, load_size=16, gan_width=2)
    workdir = tiny.write_checkpoint(Config.create('gan', **options), tmp_path / 'run')
    message = refusal('--mode=evaluate', f'--workdir={workdir}', '--evaluate=l1')
    assert 'condition=none: an image has no photo of its own; choose scores of all im' in message
