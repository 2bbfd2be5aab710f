import json

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.config import option_fields
from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.evaluation import features
from spade_jax.evaluation.confusion import CONVENTIONS
from spade_jax.evaluation.features import Features
from spade_jax.evaluation.networks.inception_input import INPUT_MODES
from spade_jax.models import efficientnet
from tests.evaluation.golden_weights import recipe_state, shapes_of
from tests.fixtures.cli import refusal, run_inline, succeed_inline


def brightness(inputs):
    """Stands in for the networks: the mean of each input in all features."""
    dim = {299: 2048, efficientnet.SIZE: 1280}[inputs.shape[1]]
    return np.repeat(inputs.mean(axis=(1, 2, 3))[:, None], dim, axis=1)


@pytest.fixture
def directories(tmp_path, monkeypatch):
    """Six images, their photos and weights; the networks are replaced by `brightness`."""
    monkeypatch.setattr(Features, '_apply', staticmethod(brightness))
    monkeypatch.setattr(efficientnet, 'weights_path', lambda _: str(tmp_path / 'inception.npz'))
    monkeypatch.setattr(features, 'BATCH_SIZE', 2)
    random = np.random.default_rng(0)
    for side, ending, shift in (('images', 'png', 0), ('photos', 'png', 30)):
        (tmp_path / side).mkdir()
        for i in range(6):
            pixels = random.integers(0, 100, (16, 16, 3)) + 10 * i + shift
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / side / f'{i}.{ending}')
    (tmp_path / 'inception.npz').write_bytes(b'weights')
    return tmp_path


def scores_in(output_dir):
    content = (output_dir / 'evaluation.json').read_text()
    return json.loads(content, parse_constant=pytest.fail)['scores']


def flags_of(root, *more):
    directories = [f'--image_dir={root}/images', f'--photo_dir={root}/photos']
    outputs = [f'--output_dir={root}/scores', f'--feature_cache_dir={root}/cache']
    return ['--mode=evaluate', *directories, *outputs, *more]


def test_evaluate_writes_scores_with_their_protocol(directories):
    scores = '--evaluate=fid,kid,l1,psnr,ssim'
    weights = [f'--inception_weights={directories}/inception.npz', '--kid_subset_size=4']
    output = succeed_inline(*flags_of(directories, scores, *weights))
    record = scores_in(directories / 'scores')
    assert list(record) == ['fid', 'kid', 'l1', 'psnr', 'ssim']
    assert record['fid']['value'] > 0
    protocol = record['fid']['protocol']
    assert (protocol['mode'], protocol['images'], protocol['photos']) == ('pytorch_fid', 6, 6)
    assert len(protocol['weights_sha256']) == 64
    assert record['kid']['protocol']['subset_size'] == 4
    assert record['l1']['protocol'] == {'pairs': 6}
    for name, score in record.items():
        assert f'{name:<6} {score["value"]:.6g}' in output


def test_score_that_is_named_twice_is_computed_once(directories):
    output = succeed_inline(*flags_of(directories, '--evaluate=l1, l1'))
    assert output.count('mean absolute difference') == 1


def test_distances_of_lite0_say_that_they_are_not_fid(directories):
    scores = ['--evaluate=lite0_frechet,lite0_kernel', '--kid_subset_size=4']
    output = succeed_inline(*flags_of(directories, *scores))
    record = scores_in(directories / 'scores')
    assert 'not comparable with FID' in output and 'not comparable with KID' in output
    for score in record.values():
        assert score['value'] > 0
        protocol = score['protocol']
        assert protocol['network'] == 'EfficientNet-Lite0'
        assert protocol['input'] == '224x224 antialiased bicubic'
        assert len(protocol['weights_sha256']) == 64
    assert record['lite0_frechet']['protocol']['bias'] == 'upward, of 6 images for 1280 features'
    assert record['lite0_kernel']['protocol']['subset_size'] == 4


def test_fid_of_a_directory_with_itself_is_zero(directories):
    flags = [f'--inception_weights={directories}/inception.npz']
    succeed_inline(*flags_of(directories, *flags), f'--photo_dir={directories}/images')
    record = scores_in(directories / 'scores')
    assert record['fid']['value'] == pytest.approx(0, abs=1e-6)


