"""--mode=evaluate with a segmentation network, here one that reads the classes from the colors."""

import json

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.config import option_fields
from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.evaluation import segmenters
from spade_jax.evaluation.comparison import Comparison, Sides
from spade_jax.evaluation.confusion import CONVENTIONS
from spade_jax.evaluation.image_sets import ImageFolder, LabelFiles
from spade_jax.evaluation.scores import SCORES
from spade_jax.evaluation.segmentation_protocols import PROTOCOLS
from spade_jax.evaluation.segmenters import NETWORKS
from tests import program
from tests.fixtures.cli import refusal, succeed_inline
from tests.sampling import tiny


class Colors:
    """Finds class c where red is 10 c; keeps what it was asked."""

    num_classes = 19

    def __init__(self, *files):
        self.files, self.asked = files, []

    def protocol(self):
        return {'network': 'colors'}

    def predict(self, image, size=None, multi_scale=False):
        self.asked.append((image.shape[:2], size, multi_scale))
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, image.shape, strict=False))
        return image[rows][:, columns, 0].astype(np.int32) // 10


@pytest.fixture
def network(monkeypatch):
    """DRN is replaced by `Colors`."""
    colors = Colors()
    row = NETWORKS['drn_d_105']._replace(load=lambda *files: colors)
    monkeypatch.setitem(segmenters.NETWORKS, 'drn_d_105', row)
    return colors


# Label ids of road, sidewalk and building, and none; their classes are 0, 1 and 2.
IDS = np.array([[7, 8, 11, 4], [8, 8, 11, 4]], np.uint8)
RED = np.array([[0, 10, 20, 0], [10, 10, 0, 0]], np.uint8)


@pytest.fixture
def directories(tmp_path):
    """Two images 4x2, named as those of Cityscapes, with label maps of four times the size."""
    for name in ('images', 'labels'):
        (tmp_path / name / 'ulm').mkdir(parents=True)
    for i, (ids, red) in enumerate(((IDS, RED), (IDS[::-1], RED[::-1]))):
        label = np.kron(ids, np.ones((4, 4), np.uint8))
        Image.fromarray(label).save(tmp_path / f'labels/ulm/{i}_gtFine_labelIds.png')
        instances = Image.fromarray(label.astype(np.uint16) * 1000 + 1)
        instances.save(tmp_path / f'labels/ulm/{i}_gtFine_instanceIds.png')
        Image.new('RGBA', (16, 8)).save(tmp_path / f'labels/ulm/{i}_gtFine_color.png')
        image = np.stack([red] * 3, axis=-1)
        Image.fromarray(image).save(tmp_path / f'images/ulm/{i}_leftImg8bit.png')
    return tmp_path


def flags_of(root, *more):
    directories = [f'--image_dir={root}/images', f'--label_dir={root}/labels']
    network = ['--segmentation_network=drn_d_105', f'--output_dir={root}/scores']
    return ['--mode=evaluate', '--evaluate=miou', *directories, *network, *more]


def miou_of(root, *more):
    output = succeed_inline(*flags_of(root, *more))
    return json.loads((root / 'scores' / 'evaluation.json').read_text())['scores']['miou'], output


def test_images_are_segmented_and_compared_with_their_label_maps(directories, network):
    score, output = miou_of(directories)
    assert score['value'] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    protocol = score['protocol']
    assert protocol['pixel_accuracy'] == pytest.approx(5 / 6)
    assert protocol['pixel_accuracy_with_unlabeled_as_wrong'] == pytest.approx(5 / 8)
    assert protocol['mean_accuracy'] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert (protocol['network'], protocol['images']) == ('colors', 2)
    assert network.asked == 2 * [((2, 4), (2, 4), False)]
    for choice in ('input=as_generated', 'compare=image_size', 'scales=one'):
        assert choice in output


def test_protocol_of_a_paper_sets_the_choices(directories, network):
    score, _ = miou_of(directories, '--protocol=gan_compression')
    assert network.asked == 2 * [((2, 4), (8, 16), False)]
    assert score['protocol']['compare'] == 'label_size'
    assert score['protocol']['pixel_accuracy'] == pytest.approx(5 / 6)


def test_flag_overrides_the_protocol_and_assumptions_are_named(directories, network):
    flags = ['--protocol=oasis', '--segmentation_compare=label_size', '--iou_mean=all']
    score, output = miou_of(directories, *flags, '--segmentation_input=label_size')
    assert network.asked == 2 * [((8, 16), (8, 16), False)]
    assert score['protocol']['scales'] == 'not published; assumed one'
    assert 'scales=not published; assumed one' in output
    assert 'mean_over=all' in output


