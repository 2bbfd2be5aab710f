"""The report on a data set: every kind of defect, all of them at once, and flags that fix them."""

import dataclasses
import errno
import io
import json
import os
import sys
import typing
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.catalog import builtin_palette
from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import read_palette
from spade_jax.data.files.palette import classes_of
from spade_jax.data.sources.folders import FolderSource
from spade_jax.data.sources.open_source import check_source
from spade_jax.data.validation import contact_sheet, example_report, inspect, suggestions
from spade_jax.data.validation import report as report_module
from spade_jax.data.validation.blends import blended_colors
from spade_jax.data.validation.lossy_ids import has_stray_ids
from spade_jax.data.validation.report import validate
from spade_jax.errors import UserError
from tests.program import write_folders

SIZE = (40, 44)  # Height and width of the images of `write_folders`.
COLORS = np.array([[0, 0, 0], [250, 10, 10], [10, 250, 10]], np.uint8)
FOLDERS = dict(dataset='folders', num_classes=3, load_size=36, crop_size=32, data_workers=2)


def config_of(root, **changes):
    return DataConfig(**(FOLDERS | {'data_dir': str(root)} | changes))


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


def load(path):
    return np.asarray(Image.open(path)).copy()


def noise(seed=0, size=SIZE, channels=(3,)):
    return np.random.default_rng(seed).integers(0, 256, (*size, *channels)).astype(np.uint8)


def recode(root, change, splits=('train', 'val')):
    """Replace each label map by `change(label map)`."""
    for split in splits:
        for path in sorted((root / f'{split}_label').iterdir()):
            save(path, change(load(path)))


def rename(root, photo, label):
    """Rename the files of both splits; '{}' stands for the number."""
    for split in ('train', 'val'):
        for number in range(6):
            old = root / f'{split}_img' / f'{number}.jpg'
            old.rename(old.with_stem(photo.format(number)))
            old = root / f'{split}_label' / f'{number}.png'
            old.rename(old.with_stem(label.format(number)))


def look(config, output_dir, **options):
    """Return the report as JSON, and the message of the error or None."""
    message = None
    try:
        validate(config, str(output_dir), **({'given': {}} | options))
    except UserError as error:
        message = str(error)
    return json.loads((output_dir / 'report.json').read_text()), message


def groups(report, split='train', what='defects'):
    """Return {kind: problems}."""
    found = report['splits'][split][what]
    return {group['kind']: [file['problem'] for file in group['files']] for group in found}


def flags(report):
    return [flag for suggestion in report['suggestions'] for flag in suggestion['flags']]


def with_flags(config, given):
    """Return the configuration with these flags of a command line."""
    types = typing.get_type_hints(DataConfig)
    changes = {}
    for flag in given:
        name, _, value = flag.strip("'").removeprefix('--').partition('=')
        if name == 'palette':
            changes[name] = read_palette(builtin_palette(value) or value)
        elif value:
            changes[name] = types[name](value)
        else:
            changes[name.removeprefix('no')] = not name.startswith('no')
    return dataclasses.replace(config, **changes)


def fix(config, output_dir):
    """Return the report; with the suggested flags there must be no more defects."""
    report, message = look(config, output_dir)
    assert message is not None
    again, message = look(with_flags(config, flags(report)), output_dir.with_name('again'))
    assert message is None, json.dumps(again, indent=1)
    return report


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / 'data')


@pytest.fixture
def output_dir(tmp_path):
    return tmp_path / 'report'


# The report.


def test_report_counts_files_and_ids(root, output_dir):
    report, message = look(config_of(root), output_dir)
    assert message is None
    assert report['splits']['train'] == {
        'photos': 6,
        'label_maps': 6,
        'examples': 6,
        'sizes': [[44, 40, 6]],
        'defects': [],
        'warnings': [],
        'ids_out_of_range': [],
    }
    labels = np.stack([load(path) for path in (root / 'train_label').iterdir()])
    pixels = [entry['train']['pixels'] for entry in report['classes']]
    assert pixels == np.bincount(labels.ravel()).tolist()
    images = [entry['train']['images'] for entry in report['classes']]
    assert images == [int((labels == number).any((1, 2)).sum()) for number in range(3)]


def test_terminal_shows_training_command_for_good_data(root, output_dir, capsys):
    given = dict(dataset='folders', data_dir=str(root), flip=False, output_dir='x')
    look(config_of(root), output_dir, given=given, extra_flags=['--perceptual_weight=0'])
    printed = capsys.readouterr().out
    assert 'train: 6 photos, 6 label maps, 6 complete pairs\n  sizes: 44x40 (6)' in printed
    assert f'Contact sheet: {output_dir}/contact_sheet.png' in printed
    assert printed.endswith(
        'The data are fine. To train:\n'
        '  python -m spade_jax.main --workdir=runs/data --dataset=folders '
        f'--data_dir={root} --noflip --perceptual_weight=0\n'
    )


def test_command_for_bad_data_validates_with_suggested_flags(root, output_dir):
    recode(root, lambda label: label * 2)
    given = dict(workdir='runs/x', dataset='folders', num_classes=3, output_dir='a b')
    report, _ = look(config_of(root), output_dir, given=given, extra_flags=['--x'])
    assert report['command'] == (
        'python -m spade_jax.main --mode=validate_data --workdir=runs/x --dataset=folders '
        "--num_classes=5 '--output_dir=a b'"
    )


def test_text_has_table_of_classes(root, output_dir):
    quarter = np.where(np.arange(44) < 11, 0, 1).astype(np.uint8)
    recode(root, lambda label: quarter + np.zeros_like(label))
    look(config_of(root, num_classes=2), output_dir)
    lines = (output_dir / 'report.txt').read_text().splitlines()
    header, first, second = lines[lines.index('Classes') + 1 :][:3]
    assert header.split()[:5] == ['id', 'name', 'train', 'pixels', 'images']
    assert first.split()[:7] == ['0', 'class', '0', '25.00%', '6', '25.00%', '6']
    assert (first.count('#'), second.count('#')) == (13, 40)
    assert first.index('class') == second.index('class')


def damage_everything(root):
    """One defect of each kind in the training set, 25 of one kind in the validation set."""
    label = load(root / 'train_label' / '0.png')
    content = (root / 'train_img' / '0.jpg').read_bytes()
    (root / 'train_img' / '0.jpg').write_bytes(content[:600])
    (root / 'train_label' / '1.png').write_bytes(b'no image')
    save(root / 'train_label' / '2.png', noise())
    save(root / 'train_label' / '3.png', label[:20])
    label[7, 5], label[9, 2:6] = 200, 255
    save(root / 'train_label' / '4.png', label)
    (root / 'train_label' / '5.png').unlink()
    save(root / 'train_label' / '5.jpg', label)
    save(root / 'train_img' / '6.png', noise())
    save(root / 'train_img' / '0.png', noise())
    save(root / 'train_label' / 'nobody.png', label)
    for number in range(25):
        save(root / 'val_img' / f'alone{number:02}.jpg', noise())