def test_fid_to_statistics_of_photos_is_that_to_the_photos(directories):
    flags = [f'--inception_weights={directories}/inception.npz']
    succeed_inline(*flags_of(directories, *flags))
    expected = scores_in(directories / 'scores')['fid']['value']
    (photos,) = [
        rows
        for rows in (np.load(file) for file in (directories / 'cache').iterdir())
        if rows[0, 0] > -0.4
    ]
    statistics = dict(mu=photos.mean(0, dtype=float), sigma=np.cov(photos.T.astype(float)))
    np.savez(directories / 'photos.npz', **statistics)
    succeed_inline(*flags_of(directories, *flags, f'--photo_statistics={directories}/photos.npz'))
    found = scores_in(directories / 'scores')['fid']['value']
    assert found == pytest.approx(expected, rel=1e-6)


_STATISTICS_OF_TEXT = [
    *('--inception_weights={root}/inception.npz', '--photo_statistics={root}/scores/notes.txt')
]


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--image_dir=', '--evaluate=l1'], '--image_dir is missing'),
        (['--evaluate=miou'], '--label_dir is missing; give the directory of the label maps'),
        (['--evaluate=, '], 'evaluate=,  names no score; use fid, kid, lpips'),
        (['--workdir=,'], 'workdir=, names no run; give the directory of the run'),
        (['--evaluate=fit'], 'evaluate=fit is no score; use fid, kid, lpips'),
        ([], 'need the weights of Inception; download https://github.com/mseitzer/pytorch-fid'),
        (['--evaluate=lpips'], 'download https://download.pytorch.org/models/alexnet-owt'),
        (
            ['--evaluate=kid', '--inception_weights={root}/inception.npz'],
            'kid_subset_size=1000 with 6 images on one side; use --kid_subset_size=6 or less',
        ),
        (
            ['--evaluate=fid', *_STATISTICS_OF_TEXT],
            'notes.txt cannot be read (not an .npz file); give an .npz of mu and sigma',
        ),
        (['--image_dir={root}/nowhere'], 'nowhere is not a directory'),
        (['--image_dir={root}/scores'], 'has no images, but 1 .txt'),
        (['--photo_dir=', '--evaluate=l1'], '--photo_dir is missing'),
    ],
)
def test_unusable_input_is_refused(flags, message, directories):
    (directories / 'scores').mkdir()
    (directories / 'scores' / 'notes.txt').write_text('')
    flags = [flag.format(root=directories) for flag in flags]
    assert message in refusal(*flags_of(directories), *flags)


def test_image_without_photo_is_named(directories):
    (directories / 'photos' / '3.png').unlink()
    message = refusal(*flags_of(directories, '--evaluate=ssim'))
    assert '1 of 6 images have no photo of their name (3)' in message


@pytest.mark.parametrize('side', ['images', 'photos'])
def test_two_files_of_one_name_are_refused(side, directories):
    Image.new('RGB', (16, 16)).save(directories / side / '2.jpg')
    message = refusal(*flags_of(directories, '--evaluate=l1'))
    names = f'{side}/2.jpg and {directories}/{side}/2.png'
    assert f'{names} have one name; remove one of them' in message


def test_images_that_are_too_small_for_a_score_are_refused(directories):
    shapes = shapes_of('lpips')['alex']['backbone']
    np.savez(directories / 'alexnet.npz', **recipe_state(shapes))
    flags = ['--evaluate=lpips', f'--lpips_weights={directories}/alexnet.npz']
    message = refusal(*flags_of(directories, *flags))
    assert 'images/0.png: lpips_network=alex needs 31 pixels or more on each side' in message
    for side in ('images', 'photos'):
        for path in (directories / side).iterdir():
            Image.open(path).resize((40, 10)).save(path)
    message = refusal(*flags_of(directories, '--evaluate=ssim'))
    assert 'images/0.png: ssim needs 11 pixels or more on each side; leave ssim out' in message


def test_weights_that_are_not_finite_are_refused(directories):
    state = recipe_state(shapes_of('lpips')['alex']['backbone'])
    np.savez(directories / 'alexnet.npz', **state | {'features.0.bias': np.full(64, np.nan)})
    flags = ['--evaluate=lpips', f'--lpips_weights={directories}/alexnet.npz']
    assert 'features.0.bias is not finite' in refusal(*flags_of(directories, *flags))


def test_pairs_of_different_sizes_are_named(directories):
    Image.new('RGB', (8, 16)).save(directories / 'photos' / '2.png')
    message = refusal(*flags_of(directories, '--evaluate=l1'))
    assert 'photos/2.png have 16x16 and 8x16 pixels' in message