def test_several_scales_are_asked_of_the_network(directories, network):
    miou_of(directories, '--segmentation_scales=several')
    assert [several for _, _, several in network.asked] == [True, True]


def test_score_of_some_of_the_images_is_that_of_their_sum(directories, network):
    Image.new('L', (16, 8)).save(directories / 'labels/ulm/2_gtFine_labelIds.png')
    Image.new('RGB', (4, 2)).save(directories / 'images/ulm/2_leftImg8bit.png')
    red = np.stack([RED * (RED == 20)] * 3, axis=-1)  # Buildings alone.
    Image.fromarray(red).save(directories / 'images/ulm/0_leftImg8bit.png')
    folders = [directories / name for name in ('images', 'labels')]
    sides = Sides(ImageFolder('', str(folders[0])), labels=LabelFiles('', str(folders[1]), 0))
    config = EvaluationConfig(segmentation_network='drn_d_105')
    values, score_of = SCORES['miou'].compute(Comparison(sides, config, ['miou'])).per_image
    np.testing.assert_allclose(values, [(1 / 5 + 0 + 1 / 2) / 3, (1 / 2 + 1 + 1 / 2) / 3, np.nan])
    assert score_of(np.array([1, 2, 1])) == pytest.approx(values[1])
    assert score_of(np.array([0, 1, 2])) == pytest.approx((2 / 7 + 3 / 6 + 2 / 4) / 3)


@pytest.mark.parametrize(
    'compare, first', [('image_size', 2), ('image_size_pytorch', 0), ('label_size', None)]
)
def test_label_maps_are_reduced_to_their_nearest_pixels(directories, network, compare, first):
    for i, (ids, red) in enumerate(((IDS, RED), (IDS[::-1], RED[::-1]))):
        label = np.full((8, 16), 26, np.uint8)  # Cars, which the images do not have.
        if first is not None:
            label[first::4, first::4] = np.where(ids == 4, 4, np.array([7, 8, 11])[red // 10])
        Image.fromarray(label).save(directories / f'labels/ulm/{i}_gtFine_labelIds.png')
    score, _ = miou_of(directories, f'--segmentation_compare={compare}')
    assert score['protocol']['pixel_accuracy'] == (0 if first is None else 1)


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--label_dir='], '--label_dir is missing'),
        (['--prediction_dir={root}/images'], '--prediction_dir and segmentation_network=drn'),
        (['--segmentation_network=none'], '--prediction_dir is missing'),
        (
            ['--segmentation_weights=a,b'],
            'segmentation_weights=a,b: 2 instead of 1; give the files of drn_d_105',
        ),
        (['--segmentation_network=upernet101'], 'download encoder_epoch_50.pth'),
        (['--segmentation_network=deeplab_v2'], 'deeplabv2_resnet101_msc-cocostuff164k-100000'),
    ],
)
def test_unusable_flags_are_refused(directories, network, flags, message):
    flags = [flag.format(root=directories) for flag in flags]
    assert message in refusal(*flags_of(directories, *flags))


def test_label_map_of_another_numbering_is_named(directories, network):
    ids = np.full((8, 16), 24007, np.uint16)
    Image.fromarray(ids).save(directories / 'labels/ulm/1_gtFine_labelIds.png')
    message = refusal(*flags_of(directories))
    assert 'ulm/1_gtFine_labelIds.png: the id 24007 is not among those of Cityscapes' in message


def test_label_maps_of_a_run_are_read_in_the_numbering_of_their_files(network, tmp_path):
    data = program.write_folders(tmp_path / 'data', count=2)
    # With the ids of the run, all 0, no pixel would have a class.
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(data), label_remap='*:0')
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    flags = ['--evaluate=miou', '--segmentation_network=drn_d_105']
    for path in (data / 'val_label').iterdir():
        Image.new('L', Image.open(path).size, 7).save(path)
    succeed_inline('--mode=evaluate', f'--workdir={workdir}', *flags)
    assert network.asked == 2 * [((32, 32), (32, 32), False)]


def test_choices_of_flags_are_those_of_the_score():
    choices = {
        name: field.metadata['choices'] for name, field in option_fields(EvaluationConfig).items()
    }
    assert choices['segmentation_network'] == ('none', *NETWORKS)
    assert choices['protocol'] == tuple(PROTOCOLS)
    assert choices['iou_mean'] == ('protocol', *CONVENTIONS)