def test_all_defects_are_found_at_once(root, output_dir):
    damage_everything(root)
    report, message = look(config_of(root, preprocess_mode='scale_width_and_crop'), output_dir)
    train = groups(report)
    expected = {
        'photos cannot be read': ['train_img/0.jpg'],
        'label maps cannot be read': ['train_label/1.png', 'not an image file'],
        example_report.COLORED: ['train_label/2.png'],
        'photos and label maps have different sizes': ['train_img/3.jpg', '44x40', '44x20'],
        example_report.OUT_OF_RANGE: [
            'train_label/4.png: id 200 in 1 pixels, first at (x=5, y=7); '
            'id 255 in 4 pixels, first at (x=2, y=9); the classes are 0..2'
        ],
        example_report.WRONG_SIZE: ['train_label/3.png', '44x20'],
        suggestions.LOSSY: ['train_label/5.jpg'],
        'photos have no label map': ['train_img/6.png'],
        'photos are there twice': ['train_img/0.jpg', 'train_img/0.png'],
    }
    assert train.keys() == expected.keys()
    for kind, texts in expected.items():
        assert len(train[kind]) == 1
        for text in texts:
            assert text in train[kind][0]
    assert len(groups(report, 'validation')['photos have no label map']) == 25
    assert '34 defects in ' in message
    assert f'the list is in {output_dir}/report.txt' in message


def test_counts_include_files_without_partner(root, output_dir):
    damage_everything(root)
    report, _ = look(config_of(root), output_dir)
    train = report['splits']['train']
    assert (train['photos'], train['label_maps'], train['examples']) == (7, 7, 5)
    warnings = groups(report, what='warnings')
    assert warnings[inspect.WITHOUT_PHOTO] == [f'{root}/train_label/nobody.png has no photo']
    assert train['ids_out_of_range'] == [
        {'id': 200, 'files': 1, 'pixels': 1},
        {'id': 255, 'files': 1, 'pixels': 4},
    ]


def test_terminal_shows_twenty_findings_of_a_kind(root, output_dir, capsys):
    damage_everything(root)
    look(config_of(root), output_dir)
    printed, written = capsys.readouterr().out, (output_dir / 'report.txt').read_text()
    assert 'and 5 more; all are in report.txt' in printed
    assert 'alone19' in printed
    assert 'alone20' not in printed
    assert 'alone24' in written
    assert 'and 5 more;' not in written


def test_every_defect_has_a_remedy(root, output_dir):
    damage_everything(root)
    report, _ = look(config_of(root, preprocess_mode='scale_width_and_crop'), output_dir)
    for group in report['splits']['train']['defects']:
        remedies = [file['remedy'] for file in group['files']]
        # The suggested flags fix the size.
        assert all(remedies) or group['kind'] == example_report.WRONG_SIZE, group


def test_text_sums_up_ids_over_the_files(root, output_dir):
    recode(root, lambda label: np.where(label == 2, 150, label).astype(np.uint8))
    report, _ = look(config_of(root), output_dir)
    (seen,) = report['splits']['train']['ids_out_of_range']
    assert (seen['id'], seen['files']) == (150, 6)
    line = f'id 150: 6 files, {seen["pixels"]:,} pixels'
    assert line in (output_dir / 'report.txt').read_text()


# Number of classes.


@pytest.mark.parametrize(
    'change, settings, expected',
    [
        (lambda label: label * 2, {}, ['--num_classes=5']),
        (lambda label: label + 1, {}, ['--num_classes=4']),
        (lambda label: np.where(label == 2, 255, label), dict(num_classes=2), ['--dontcare']),
        (
            lambda label: np.where(label == 2, 255, label * 3),
            dict(num_classes=2),
            ['--num_classes=4', '--dontcare'],
        ),
        (lambda label: label.astype(np.uint16) * 400, {}, ['--num_classes=801']),
        (
            lambda label: label.astype(np.uint16) + 298,
            dict(dontcare=True),
            ['--num_classes=301', '--nodontcare'],
        ),
    ],
)
def test_number_of_classes_is_suggested(root, output_dir, change, settings, expected):
    recode(
        root,
        lambda label: change(label).astype(np.uint16 if change(np.array(2)).max() > 256 else 'u1'),
    )
    assert flags(fix(config_of(root, **settings), output_dir)) == expected


def test_ids_of_both_splits_count(root, output_dir):
    recode(root, lambda label: label * 2, splits=['val'])
    assert flags(fix(config_of(root), output_dir)) == ['--num_classes=5']


@pytest.mark.parametrize(
    'change, given, expected',
    [
        (lambda label: label, {}, ['--num_classes=3']),
        (lambda label: label * 2, {}, ['--num_classes=5']),
        (lambda label: np.where(label == 2, 255, label), {}, ['--num_classes=2', '--dontcare']),
        (lambda label: label + 253, {}, ['--num_classes=256']),
    ],
)
def test_classes_are_counted(root, output_dir, change, given, expected):
    recode(root, lambda label: change(label).astype(np.uint8))
    config = config_of(root, num_classes=13, **given)
    report, message = look(config, output_dir, given=given, count_classes=True)
    assert message is None
    assert flags(report) == expected
    assert ' '.join(expected) in report['command']


def test_white_of_binary_masks_is_a_class(root, output_dir):
    recode(root, lambda label: np.where(label, 255, 0).astype(np.uint8))
    report, message = look(config_of(root), output_dir, given={}, count_classes=True)
    assert message is None
    assert flags(report) == ['--num_classes=2', '--label_remap=255:1']
    advice = report['suggestions'][0]['advice']
    assert advice == 'if 255 means unknown: --num_classes=1 --dontcare'


def through_jpeg(label):
    file = io.BytesIO()
    Image.fromarray(label).save(file, 'JPEG', quality=80)
    return np.asarray(Image.open(file))


def test_mask_that_was_a_jpeg_file_is_named_and_its_ids_are_no_classes(root, output_dir):
    y, x = np.indices(SIZE)
    mask = np.where((x - 20) ** 2 + (y - 20) ** 2 < 150, 255, 0).astype(np.uint8)
    recode(root, lambda label: mask)
    path = root / 'train_label' / '3.png'
    save(path, through_jpeg(mask))
    assert len(np.unique(load(path))) > 10
    report, message = look(config_of(root), output_dir, given={}, count_classes=True)
    (problem,) = groups(report, what='warnings')[example_report.STRAY_IDS]
    assert problem.startswith(str(path))
    assert flags(report)[:2] == ['--num_classes=2', '--label_remap=255:1']
    assert message is not None
    assert [name for name in (output_dir / 'train_list.txt').read_text().split()] == [*'01245']