def test_lossy_side_is_warned_of(directories):
    for i in range(6):
        Image.new('RGB', (16, 16)).save(directories / 'photos' / f'{i}.jpg')
        (directories / 'photos' / f'{i}.png').unlink()
    result = run_inline(*flags_of(directories, '--evaluate=l1'))
    assert result.status == 0
    assert 'photo_dir has .jpg files, the other side has none' in result.stderr


def test_lpips_reads_published_files(directories):
    shapes = shapes_of('lpips')['alex']['backbone']
    np.savez(directories / 'alexnet.npz', **recipe_state(shapes))
    for side in ('images', 'photos'):  # The backbone needs 31 pixels or more.
        for path in (directories / side).iterdir():
            Image.open(path).resize((64, 64)).save(path)
    flags = ['--evaluate=lpips', f'--lpips_weights={directories}/alexnet.npz']
    succeed_inline(*flags_of(directories, *flags))
    record = scores_in(directories / 'scores')
    assert record['lpips']['value'] > 0
    assert record['lpips']['protocol']['network'] == 'alex'


def test_mean_iou_of_predicted_label_maps(tmp_path):
    labels, predictions = [[0, 0, 1, 1]], [[0, 1, 1, 1]]
    for name, ids in (('labels', labels), ('predictions', predictions)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.array(ids, np.uint8)).save(tmp_path / name / 'a.png')
    directories = [f'--prediction_dir={tmp_path}/predictions', f'--label_dir={tmp_path}/labels']
    flags = [f'--output_dir={tmp_path}', '--iou_classes=3', '--iou_mean=all']
    succeed_inline('--mode=evaluate', '--evaluate=miou', *directories, *flags)
    record = scores_in(tmp_path)['miou']
    assert record['value'] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert record['protocol']['pixel_accuracy'] == 3 / 4
    flags = [f'--output_dir={tmp_path}', '--iou_classes=1']
    message = refusal('--mode=evaluate', '--evaluate=miou', *directories, *flags)
    assert 'predictions/a.png' in message and 'predictions of 0 to 1 with 1 classes' in message


def test_choices_of_flags_are_those_of_the_scores():
    choices = {
        name: field.metadata['choices'] for name, field in option_fields(EvaluationConfig).items()
    }
    assert choices['fid_mode'] == tuple(INPUT_MODES)
    assert choices['iou_mean'] == ('protocol', *CONVENTIONS)


def test_gallery_beside_samples_is_not_read(directories):
    Image.new('RGB', (9, 9)).save(directories / 'images' / 'contact_sheet.png')
    (directories / 'images' / 'gallery' / 'labels').mkdir(parents=True)
    Image.new('RGB', (9, 9)).save(directories / 'images' / 'gallery' / 'labels' / '0.png')
    succeed_inline(*flags_of(directories, '--evaluate=l1'))
    record = scores_in(directories / 'scores')
    assert record['l1']['protocol'] == {'pairs': 6}


def test_equal_images_have_infinite_psnr(directories):
    flags = ['--evaluate=psnr', f'--photo_dir={directories}/images']
    result = run_inline(*flags_of(directories, *flags))
    assert (result.status, 'Warning' in result.stderr) == (0, False)
    record = scores_in(directories / 'scores')
    assert (record['psnr']['value'], record['psnr']['deviation']) == ('inf', None)


def test_sizes_that_differ_are_warned_of(directories):
    Image.new('RGB', (16, 24)).save(directories / 'images' / 'other.png')
    flags = ['--evaluate=fid', f'--inception_weights={directories}/inception.npz']
    warning = run_inline(*flags_of(directories, *flags)).stderr
    assert 'image_dir has images of 2 sizes (6 of 16x16, 1 of 16x24)' in warning
    (directories / 'images' / 'other.png').unlink()
    for path in (directories / 'photos').iterdir():
        Image.open(path).resize((8, 8)).save(path)
    warning = run_inline(*flags_of(directories, *flags)).stderr
    assert 'image_dir has images of 16x16 pixels, photo_dir of 8x8' in warning


def test_weights_of_another_network_are_recognized(directories):
    np.savez(directories / 'drn.npz', **{'base.0.0.weight': np.zeros((16, 3, 7, 7), np.float32)})
    flags = ['--evaluate=lpips', f'--lpips_weights={directories}/drn.npz']
    message = refusal(*flags_of(directories, *flags))
    assert 'drn.npz does not fit (it looks like DRN): features.0.weight is missing' in message