@pytest.mark.parametrize('size', [32, 128])
def test_rare_classes_and_noise_are_not_stray_ids(size):
    random = np.random.default_rng(0)
    noise = random.integers(0, 30, (size, size)).astype(np.uint8)
    assert not has_stray_ids(noise, Counter(noise.ravel().tolist()))
    label = np.zeros((size, size), np.uint8)
    for number in range(1, 20):  # Small areas, poles and single pixels of rare classes.
        y, x = random.integers(0, size - 4, 2)
        label[y : y + 3, x : x + 2] = number
    label[:, size // 2], label[5, 7] = 20, 21
    assert not has_stray_ids(label, Counter(label.ravel().tolist()))


def test_gray_levels_are_numbered_anew(root, output_dir):
    recode(root, lambda label: (label * 100 + 5 * (label == 1)).astype(np.uint8))
    report, message = look(config_of(root), output_dir, given={}, count_classes=True)
    assert message is None
    assert flags(report) == ['--num_classes=3', '--label_remap=105:1,200:2']
    advice = report['suggestions'][0]['advice']
    assert advice == 'if ids between them are classes too: --num_classes=201'
    assert ' '.join(flags(report)) in report['command']
    assert [entry['id'] for entry in report['classes']] == [0, 1, 2]
    assert report['splits']['train']['warnings'] == []


def test_unknown_pixels_are_no_gray_level(root, output_dir):
    recode(root, lambda label: np.array([0, 128, 255], np.uint8)[label])
    given = dict(dontcare=True)
    report, _ = look(config_of(root, dontcare=True), output_dir, given=given, count_classes=True)
    assert '--num_classes=2' in flags(report) and '--label_remap=128:1' in flags(report)


def test_given_dontcare_is_not_counted(root, output_dir):
    recode(root, lambda label: np.where(label == 2, 255, label).astype(np.uint8))
    given = dict(dontcare=False)
    report, message = look(config_of(root), output_dir, given=given, count_classes=True)
    assert message is not None
    assert len(groups(report)[example_report.OUT_OF_RANGE]) == 6


def test_suggested_number_of_classes_covers_any_ids():
    random = np.random.default_rng(0)
    for _ in range(200):
        limit = int(random.choice([3, 20, 254, 260, 400, 65536]))
        count = min(limit, int(random.integers(1, 40)))
        present = sorted({*random.choice(limit, count, replace=False).tolist(), 255})
        num_classes, dontcare = int(random.integers(1, 200)), bool(random.integers(2))
        config = DataConfig(dataset='folders', num_classes=num_classes, dontcare=dontcare)
        report = inspect.SplitReport('train', label_maps=1, names=['x'])
        example = example_report.ExampleReport('x', 'x.png', pixels=dict.fromkeys(present, 1))
        report.add(0, example)
        changes = suggestions.merge_changes(suggestions.suggest(config, [report], '/'))
        fixed = dataclasses.replace(config, **changes)
        assert all(example_report.is_class(value, fixed) for value in present), (present, config)


def put_id(root, value, pixels=5):
    """Write an id into one label map."""
    label = load(root / 'train_label' / '3.png')
    label.ravel()[:pixels] = value
    save(root / 'train_label' / '3.png', label)


@pytest.mark.parametrize('count_classes', [True, False])
def test_far_id_in_one_file_is_suspect(root, output_dir, count_classes):
    put_id(root, 200, pixels=900)
    report, message = look(config_of(root), output_dir, count_classes=count_classes)
    assert message.startswith('1 defect in 1 file')
    counted = ['--num_classes=3'] * count_classes
    assert flags(report) == [*counted, f'--train_list={output_dir}/train_list.txt']
    assert 'probably mistakes: ids 200' in report['suggestions'][-1]['reason']
    assert (output_dir / 'train_list.txt').read_text().split() == ['0', '1', '2', '4', '5']


def test_next_id_in_one_file_is_a_class(root, output_dir):
    put_id(root, 3)
    assert flags(fix(config_of(root), output_dir)) == ['--num_classes=4']


def test_suspect_ids_are_left_out_of_the_number_of_classes(root, output_dir):
    recode(root, lambda label: label * 2)
    put_id(root, 200)
    expected = ['--num_classes=5', f'--train_list={output_dir}/train_list.txt']
    assert flags(fix(config_of(root), output_dir)) == expected


# Palettes.


def test_color_masks_get_a_draft_of_a_palette(root, output_dir):
    recode(root, lambda label: COLORS[label])
    config = config_of(root, num_classes=13)
    report = fix(config, output_dir)
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    assert len(groups(report)[example_report.COLORED]) == 6
    colors = classes_of(with_flags(config, flags(report))).colors
    assert colors.tolist() == sorted(COLORS.tolist())


def smooth_slightly(colors):
    """The mean of each pixel and three neighbors, as anti-aliasing draws borders."""
    padded = np.pad(colors.astype(int), ((0, 1), (0, 1), (0, 0)), mode='edge')
    rows = padded[1:] + padded[:-1]
    return ((rows[:, 1:] + rows[:, :-1]) // 4).astype(np.uint8)


def test_blends_of_smoothed_masks_are_no_classes(root, output_dir):
    recode(root, lambda label: smooth_slightly(COLORS[label]))
    report, _ = look(config_of(root), output_dir)
    (suggestion,) = report['suggestions']
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    draft = json.loads((output_dir / 'palette.json').read_text())['classes']
    assert [entry['color'] for entry in draft] == ['#000000', '#0afa0a', '#fa0a0a']
    assert 'are blends of others along borders' in suggestion['reason']
    assert 'without smoothing (nearest neighbor, no anti-aliasing)' in suggestion['advice']
    report, _ = look(with_flags(config_of(root), flags(report)), output_dir.with_name('again'))
    assert flags(report) == []
    assert 'blends of others' in report['suggestions'][0]['reason']


def test_thin_class_and_class_that_is_between_two_others_are_no_blends():
    codes = np.full((64, 64), 0x000000)
    codes[:, 32:] = 0xC80000
    codes[:, 31] = codes[:, 8] = 0x640000  # On their line, but also elsewhere.
    codes[20, :] = 0x0000FF  # Thin, and not on the line.
    assert blended_colors(codes) == set()
    codes[:, 8] = 0
    assert blended_colors(codes) == {0x640000}
    codes[40:44, 40:44] = 0x640000  # An area.
    assert blended_colors(codes) == set()


def test_color_masks_without_number_of_classes_get_a_draft(root, output_dir):
    recode(root, lambda label: COLORS[label])
    report, _ = look(config_of(root), output_dir, count_classes=True)
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']


def test_color_masks_of_a_known_data_set_get_its_palette(root, output_dir):
    names = ('road', 'sidewalk', 'building', 'person', 'rider', 'sky')
    config = DataConfig(dataset='cityscapes_19', num_classes=19, dontcare=True)
    classes = classes_of(config)
    colors = classes.colors[[classes.names.index(name) for name in names]].astype(np.uint8)
    recode(root, lambda label: colors[(label + np.arange(44) // 8) % 6])
    expected = ['--palette=cityscapes_19', '--num_classes=19']
    assert flags(fix(config_of(root), output_dir)) == expected


def test_colors_beyond_the_palette_are_added(root, output_dir, tmp_path):
    recode(root, lambda label: COLORS[label])
    palette = tmp_path / 'palette.json'
    entries = [{'name': 'void', 'color': [0, 0, 0]}, {'name': 'red', 'color': '#fa0a0a'}]
    palette.write_text(json.dumps(entries))
    report = fix(config_of(root, palette=read_palette(str(palette)), num_classes=2), output_dir)
    assert '#0afa0a' in groups(report)[example_report.BEYOND_PALETTE][0]
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    draft = json.loads((output_dir / 'palette.json').read_text())['classes']
    assert [entry['name'] for entry in draft] == ['void', 'red', 'class 2']


@pytest.mark.parametrize(
    'grays, expected',
    [
        ([0, 1, 2], []),
        ([3, 4, 6], ['--num_classes=7']),
        ([0, 127, 254], ['--num_classes=255']),
        ([0, 1, 255], ['--dontcare']),
    ],
)
def test_grays_saved_as_rgb_are_ids(root, output_dir, grays, expected):
    recode(root, lambda label: np.array(grays, np.uint8)[label][..., None].repeat(3, axis=-1))
    report, message = look(config_of(root), output_dir)
    assert flags(report) == expected
    again, _ = look(with_flags(config_of(root), expected), output_dir)
    assert again['num_defects'] == 0


def test_remedy_for_sparse_ids_renumbers_them(root, output_dir):
    recode(root, lambda label: label * 120)
    config = config_of(root, num_classes=241)
    (group,) = look(config, output_dir)[0]['splits']['train']['warnings']
    remedy = group['files'][0]['remedy']
    given = ['--num_classes=3', '--label_remap=120:1,240:2']
    assert remedy.endswith(f'use {" ".join(given)}')
    report, message = look(with_flags(config, given), output_dir)
    assert message is None
    assert report['splits']['train']['warnings'] == []


def test_few_color_masks_among_maps_of_ids_are_left_out(root, output_dir):
    path = root / 'train_label' / '3.png'
    save(path, COLORS[load(path)])
    assert flags(fix(config_of(root), output_dir)) == [f'--train_list={output_dir}/train_list.txt']


def test_files_of_the_user_are_not_replaced(root, output_dir):
    recode(root, lambda label: COLORS[label])
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    output_dir.mkdir()
    (output_dir / 'palette.json').write_text('mine')
    (output_dir / 'train_list.txt').write_text('mine too')
    expected = [
        f'--palette={output_dir}/palette_2.json',
        '--num_classes=3',
        f'--train_list={output_dir}/train_list_2.txt',
    ]
    assert flags(look(config_of(root), output_dir)[0]) == expected
    # The second run finds its own files of the first.
    assert flags(look(config_of(root), output_dir)[0]) == expected
    assert (output_dir / 'palette.json').read_text() == 'mine'
    assert (output_dir / 'train_list.txt').read_text() == 'mine too'


def near(colors, most, seed=0):
    """Colors that are up to `most` away, in at least one place exactly."""
    noise = np.random.default_rng(seed).integers(-most, most + 1, colors.shape)
    noise.flat[0] = most
    return np.clip(colors.astype(int) + noise, 0, 255).astype(np.uint8)


def palette_file(path, colors):
    entries = [{'name': f'c{id}', 'color': color} for id, color in enumerate(colors.tolist())]
    path.write_text(json.dumps(entries))
    return read_palette(str(path))


@pytest.mark.parametrize('most', [1, 5])
def test_colors_near_the_palette_get_a_tolerance(root, output_dir, most):
    recode(root, lambda label: near(COLORS[label], most))
    palette = palette_file(root / 'palette.json', COLORS)
    report = fix(config_of(root, palette=palette), output_dir)
    assert flags(report) == [f'--palette_tolerance={most}']
    assert f'at most {most} away from those of the palette' in report['suggestions'][0]['reason']


def test_new_colors_become_classes_beside_near_ones(root, output_dir):
    recode(root, lambda label: np.where(label[..., None] == 2, COLORS[2], near(COLORS[label], 1)))
    palette = palette_file(root / 'palette.json', COLORS[:2])
    report = fix(config_of(root, palette=palette, num_classes=2), output_dir)
    given = [f'--palette={output_dir}/palette.json', '--num_classes=3', '--palette_tolerance=1']
    assert sorted(flags(report)) == sorted(given)


def test_tolerance_is_suggested_beside_maps_that_no_flag_fixes(root, output_dir):
    recode(root, lambda label: near(COLORS[label], 1))
    for number in (1, 4):
        save(root / 'train_label' / f'{number}.png', noise(number))
    palette = root / 'palette.json'
    config = config_of(root, palette=palette_file(palette, COLORS))
    report, _ = look(config, output_dir, given={'data_dir': str(root), 'palette': str(palette)})
    tolerance, listed = flags(report)
    assert tolerance.startswith('--palette_tolerance=')
    assert (output_dir / 'train_list.txt').read_text().split() == ['0', '2', '3', '5']
    for flag in (tolerance, listed, f'--palette={palette}', f'--data_dir={root}'):
        assert flag in report['command']
    fix(config, output_dir)


def test_tolerance_that_makes_no_map_right_is_not_suggested(root, output_dir):
    recode(root, lambda label: COLORS[label])
    path = root / 'train_label' / '1.png'
    mask = np.array(Image.open(path))
    mask[0] = near(mask[0], 1)
    mask[1:3] = noise(1)[1:3]
    save(path, mask)
    config = config_of(root, palette=palette_file(root / 'palette.json', COLORS))
    report, _ = look(config, output_dir)
    assert [flag.partition('=')[0] for flag in flags(report)] == ['--train_list']


def test_palettes_with_close_colors_get_no_tolerance(root, output_dir):
    palette = palette_file(root / 'palette.json', np.array([[0, 0, 0], [1, 0, 0]], np.uint8))
    recode(root, lambda label: label[..., None] * np.array([1, 0, 0], np.uint8))
    report = fix(config_of(root, palette=palette, num_classes=2), output_dir)
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']


def test_palette_of_the_package_is_found_by_near_colors(root, output_dir):
    colors = classes_of(DataConfig(palette=read_palette(builtin_palette('gaugan')), num_classes=32))
    paint = colors.colors[np.arange(0, 30, 3)]
    index = np.arange(40 * 44).reshape(SIZE) % 10
    recode(root, lambda label: paint[index] + np.array([0, 1, 0], np.uint8))
    given = ['--palette=gaugan', '--num_classes=32', '--palette_tolerance=1']
    assert flags(fix(config_of(root), output_dir)) == given


@pytest.mark.parametrize('gray', [False, True])
def test_transparent_background_becomes_a_class(root, output_dir, gray):
    def change(label):
        colors = label[..., None] if gray else COLORS[label] + 1
        return np.dstack([colors, np.uint8(255) * (label != 2)])

    recode(root, change)
    report = fix(config_of(root), output_dir)
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    draft = json.loads((output_dir / 'palette.json').read_text())['classes']
    assert [entry['color'] for entry in draft].index('transparent') == 2


def save_own_palettes(root):
    """Write color masks as paint programs do: each file with a palette in an order of its own."""
    for split in ('train', 'val'):
        for number, path in enumerate(sorted((root / f'{split}_label').iterdir())):
            order = np.roll(np.arange(3), number)
            image = Image.fromarray(np.argsort(order)[load(path)].astype(np.uint8))
            image.putpalette(COLORS[order].tobytes())
            image.save(path)


@pytest.mark.parametrize('count_classes', [True, False])
def test_indexed_maps_with_own_palettes_get_a_draft(root, output_dir, count_classes):
    save_own_palettes(root)
    config = config_of(root, num_classes=13)
    report, message = look(config, output_dir, count_classes=count_classes)
    assert message is not None
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    (problem, *_) = groups(report)[example_report.MIXED_PALETTES]
    others = f'is #0afa0a, but #000000 in {root}/train_label/0.png'
    assert problem == f'{root}/train_label/1.png: index 0 {others}'
    assert len(groups(report, 'validation')[example_report.MIXED_PALETTES]) == 4
    report, message = look(with_flags(config, flags(report)), output_dir.with_name('again'))
    assert message is None, report
    draft = json.loads((output_dir / 'palette.json').read_text())['classes']
    assert [entry['color'] for entry in draft] == ['#000000', '#0afa0a', '#fa0a0a']


def test_palettes_of_the_splits_are_compared(root, output_dir):
    for split, order in (('train', [0, 1, 2]), ('val', [2, 1, 0])):
        for path in (root / f'{split}_label').iterdir():
            image = Image.fromarray(load(path))
            image.putpalette(COLORS[order].tobytes())
            image.save(path)
    report, _ = look(config_of(root), output_dir)
    assert groups(report) == {}
    assert len(groups(report, 'validation')[example_report.MIXED_PALETTES]) == 6


def test_training_stops_at_own_palettes(root):
    save_own_palettes(root)
    config = config_of(root, on_bad_example='skip')
    with pytest.raises(UserError, match=r'png: index \d is .*--palette=FILE.*gray PNG'):
        check_source(FolderSource(config, 'train'), config)


# Photos that EXIF turns.


def turn(path, orientation, size=None):
    """Write noise with an EXIF orientation instead of a photo, and a label map of the size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(size=size or SIZE)).save(path, exif=exif)


def test_photos_whose_turn_is_not_sure_are_named(root, output_dir):
    for number in (1, 4):
        turn(root / 'train_img' / f'{number}.jpg', 3)
    turn(root / 'train_img' / '2.jpg', 6)  # Fits without a turn only.
    turn(root / 'train_img' / '3.jpg', 8, size=SIZE[::-1])
    report, message = look(config_of(root), output_dir)
    assert message is None
    found = groups(report, what='warnings')
    assert [problem.split()[0] for problem in found[example_report.TURNED]] == [
        f'{root}/train_img/1.jpg',
        f'{root}/train_img/4.jpg',
    ]
    assert len(found[example_report.UNTURNED]) == 1
    assert 'train_img/2.jpg' in found[example_report.UNTURNED][0]


# Photos and anti-aliased masks as label maps.


def smoothed(values):
    def smooth(label):
        image = Image.fromarray(values[label]).resize((176, 160), Image.Resampling.NEAREST)
        image = image.rotate(30, Image.Resampling.BICUBIC)
        return np.asarray(image.resize(SIZE[::-1], Image.Resampling.BICUBIC))

    return smooth


@pytest.mark.parametrize(
    'change',
    [
        smoothed(COLORS),
        smoothed(np.array([0, 128, 255], np.uint8)),
        lambda label: noise(),
        lambda label: noise(channels=()),
    ],
    ids=['smooth colors', 'smooth grays', 'color photos', 'gray photos'],
)
@pytest.mark.parametrize('count_classes', [True, False])
def test_photos_and_smoothed_masks_get_advice(root, output_dir, change, count_classes):
    recode(root, change)
    report, message = look(config_of(root), output_dir, count_classes=count_classes)
    (suggestion,) = report['suggestions']
    assert message is not None
    assert suggestion['flags'] == []
    assert 'photos or anti-aliased masks' in suggestion['reason']
    assert 'without smoothing (nearest neighbor' in suggestion['advice']
    assert 'check --train_label_dir' in suggestion['advice']


def test_lossy_label_maps_get_advice(root, output_dir):
    for split in ('train', 'val'):
        for path in sorted((root / f'{split}_label').iterdir()):
            save(path.with_suffix('.jpg'), noise())
            path.unlink()
    report, message = look(config_of(root), output_dir)
    (suggestion,) = report['suggestions']
    assert message.startswith('12 defects')
    assert 'as PNG' in suggestion['advice']


# Sizes.


@pytest.mark.parametrize(
    'size, settings, expected',
    [
        ((40, 60), dict(preprocess_mode='scale_width_and_crop'), ['--load_size=48']),
        ((20, 60), dict(preprocess_mode='crop'), ['--preprocess_mode=resize_and_crop']),
        (
            (20, 60),
            dict(preprocess_mode='crop', load_size=20),
            ['--preprocess_mode=resize_and_crop', '--load_size=32'],
        ),
        (
            (10, 200),
            dict(preprocess_mode='scale_width_and_crop'),
            ['--preprocess_mode=resize_and_crop'],
        ),
        ((40, 60), dict(preprocess_mode='scale_width'), ['--preprocess_mode=fixed']),
        ((40, 60), dict(preprocess_mode='none'), ['--preprocess_mode=fixed']),
        (
            (40, 60),
            dict(preprocess_mode='scale_shortside_and_crop', aspect_ratio=0.5),
            ['--load_size=64'],
        ),
    ],
)
def test_size_is_suggested(root, output_dir, size, settings, expected):
    save(root / 'train_img' / '0.jpg', noise(size=size))
    save(root / 'train_label' / '0.png', np.zeros(size, np.uint8))
    report = fix(config_of(root, **settings), output_dir)
    assert flags(report) == expected
    sizes = f'{size[1]}x{size[0]}'
    assert any(sizes in problem for problem in groups(report)[example_report.WRONG_SIZE])


@pytest.mark.parametrize('size, instances', [((20, 22), False), ((80, 88), True), ((13, 15), True)])
def test_maps_of_another_size_can_be_scaled(root, output_dir, size, instances):
    for split in ('train', 'val'):
        for role in ('label', 'inst')[: 1 + instances]:
            for path in (root / f'{split}_{role}').iterdir():
                save(path, Image.open(path).resize(size[::-1], Image.Resampling.NEAREST))
    config = config_of(root, condition='labels+edges')
    assert flags(fix(config, output_dir)) == ['--resize_labels']
    source = FolderSource(dataclasses.replace(config, resize_labels=True), 'train')
    for example in (source.read(0), source.read_maps(0)):
        assert example.label.shape == example.instance.shape == SIZE
    with pytest.raises(UserError, match='or set --resize_labels to scale label maps to their'):
        FolderSource(config, 'train').read(0)


def test_maps_of_another_shape_are_not_scaled(root, output_dir):
    save(root / 'train_label' / '0.png', np.zeros((20, 20), np.uint8))
    report, _ = look(config_of(root, resize_labels=True), output_dir)
    assert len(groups(report)['photos and label maps have different sizes']) == 1


# Endings of names.


@pytest.mark.parametrize(
    'photo, label, expected',
    [
        ('{}', '{}_L', ['--label_suffix=_L']),
        ('{}', '{}mask', ['--label_suffix=mask']),
        ('{}_photo', '{}', ['--image_suffix=_photo']),
        ('{}_left', '{}_label', ['--image_suffix=_left', '--label_suffix=_label']),
        (
            'city_00{}_leftImg8bit',
            'city_00{}_gtFine_labelIds',
            ['--image_suffix=_leftImg8bit', '--label_suffix=_gtFine_labelIds'],
        ),
    ],
)
def test_endings_are_suggested(root, output_dir, photo, label, expected):
    rename(root, photo, label)
    assert flags(fix(config_of(root), output_dir)) == expected


def test_endings_and_ids_are_found_in_one_report(root, output_dir):
    recode(root, lambda label: label * 2)
    rename(root, '{}', '{}_mask')
    report = fix(config_of(root), output_dir)
    assert flags(report) == ['--label_suffix=_mask', '--num_classes=5']
    assert groups(report)[suggestions.NO_PAIRS] == [report['suggestions'][0]['reason']]


def test_unrelated_names_get_no_endings(root, output_dir):
    for number, name in enumerate('abcdef'):
        path = root / 'train_label' / f'{number}.png'
        path.rename(path.with_stem(name))
    report, _ = look(config_of(root), output_dir)
    assert len(groups(report)['photos have no label map']) == 6
    assert flags(report) == []


# Lists of good examples.


def test_unreadable_files_are_left_out(root, output_dir):
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    (root / 'val_label' / '2.png').write_bytes(b'')
    report = fix(config_of(root), output_dir)
    lists = [f'--{split}_list={output_dir}/{split}_list.txt' for split in ('train', 'validation')]
    assert flags(report) == lists
    assert (output_dir / 'train_list.txt').read_text().split() == ['0', '1', '2', '4', '5']
    assert '--on_bad_example=skip' in report['suggestions'][0]['advice']


def test_skip_is_no_advice_if_it_is_set(root, output_dir):
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    report, message = look(config_of(root, on_bad_example='skip'), output_dir)
    assert message.startswith('1 defect in 1 file of the data set')
    assert report['suggestions'][0]['advice'] == 'repair the files'


def test_photos_without_label_map_are_left_out(root, output_dir):
    save(root / 'train_img' / 'more.png', noise())
    assert flags(fix(config_of(root), output_dir)) == [f'--train_list={output_dir}/train_list.txt']


@pytest.mark.parametrize(
    'lines, kind, good',
    [
        ('0 1 2 zebra 1 4', 'lines are listed twice', ['0', '1', '2', '4']),
        ('0 1.tif 2 3', 'listed examples are other files', ['0', '2', '3']),
        ('image 0 2 3', 'listed lines are no examples', ['0', '2', '3']),
    ],
)
def test_bad_lines_of_a_listing_are_left_out(root, output_dir, lines, kind, good):
    (root / 'list.txt').write_text(lines.replace(' ', '\n'))
    report = fix(config_of(root, train_list='list.txt'), output_dir)
    assert len(groups(report)[kind]) == 1
    assert (output_dir / 'train_list.txt').read_text().split() == good


# Instance maps.


def test_defects_of_instance_maps_are_found(root, output_dir):
    config = config_of(root, condition='labels+edges')
    assert look(config, output_dir)[1] is None
    (root / 'train_inst' / '1.png').unlink()
    save(root / 'train_inst' / '2.png', np.zeros((9, 4), np.uint8))
    save(root / 'train_inst' / '3.png', noise())
    (root / 'train_inst' / '4.png').write_bytes(b'')
    found = groups(look(config, output_dir)[0])
    assert 'train_img/1.jpg' in found['photos have no instance map'][0]
    assert '4x9' in found['instance maps and label maps have different sizes'][0]
    assert len(found['instance maps cannot be read']) == 2


def test_examples_without_instance_map_are_left_out(root, output_dir):
    (root / 'train_inst' / '1.png').unlink()
    config = config_of(root, condition='labels+edges')
    assert flags(fix(config, output_dir)) == [f'--train_list={output_dir}/train_list.txt']


@pytest.mark.parametrize('name', ['nowhere', 'nowhere.json'])
def test_missing_instance_maps_are_named(root, output_dir, name):
    config = config_of(root, condition='labels+edges', train_instance_dir=name)
    report, message = look(config, output_dir)
    assert message.startswith('1 defect')
    assert name in groups(report)[inspect.NOT_OPENED][0]


def test_colored_instance_maps_are_read_and_numpy_files_named(root, output_dir):
    for split in ('train', 'val'):
        for path in (root / f'{split}_inst').iterdir():
            save(path, COLORS[load(path) // 7])
    (root / 'train_inst' / '1.png').unlink()
    np.save(root / 'train_inst' / '1.npy', np.zeros(SIZE))
    report = fix(config_of(root, condition='labels+edges'), output_dir)
    (problem,) = groups(report)['instance maps are no images']
    assert problem == f'{root}/train_inst/1.npy: .npy files are not read as instance maps'


def test_annotations_without_a_photo_are_named(root, output_dir):
    size = {'width': 44, 'height': 40}
    images = [{'id': number, 'file_name': f'{number}.jpg'} | size for number in range(5)]
    (root / 'instances.json').write_text(json.dumps({'images': images, 'annotations': []}))
    names = ('train_instance_dir', 'validation_instance_dir')
    settings = dict.fromkeys(names, 'instances.json')
    report = fix(config_of(root, condition='labels+edges', **settings), output_dir)
    assert '5.jpg' in groups(report)['instance maps cannot be read'][0]


# Warnings.


def test_warnings_are_not_errors(root, output_dir, capsys):
    save(root / 'train_label' / '0.png', np.full(SIZE, 255, np.uint8))
    (root / 'val_img' / '1.jpg').write_bytes((root / 'train_img' / '4.jpg').read_bytes())
    report, message = look(config_of(root, num_classes=5, dontcare=True), output_dir)
    train = groups(report, what='warnings')
    assert message is None
    assert train[example_report.UNKNOWN_EVERYWHERE] == [
        f'{root}/train_label/0.png has only the id 255'
    ]
    assert train['classes never occur in train'] == ['2 of 5: 3 class 3, 4 class 4']
    assert groups(report, 'validation', 'warnings')[inspect.IN_BOTH_SPLITS] == [
        f'{root}/val_img/1.jpg has the same pixels as {root}/train_img/4.jpg'
    ]
    assert 'No defects, but 3 warnings. To train:' in capsys.readouterr().out


def test_many_unused_classes_get_a_remedy(root, output_dir):
    report, _ = look(config_of(root, num_classes=20), output_dir)
    (group,) = report['splits']['train']['warnings']
    assert group['files'][0]['remedy'].endswith('; use --num_classes=3')


def test_unused_classes_are_counted_not_listed_without_end(root, output_dir):
    recode(root, lambda label: np.where(label == 2, 99, label).astype(np.uint8))
    report, _ = look(config_of(root, num_classes=100, label_remap='7:7'), output_dir)
    (group,) = report['splits']['train']['warnings']
    assert group['files'][0]['problem'].endswith('13 class 13 and 85 more')
    assert group['files'][0]['remedy'] == 'the generator learns nothing about them'


def test_names_that_are_not_utf_8_are_reported(root, output_dir, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), errors='backslashreplace'))
    for role, extension in (('img', '.jpg'), ('label', '.png')):
        path = root / f'train_{role}' / f'3{extension}'
        path.rename(path.with_stem(os.fsdecode(b'caf\xe9')))
    (root / 'train_img' / '2.jpg').rename(root / 'train_img' / os.fsdecode(b'\xe4.jpg'))
    save(root / 'train_label' / '1.png', noise(channels=()))
    report = fix(config_of(root), output_dir)
    assert (
        os.fsdecode(b'\xe4.jpg has no label map') in groups(report)['photos have no label map'][0]
    )
    assert b'\xe4.jpg has no label map' in (output_dir / 'report.txt').read_bytes()
    assert b'caf\xe9\n' in (output_dir / 'train_list.txt').read_bytes()


@pytest.mark.parametrize(
    'size, crop_size, multiple, expected',
    [
        ((40, 72), 256, 32, '--crop_size=288 --load_size=322 --aspect_ratio=1.8 (288x160)'),
        ((40, 72), 256, 64, '--crop_size=320 --load_size=358 --aspect_ratio=1.667 (320x192)'),
        ((48, 64), 256, 32, '--aspect_ratio=1.333 (256x192)'),
        ((40, 60), 64, 32, '--crop_size=96 --load_size=429 --aspect_ratio=1.5 (96x64)'),
        ((60, 40), 64, 32, '--aspect_ratio=0.6667 (64x96)'),
        ((40, 72), 64, 32, '--aspect_ratio=2 (64x32)'),
    ],
)
def test_nearest_legal_shape_is_advised(tmp_path, output_dir, size, crop_size, multiple, expected):
    root = write_folders(tmp_path / 'data', size=size, splits=['train'])
    config = config_of(root, load_size=286, crop_size=crop_size)
    report, _ = look(config, output_dir, size_multiple=multiple)
    (group,) = report['splits']['train']['warnings']
    assert group['files'][0]['remedy'].startswith(f'use {expected}, or choose')
    *given, shape = expected.split()
    legal = with_flags(config, given)
    assert f'({legal.image_width}x{legal.image_height})' == shape


@pytest.mark.parametrize(
    'given, expected',
    [
        ({}, ['--crop_size=96', '--load_size=429', '--aspect_ratio=1.5']),
        ({'crop_size': 64}, []),
        ({'aspect_ratio': 1.0}, []),
        ({'preprocess_mode': 'resize_and_crop'}, []),
    ],
)
def test_command_has_the_nearest_legal_shape_unless_another_is_given(
    tmp_path, output_dir, given, expected
):
    root = write_folders(tmp_path / 'data', size=(40, 60), splits=['train'])
    config = config_of(root, load_size=286, crop_size=64)
    extra = ['--crop_size=64', '--batch_size=4']
    report, _ = look(config, output_dir, given=given, extra_flags=extra)
    assert flags(report) == expected
    words = report['command'].split()
    assert words[-1] == '--batch_size=4' and {*expected} <= {*words}
    assert ('--crop_size=64' in words) != bool(expected)
    (warning,) = report['splits']['train']['warnings']
    chosen = 'preprocess_mode' in given
    assert ('another --preprocess_mode' in warning['files'][0]['remedy']) != chosen


def test_aspect_ratio_is_not_advised_if_none_is_nearer(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', size=(40, 72), splits=['train'])
    (group,) = look(config_of(root), output_dir)[0]['splits']['train']['warnings']
    assert group['files'][0]['remedy'].startswith('use a larger --crop_size, or choose')


def test_pairs_side_by_side_are_recognized(root, output_dir):
    for path in sorted((root / 'train_img').iterdir()):
        photo, label = load(path), COLORS[load(root / 'train_label' / f'{path.stem}.png')]
        smooth = np.asarray(Image.fromarray(photo).resize((4, 4)).resize(SIZE[::-1]))
        save(path, np.concatenate([smooth, 255 - label // 2], axis=1))
    report, _ = look(config_of(root, train_label_dir='nowhere'), output_dir)
    assert list(groups(report, what='warnings')) == [inspect.SIDE_BY_SIDE]
    assert groups(report, 'validation', 'warnings') == {}


def test_photos_in_other_formats_are_named(root, output_dir):
    (root / 'train_img' / 'x.heic').write_bytes(b'')
    report, message = look(config_of(root), output_dir)
    assert message is None
    assert groups(report, what='warnings') == {inspect.UNREAD: [f'{root}/train_img/x.heic']}


def test_other_aspect_ratio_is_a_warning(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', size=(40, 80))
    report, message = look(config_of(root), output_dir)
    assert message is None
    assert groups(report, what='warnings') == {
        'images have another shape than --aspect_ratio=1': [
            'width / height is 2 for most of them: they are stretched'
        ]
    }
    settings = dict(aspect_ratio=2.0, crop_size=64, load_size=72)
    report, _ = look(config_of(root, **settings), output_dir)
    assert report['splits']['train']['warnings'] == []


# Whole splits and other sources.


def test_missing_directories_are_named(root, output_dir):
    settings = dict(train_image_dir='photos', validation_label_dir='nowhere')
    report, message = look(config_of(root, **settings), output_dir)
    assert f'{root}/photos' in groups(report)[inspect.NOT_OPENED][0]
    assert 'nowhere' in groups(report, 'validation')[inspect.NOT_OPENED][0]
    assert message.startswith('2 defects in 2 files')
    text = (output_dir / 'report.txt').read_text()
    assert '0 photos' not in text and 'To validate again' not in text


def test_one_split_is_inspected_if_the_other_is_missing(root, output_dir):
    recode(root, lambda label: label * 2)
    report, _ = look(config_of(root, train_image_dir='photos'), output_dir)
    assert len(groups(report, 'validation')[example_report.OUT_OF_RANGE]) == 6
    assert (output_dir / 'contact_sheet.png').exists()


def test_validation_set_is_optional(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', splits=['train'])
    report, message = look(config_of(root), output_dir)
    assert message is None
    assert list(report['splits']) == ['train']


def test_images_as_condition_have_no_classes(root, output_dir):
    recode(root, lambda label: COLORS[label])
    config = config_of(root, condition='rgb')
    report, message = look(config, output_dir)
    assert message is None
    assert report['classes'] == []
    save(root / 'val_label' / '2.png', noise(size=(10, 10)))
    report, message = look(config, output_dir)
    assert message.startswith('1 defect')
    assert '10x10' in [*groups(report, 'validation').values()][0][0]


def test_scenes_are_inspected(tmp_path, output_dir):
    config = DataConfig(
        dataset='scenes',
        data_dir=str(tmp_path / 'records'),
        scenes_train_examples=3,
        load_size=32,
        crop_size=32,
        condition='labels+edges',
    )
    report, message = look(config, output_dir)
    assert message is None
    assert report['splits']['train']['examples'] == 3
    assert report['splits']['validation']['examples'] == 64
    assert {entry['name'] for entry in report['classes']} <= {*classes_of(config).names}


def test_prepared_records_are_inspected(root, output_dir, tmp_path):
    from spade_jax.data.records.writer import prepare

    records_dir = str(tmp_path / 'records')
    config = config_of(root, condition='labels+edges', records_dir=records_dir)
    report, message = look(config, output_dir)
    assert message.startswith('2 defects in 2 files')
    assert records_dir in groups(report)[inspect.NOT_OPENED][0]
    prepare(config)
    report, message = look(config, output_dir)
    assert message is None
    assert report['splits']['train']['sizes'] == [[36, 36, 6]]


def test_source_without_lists_gets_skip(root, output_dir, monkeypatch):
    recode(root, lambda label: label * 2)
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    monkeypatch.setattr(FolderSource, 'pairs_files', False)
    monkeypatch.setattr(FolderSource, 'takes_lists', False)
    report, _ = look(config_of(root), output_dir)
    assert len(groups(report)[example_report.OUT_OF_RANGE]) == 5
    assert '3.jpg' in groups(report)[inspect.UNREADABLE][0]
    assert flags(report) == ['--num_classes=5', '--on_bad_example=skip']


# The contact sheet.


def colors_of(path):
    return {color: count for count, color in Image.open(path).convert('RGB').getcolors(1 << 24)}


def test_contact_sheet_shows_colors_of_classes(root, output_dir):
    label = load(root / 'val_label' / '0.png')
    label[:20] = 9
    save(root / 'val_label' / '0.png', label)
    config = config_of(root, condition='labels+edges')
    look(config, output_dir)
    colors = colors_of(output_dir / 'contact_sheet.png')
    classes = [tuple(map(int, color)) for color in classes_of(config).colors]
    tile = 9000  # Pixels of one class in a label map, about.
    assert min(colors.get(color, 0) for color in classes) > 4 * tile
    assert colors[contact_sheet.NO_CLASS_COLOR] > tile / 3


def test_contact_sheet_shows_letters_with_accents():
    drawn = [contact_sheet._text(name, 13).tobytes() for name in 'öüéß']
    assert len(set(drawn)) == 4  # A font without them has the same box for all.
    decomposed = contact_sheet._text('o\u0308', 13)
    np.testing.assert_array_equal(decomposed, contact_sheet._text('ö', 13))


def test_contact_sheet_accepts_names_of_two_lines(root, output_dir):
    for path in (root / 'train_img' / '1.jpg', root / 'train_label' / '1.png'):
        path.rename(path.with_stem('1\n2'))
    assert look(config_of(root), output_dir)[1] is None


def test_contact_sheet_accepts_one_wide_example(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', count=1, size=(40, 400), splits=['train'])
    look(config_of(root), output_dir)
    assert Image.open(output_dir / 'contact_sheet.png').height > 200


def test_contact_sheet_outlines_white_images(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', count=1, splits=['train'])
    save(root / 'train_img' / '0.jpg', np.full((*SIZE, 3), 255, np.uint8))
    look(config_of(root), output_dir)
    sheet = load(output_dir / 'contact_sheet.png')
    row = sheet[sheet.shape[0] // 3]
    outline = (row == contact_sheet._OUTLINE).all(-1)
    assert outline.sum() == 4  # Left and right of the photo and of the label map.


def test_contact_sheet_of_an_earlier_report_is_removed(root, output_dir):
    look(config_of(root), output_dir)
    missing = dict(train_image_dir='nowhere', validation_image_dir='nowhere')
    look(config_of(root, **missing), output_dir)
    assert not (output_dir / 'contact_sheet.png').exists()


def test_full_disk_keeps_earlier_report(root, output_dir, monkeypatch):
    look(config_of(root), output_dir)
    before = {path.name: path.read_bytes() for path in output_dir.iterdir()}
    (root / 'train_label' / '0.png').unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(report_module, 'write_contact_sheet', full)
    with pytest.raises(OSError, match='No space'):
        validate(config_of(root), str(output_dir), given={})
    assert {path.name: path.read_bytes() for path in output_dir.iterdir()} == before
