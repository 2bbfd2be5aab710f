"""The report on a data set: every kind of defect, all at once, and suggestions that mend it."""

import dataclasses
import json
import re
import typing

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.catalog import builtin_palette
from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import read_palette
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.files.palette import classes_of
from spade_jax.data.validation import contact_sheet, inspect, suggestions
from spade_jax.data.validation.contact_sheet import NO_CLASS_COLOR
from spade_jax.data.validation.report import validate
from spade_jax.data.validation.suggestions import command_line, needed_flags, remap_text
from spade_jax.errors import UserError
from tests.program import run, write_folders

SIZE = (40, 44)  # height, width: of `write_folders`


def config_of(root, **changes):
    return DataConfig(
        **{
            **dict(
                dataset='folders',
                data_dir=str(root),
                num_classes=3,
                load_size=36,
                crop_size=32,
                data_workers=2,
            ),
            **changes,
        }
    )


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)


def noise(seed=0, size=SIZE, channels=(3,)):
    return np.random.default_rng(seed).integers(0, 256, (*size, *channels)).astype(np.uint8)


def recode(root, change, splits=('train', 'val')):
    """Replaces each label map by `change(label)`."""
    for split in splits:
        for path in sorted((root / f'{split}_label').iterdir()):
            save(path, change(np.asarray(Image.open(path))))


def look(config, output_dir, **options):
    """(the report as JSON, the message of the error or None)."""
    message = None
    try:
        validate(config, str(output_dir), **options)
    except UserError as error:
        message = str(error)
        assert '\n' not in message
    return json.loads((output_dir / 'report.json').read_text()), message


def groups(report, split='train', what='defects'):
    """{kind: problems}."""
    return {
        group['kind']: [file['problem'] for file in group['files']]
        for group in report['splits'][split][what]
    }


def flags(report):
    return [flag for suggestion in report['suggestions'] for flag in suggestion['flags']]


def with_flags(config, given):
    """The configuration as the command line with these flags would make it."""
    types = typing.get_type_hints(Config)
    changes = {}
    for flag in given:
        name, _, value = flag.strip("'").removeprefix('--').partition('=')
        if (
            name.removeprefix('no') in types
            and not value
            and types[name.removeprefix('no')] is bool
        ):
            changes[name.removeprefix('no')] = not name.startswith('no')
        elif name == 'palette' and value:
            changes[name] = read_palette(builtin_palette(value) or value)
        else:
            changes[name] = types[name](value)
    return dataclasses.replace(config, **changes)


def mend(config, output_dir):
    """Looks, sets the flags that are suggested, looks again; returns the first report. No more than two rounds may be needed."""
    first, message = look(config, output_dir)
    assert message
    again, message = look(with_flags(config, flags(first)), output_dir.with_name('again'))
    assert message is None, json.dumps(again, indent=1)
    return first


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / 'data')


@pytest.fixture
def output_dir(tmp_path):
    return tmp_path / 'report'


def test_good_data(root, output_dir, capsys):
    report, message = look(config_of(root), output_dir)
    assert message is None
    assert report['splits']['train'] == {
        'photographs': 6,
        'label_maps': 6,
        'examples': 6,
        'sizes': [{'width': 44, 'height': 40, 'examples': 6}],
        'defects': [],
        'warnings': [],
        'ids_out_of_range': [],
    }
    labels = np.stack([np.asarray(Image.open(path)) for path in (root / 'train_label').iterdir()])
    assert [entry['train']['pixels'] for entry in report['classes']] == np.bincount(
        labels.ravel()
    ).tolist()
    assert report['classes'][1]['train']['pictures'] == sum((label == 1).any() for label in labels)
    printed = capsys.readouterr().out
    assert (
        f'Contact sheet: {output_dir}/contact_sheet.png' in printed
        and 'The data are fine.' in printed
    )
    assert (
        f'python -m spade_jax.main --workdir=runs/folders --dataset=folders --data_dir={root} --num_classes=3 --load_size=36 --crop_size=32'
        in printed
    )
    assert 'train: 6 photographs, 6 label maps, 6 complete pairs\n  sizes: 44x40 (6)' in printed


def test_the_table_of_classes(root, output_dir):
    recode(
        root,
        lambda label: np.where(np.arange(44) < 11, 0, 1).astype(np.uint8) + np.zeros_like(label),
    )
    look(config_of(root, num_classes=2), output_dir)
    lines = (output_dir / 'report.txt').read_text().splitlines()
    table = lines[lines.index('Classes') + 1 :][:3]
    assert table[0].split() == [
        'id',
        'name',
        'train',
        'pixels',
        'pictures',
        'validation',
        'pixels',
        'pictures',
    ]
    assert (
        table[1].split()[:7] == ['0', 'class', '0', '25.00%', '6', '25.00%', '6']
        and table[1].count('#') == 13
    )
    assert table[2].count('#') == 40 and len(set(line.index('class') for line in table[1:])) == 1


def test_everything_that_is_wrong_is_found_at_once(root, output_dir, capsys):
    """One defect of each kind, in two splits; and twenty-five of one kind."""
    label = np.asarray(Image.open(root / 'train_label' / '0.png')).copy()
    (root / 'train_img' / '0.jpg').write_bytes((root / 'train_img' / '0.jpg').read_bytes()[:600])
    (root / 'train_label' / '1.png').write_bytes(b'no picture')
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
    save(root / 'val_label' / '2.png', np.pad(label, ((0, 0), (0, 200))))
    save(root / 'val_img' / '2.jpg', noise(size=(40, 244)))
    report, message = look(config_of(root, preprocess_mode='scale_width_and_crop'), output_dir)
    train, validation_ = groups(report), groups(report, 'validation')
    expected = {
        'photographs cannot be read': f'{root}/train_img/0.jpg: the photograph cannot be read (',
        'label maps cannot be read': f'{root}/train_label/1.png: the label map cannot be read (not an image file)',
        inspect.COLOURED: f'{root}/train_label/2.png: the label map is a RGB picture',
        'photographs and label maps have different sizes': f'{root}/train_img/3.jpg has 44x40 pixels, but its label map {root}/train_label/3.png has 44x20',
        inspect.OUT_OF_RANGE: f'{root}/train_label/4.png: id 200 at pixel (x=5, y=7); id 255 in 4 pixels, first at (x=2, y=9); the classes are 0..2',
        inspect.LOSSY: f'{root}/train_label/5.jpg: JPG is a lossy format',
        'photographs have no label map': f'{root}/train_img/6.png has no label map: there is no {root}/train_label/6.png',
        'photographs are there twice': f'0 has two files as photograph: {root}/train_img/0.jpg and {root}/train_img/0.png',
    }
    for kind, problem in expected.items():
        assert any(text.startswith(problem) for text in train[kind]), (kind, train)
    assert (
        f'{root}/train_label/3.png: a picture of 44x20 is scaled to 36x16'
        in train[inspect.MISFITS][0]
    )
    assert train.keys() == expected.keys() | {inspect.MISFITS}
    assert groups(report, what='warnings')[inspect.WITHOUT_PHOTO] == [
        f'{root}/train_label/nobody.png has no photograph'
    ]
    assert len(validation_['photographs have no label map']) == 25
    assert f'{root}/val_label/2.png: a picture of 244x40' in validation_[inspect.MISFITS][0]
    assert report['splits']['train']['ids_out_of_range'] == [
        {'id': 200, 'files': 1, 'pixels': 1},
        {'id': 255, 'files': 1, 'pixels': 4},
    ]
    assert (
        report['splits']['train']['photographs'] == 7
        and report['splits']['train']['label_maps'] == 7
        and report['splits']['train']['examples'] == 5
    )
    count = sum(len(problems) for problems in [*train.values(), *validation_.values()])
    assert re.fullmatch(
        rf'{count} defects in \d+ files of the data set; the list is in {output_dir}/report.txt',
        message,
    )
    printed, written = capsys.readouterr().out, (output_dir / 'report.txt').read_text()
    assert (
        'and 5 more; all are in report.txt' in printed
        and 'alone19' in printed
        and 'alone20' not in printed
    )
    assert 'alone24' in written and 'and 5 more;' not in written
    assert (output_dir / 'contact_sheet.png').exists()


def test_ids_are_summed_up_over_the_files(root, output_dir):
    recode(root, lambda label: np.where(label == 2, 150, label).astype(np.uint8))
    mended = mend(config_of(root), output_dir)
    assert '--num_classes=151' in flags(mended) or any(
        'label_remap' in flag for flag in flags(mended)
    )
    (seen,) = mended['splits']['train']['ids_out_of_range']
    assert seen['id'] == 150 and seen['files'] == 6
    assert f'id 150: 6 files, {seen["pixels"]:,} pixels' in (output_dir / 'report.txt').read_text()


# Suggestions. What they are, and that they suffice.


@pytest.mark.parametrize(
    'change, settings, expected',
    [
        (lambda label: label + 150 * (label == 2), {}, ['--label_remap=152:2']),
        (lambda label: label * 2, {}, ['--num_classes=5']),
        (lambda label: np.where(label == 2, 255, label), dict(num_classes=2), ['--dontcare']),
        (
            lambda label: np.where(label == 2, 255, label * 3),
            dict(num_classes=2),
            ['--num_classes=4', '--dontcare'],
        ),
        (lambda label: label + 1, {}, ['--label_remap=1-3:0-2']),
        (
            lambda label: np.where(label == 2, 255, label + 1),
            dict(num_classes=2),
            ['--label_remap=1-2:0-1', '--dontcare'],
        ),
        (lambda label: label.astype(np.uint16) * 1000, {}, ['--label_remap=1000:1,2000:2']),
        (lambda label: np.where(label > 0, 255, 0), {}, ['--label_remap=255:1', '--num_classes=2']),
        (lambda label: np.array([0, 128, 255])[label], {}, ['--label_remap=128:1,255:2']),
        (lambda label: label + 1, dict(label_remap='200:0'), ['--num_classes=4']),
        (
            lambda label: label + 1,
            dict(dontcare=True, num_classes=2),
            ['--label_remap=1-3:0-2', '--num_classes=3'],
        ),
        (
            lambda label: label.astype(np.uint16) + 298,
            dict(dontcare=True),
            ['--label_remap=298-300:0-2'],
        ),
        (
            lambda label: (np.arange(label.size).reshape(label.shape) % 300).astype(np.uint16),
            dict(dontcare=True),
            ['--num_classes=300', '--nodontcare'],
        ),
    ],
)
def test_ids(root, output_dir, change, settings, expected):
    recode(
        root,
        lambda label: change(label).astype(np.uint16 if change(label).max() > 255 else np.uint8),
    )
    assert flags(mend(config_of(root, **settings), output_dir)) == expected


def test_the_ids_of_all_files_count(root, output_dir):
    recode(root, lambda label: label * 2, splits=['val'])
    assert flags(mend(config_of(root), output_dir)) == ['--num_classes=5']


def test_a_public_data_set_is_not_renumbered(root, output_dir):
    recode(root, lambda label: label + 30)
    assert flags(mend(config_of(root, dataset='camvid', num_classes=11), output_dir)) == [
        '--num_classes=33'
    ]


COLORS = np.array([[0, 0, 0], [250, 10, 10], [10, 250, 10]], np.uint8)


def test_color_masks_get_a_palette(root, output_dir):
    recode(root, lambda label: COLORS[label])
    config = config_of(root, num_classes=13)
    report = mend(config, output_dir)
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    mended = with_flags(config, flags(report))
    assert sorted(map(tuple, classes_of(mended).colors)) == sorted(map(tuple, COLORS)) and tuple(
        classes_of(mended).colors[0]
    ) == (0, 0, 0)
    label = json.loads((output_dir / 'report.json').read_text())['splits']['train']['defects'][0]
    assert label['kind'] == inspect.COLOURED and label['count'] == 6


def test_color_masks_in_known_colors(root, output_dir):
    colors = np.array(
        [[128, 64, 128], [244, 35, 232], [70, 70, 70], [220, 20, 60], [255, 0, 0], [70, 130, 180]]
    )  # road, sidewalk, building, person, rider, sky
    recode(root, lambda label: colors[(label + np.arange(44) // 8) % 6].astype(np.uint8))
    assert flags(mend(config_of(root), output_dir)) == [
        '--palette=cityscapes_19',
        '--num_classes=19',
    ]


def test_colors_beyond_the_palette(root, output_dir, tmp_path):
    recode(root, lambda label: COLORS[label])
    palette = tmp_path / 'palette.json'
    palette.write_text(
        json.dumps([{'name': 'void', 'color': [0, 0, 0]}, {'name': 'red', 'color': '#fa0a0a'}])
    )
    report = mend(config_of(root, palette=read_palette(str(palette)), num_classes=2), output_dir)
    assert any(
        'colour #0afa0a at pixel (x=' in problem
        for problem in groups(report)[inspect.BEYOND_PALETTE]
    )
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']
    names = [
        entry['name'] for entry in json.loads((output_dir / 'palette.json').read_text())['classes']
    ]
    assert names == ['void', 'red', 'class 2']


@pytest.mark.parametrize('method', [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
@pytest.mark.parametrize('steps', [1, 64])
def test_smooth_masks_get_no_palette(root, output_dir, method, steps):
    """Whether they have thousands of colours or, with coarse steps, a few dozen."""

    def smooth(label):
        return (
            np.asarray(Image.fromarray(COLORS[label]).resize((44, 40), method, box=(1, 1, 40, 38)))
            // steps
            * steps
        )

    recode(root, smooth)
    report, _ = look(config_of(root), output_dir)
    (suggestion,) = report['suggestions']
    assert (
        suggestion['flags'] == []
        and 'without smoothing (nearest neighbour' in suggestion['advice']
        and 'rare blends' in suggestion['reason']
    )


def test_smooth_gray_masks_are_not_renumbered(root, output_dir):
    grays = np.array([0, 128, 255], np.uint8)
    recode(
        root,
        lambda label: np.asarray(
            Image.fromarray(grays[label]).resize(
                (44, 40), Image.Resampling.BICUBIC, box=(1, 1, 40, 38)
            )
        ),
    )
    for options in ({}, dict(count_classes=True)):
        report, message = look(config_of(root), output_dir, **options)
        assert (
            message
            and 'smoothing' in report['suggestions'][-1]['advice']
            and not any('remap' in flag for flag in flags(report))
        )


def test_many_classes_in_many_sizes_are_not_smooth(root, output_dir):
    """Rare colours of classes do not lie between others."""
    colors = np.random.default_rng(5).integers(0, 256, (40, 3)).astype(np.uint8)

    def rare(label):
        label = label.copy()
        label[:6, :6] = np.arange(36).reshape(6, 6) + 4
        return colors[label]

    recode(root, rare)
    assert flags(mend(config_of(root), output_dir))[0] == f'--palette={output_dir}/palette.json'


@pytest.mark.parametrize(
    'grays, ids, num_classes',
    [
        ([0, 1, 2], [0, 1, 2], 3),
        ([3, 4, 6], [3, 4, 6], 7),
        ([0, 127, 254], [0, 1, 2], 3),
        ([0, 1, 255], [0, 1, 255], 2),
    ],
)
def test_grays_that_were_saved_as_colors_are_ids(root, output_dir, grays, ids, num_classes):
    recode(
        root, lambda label: np.repeat(np.array(grays, np.uint8)[2 - label][..., None], 3, axis=-1)
    )
    config = config_of(root)
    found = flags(mend(config, output_dir))
    assert f'--num_classes={num_classes}' in found and ('--dontcare' in found) == (255 in ids)
    entries = json.loads((output_dir / 'palette.json').read_text())['classes']
    assert [(entry['id'], entry['color']) for entry in entries] == [
        (number, f'#{gray:02x}{gray:02x}{gray:02x}') for number, gray in zip(ids, grays)
    ]


def test_files_of_the_user_are_not_replaced(root, output_dir):
    recode(root, lambda label: COLORS[label])
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    output_dir.mkdir()
    (output_dir / 'palette.json').write_text('mine')
    (output_dir / 'train_list.txt').write_text('mine too')
    for _ in range(2):  # What was written the first time is used again.
        report, _ = look(config_of(root), output_dir)
        assert flags(report) == [
            f'--palette={output_dir}/palette_2.json',
            '--num_classes=3',
            f'--train_list={output_dir}/train_list_2.txt',
        ]
    assert (output_dir / 'palette.json').read_text() == 'mine' and (
        output_dir / 'train_list.txt'
    ).read_text() == 'mine too'
    assert not (output_dir / 'palette_3.json').exists()


def test_a_few_color_masks_among_maps_of_ids_are_left_out(root, output_dir):
    save(
        root / 'train_label' / '3.png',
        COLORS[np.asarray(Image.open(root / 'train_label' / '3.png'))],
    )
    assert flags(mend(config_of(root), output_dir)) == [f'--train_list={output_dir}/train_list.txt']


@pytest.mark.parametrize('extension', ['png', 'jpg'])
@pytest.mark.parametrize(
    'settings', [{}, dict(label_remap='7:0', dontcare=True), dict(condition='labels+edges')]
)
def test_photographs_instead_of_label_maps(root, output_dir, extension, settings):
    for split in ('train', 'val'):
        for number in range(6):
            (root / f'{split}_label' / f'{number}.png').unlink()
            save(root / f'{split}_label' / f'{number}.{extension}', noise(number))
    config = config_of(root, **settings)
    report, _ = look(config, output_dir)
    (suggestion,) = report['suggestions']
    assert (
        suggestion['flags'] == []
        and (
            'anew from their source, as PNG'
            if extension == 'jpg'
            else 'see whether --train_label_dir'
        )
        in suggestion['advice']
    )
    last = re.match(r'((--\S+ )+)if they are no label maps', suggestion['alternative'])[1].split()
    assert last[0] == '--condition=rgb' and ('--nodontcare' in last) == ('dontcare' in settings)
    assert look(with_flags(config, last), output_dir)[1] is None


def test_gray_photographs_instead_of_label_maps(root, output_dir):
    recode(root, lambda label: noise(channels=()))
    report, _ = look(config_of(root), output_dir)
    assert flags(report) == [] and report['suggestions'][0]['alternative'].startswith(
        '--condition=rgb if'
    )


@pytest.mark.parametrize('extension', ['jpg', 'png'])
@pytest.mark.parametrize('as_colors', [True, False])
def test_swapped_directories(root, output_dir, extension, as_colors):
    for split in ('train', 'val'):
        for number in range(6):
            (root / f'{split}_img' / f'{number}.jpg').unlink()
            save(root / f'{split}_img' / f'{number}.{extension}', noise(number))
    if as_colors:
        recode(root, lambda label: COLORS[label])
    config = config_of(
        root,
        train_image_dir='train_label',
        train_label_dir='train_img',
        validation_image_dir='val_label',
        validation_label_dir='val_img',
    )
    report, _ = look(config, output_dir)
    assert (
        'are --train_image_dir and --train_label_dir swapped?' in report['suggestions'][0]['reason']
    )
    mended = with_flags(config, flags(report))
    assert mended.train_label_dir == 'train_label' and mended.validation_image_dir == 'val_img'
    assert groups(look(mended, output_dir)[0]).keys() <= {inspect.COLOURED}


@pytest.mark.parametrize(
    'photo, label, expected',
    [
        ('{}', '{}_L', ['--label_suffix=_L']),
        ('{}_photo', '{}', ['--image_suffix=_photo']),
        ('{}_left', '{}_label', ['--image_suffix=_left', '--label_suffix=_label']),
        (
            'city_00{}_leftImg8bit',
            'city_00{}_gtFine_labelIds',
            ['--image_suffix=_leftImg8bit', '--label_suffix=_gtFine_labelIds'],
        ),
    ],
)
def test_endings_of_names(root, output_dir, photo, label, expected):
    for split in ('train', 'val'):
        for number in range(6):
            (root / f'{split}_img/{number}.jpg').rename(
                root / f'{split}_img/{photo.format(number)}.jpg'
            )
            (root / f'{split}_label/{number}.png').rename(
                root / f'{split}_label/{label.format(number)}.png'
            )
    assert flags(mend(config_of(root), output_dir)) == expected


def test_endings_of_names_where_several_would_do(root, output_dir):
    for split in ('train', 'val'):
        for number in range(6):
            for ending in ('color', 'instanceIds', 'labelIds'):
                save(
                    root / f'{split}_label' / f'{number}_gtFine_{ending}.png',
                    np.full(SIZE, 2, np.uint8),
                )
            (root / f'{split}_label' / f'{number}.png').unlink()
    assert flags(mend(config_of(root), output_dir)) == ['--label_suffix=_gtFine_labelIds']


def test_endings_and_ids_in_one_report(root, output_dir):
    recode(root, lambda label: label * 2)
    for split in ('train', 'val'):
        for number in range(6):
            (root / f'{split}_label/{number}.png').rename(root / f'{split}_label/{number}_mask.png')
    report = mend(config_of(root), output_dir)
    assert flags(report) == ['--label_suffix=_mask', '--num_classes=5']
    assert report['command'] == (
        f'python -m spade_jax.main --mode=validate_data --dataset=folders --data_dir={root} --label_suffix=_mask --num_classes=5 '
        '--load_size=36 --crop_size=32 --data_workers=2'
    )


def test_names_that_have_nothing_in_common(root, output_dir):
    for number in range(6):
        (root / f'train_label/{number}.png').rename(root / f'train_label/{"abcdef"[number]}.png')
    report, _ = look(config_of(root), output_dir)
    assert len(groups(report)['photographs have no label map']) == 6 and flags(report) == []


def test_unreadable_files_are_left_out(root, output_dir):
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    (root / 'val_label' / '2.png').write_bytes(b'')
    report = mend(config_of(root), output_dir)
    assert flags(report) == [
        f'--{split}_list={output_dir}/{split}_list.txt' for split in ('train', 'validation')
    ]
    assert (output_dir / 'train_list.txt').read_text().split() == ['0', '1', '2', '4', '5']
    assert all(
        suggestion['alternative'].startswith('--on_bad_example=skip')
        for suggestion in report['suggestions']
    )


def test_skipping_bad_examples_changes_nothing_here(root, output_dir):
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    _, message = look(config_of(root, on_bad_example='skip'), output_dir)
    assert message.startswith('1 defect in 1 file of the data set; the list is in ')


def test_photographs_without_label_map_are_left_out(root, output_dir):
    save(root / 'train_img' / 'more.png', noise())
    assert flags(mend(config_of(root), output_dir)) == [f'--train_list={output_dir}/train_list.txt']


def test_a_listing_with_wrong_lines(root, output_dir):
    (root / 'list.txt').write_text('0\n1\n2\nzebra\n1\n4\n')
    report = mend(config_of(root, train_list='list.txt'), output_dir)
    assert groups(report)['lines are listed twice'] == [
        f'{root}/list.txt, line 5: 1 is listed twice'
    ]
    assert (output_dir / 'train_list.txt').read_text().split() == ['0', '1', '2', '4']


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
def test_sizes(root, output_dir, size, settings, expected):
    save(root / 'train_img' / '0.jpg', noise(size=size))
    save(root / 'train_label' / '0.png', np.zeros(size, np.uint8))
    config = config_of(root, **settings)
    report = mend(config, output_dir)
    assert flags(report) == expected
    assert any(
        f'picture of {size[1]}x{size[0]}' in problem for problem in groups(report)[inspect.MISFITS]
    )


# Instance maps.


def test_instance_maps(root, output_dir):
    assert look(config_of(root, condition='labels+edges'), output_dir)[1] is None
    (root / 'train_inst' / '1.png').unlink()
    save(root / 'train_inst' / '2.png', np.zeros((4, 4), np.uint8))
    save(root / 'train_inst' / '3.png', noise())
    (root / 'train_inst' / '4.png').write_bytes(b'')
    (root / 'train_label' / '1.png').write_bytes(b'')
    report, _ = look(config_of(root, condition='labels+edges'), output_dir)
    found = groups(report)
    assert found['photographs have no instance map'][0].startswith(
        f'{root}/train_img/1.jpg has no instance map'
    )
    assert found['label maps cannot be read'][0].startswith(
        f'{root}/train_label/1.png'
    )  # in spite of the instance map that is missing
    assert found['instance maps and label maps have different sizes'][0].startswith(
        f'{root}/train_inst/2.png has 4x4 pixels'
    )
    assert found['instance maps have colours instead of ids'][0].startswith(
        f'{root}/train_inst/3.png'
    )
    assert found['instance maps cannot be read'][0].startswith(f'{root}/train_inst/4.png')


def test_a_missing_instance_map_is_left_out(root, output_dir):
    (root / 'train_inst' / '1.png').unlink()
    assert flags(mend(config_of(root, condition='labels+edges'), output_dir)) == [
        f'--train_list={output_dir}/train_list.txt'
    ]


def test_no_instance_maps_at_all(root, output_dir):
    recode(root, lambda label: label * 2)
    config = config_of(
        root,
        condition='labels+edges',
        train_instance_dir='nowhere',
        validation_instance_dir='nowhere',
    )
    report, _ = look(config, output_dir)
    assert flags(report) == ['--num_classes=5']
    assert [
        (suggestion['advice'], suggestion['reason']) for suggestion in report['suggestions'][1:]
    ] == [
        (
            f'set --{split}_instance_dir to where the instance maps are',
            f'--{split}_instance_dir=nowhere does not exist',
        )
        for split in ('train', 'validation')
    ]
    assert all(
        suggestion['alternative'].startswith('--condition=labels if')
        for suggestion in report['suggestions'][1:]
    )
    assert look(with_flags(config, [*flags(report), '--condition=labels']), output_dir)[1] is None
    assert 'nowhere' in groups(report)[inspect.NO_INSTANCES][0]


def test_a_mistyped_directory_of_instance_maps(root, output_dir):
    report = mend(
        config_of(root, condition='labels+edges', train_instance_dir='train_insts'), output_dir
    )
    assert flags(report) == ['--train_instance_dir=train_inst']
    (suggestion,) = report['suggestions']
    assert suggestion[
        'reason'
    ] == '--train_instance_dir=train_insts does not exist; train_inst does' and suggestion[
        'alternative'
    ].startswith('--condition=labels if')


def test_annotations_that_lack_a_photograph(root, output_dir):
    images = [
        {'id': number, 'file_name': f'{number}.jpg', 'width': 44, 'height': 40}
        for number in range(5)
    ]
    (root / 'instances.json').write_text(json.dumps({'images': images, 'annotations': []}))
    settings = dict(
        condition='labels+edges',
        train_instance_dir='instances.json',
        validation_instance_dir='instances.json',
    )
    report = mend(config_of(root, **settings), output_dir)
    assert (
        'does not list the photograph 5.jpg'
        in groups(report)['photographs have no instance map'][0]
    )


# Warnings.


def test_warnings(root, output_dir):
    save(root / 'train_label' / '0.png', np.full(SIZE, 255, np.uint8))
    (root / 'val_img' / '1.jpg').write_bytes((root / 'train_img' / '4.jpg').read_bytes())
    report, message = look(config_of(root, num_classes=5, dontcare=True), output_dir)
    assert message is None
    assert groups(report, what='warnings')[inspect.UNKNOWN_EVERYWHERE] == [
        f'{root}/train_label/0.png has nothing but 255'
    ]
    assert groups(report, what='warnings')['classes never occur in train'] == [
        '2 of 5: 3 class 3, 4 class 4'
    ]
    assert (
        f'{root}/val_img/1.jpg has the same pixels as {root}/train_img/4.jpg'
        in groups(report, 'validation', 'warnings')[inspect.IN_BOTH_SPLITS]
    )


# Whole splits.


def test_missing_directories(root, output_dir, tmp_path):
    report, message = look(
        config_of(root, train_image_dir='photos', validation_label_dir='nowhere'), output_dir
    )
    assert groups(report)[inspect.NOT_OPENED] == [
        f'train_image_dir: there is no directory {root}/photos ({root} has pictures in train_img: 6, train_inst: 6, '
        f'train_label: 6, val_img: 6, val_inst: 6, val_label: 6)'
    ]
    assert 'nowhere' in groups(report, 'validation')[inspect.NOT_OPENED][0]
    assert (
        message.startswith('2 defects in 2 files')
        and not (output_dir / 'contact_sheet.png').exists()
    )


def test_one_split_is_read_where_the_other_is_missing(root, output_dir):
    recode(root, lambda label: label * 2)
    report, _ = look(config_of(root, train_image_dir='photos'), output_dir)
    assert (
        len(groups(report, 'validation')[inspect.OUT_OF_RANGE]) == 6
        and (output_dir / 'contact_sheet.png').exists()
    )


def test_no_validation(tmp_path, output_dir):
    report, message = look(
        config_of(write_folders(tmp_path / 'data', splits=['train'])), output_dir
    )
    assert list(report['splits']) == ['train'] and message is None


def test_pictures_as_condition(root, output_dir):
    report, message = look(
        config_of(
            root,
            condition='rgb',
            train_label_dir='train_img',
            validation_label_dir='val_img',
            label_suffix='_x',
        ),
        output_dir,
    )
    assert message
    recode(root, lambda label: COLORS[label])
    save(root / 'val_label' / '2.png', noise(size=(10, 10)))
    report, message = look(config_of(root, condition='rgb'), output_dir)
    assert (
        groups(report, 'validation').keys()
        == {'photographs and condition pictures have different sizes'}
        and report['classes'] == []
    )
    assert (output_dir / 'contact_sheet.png').exists()


def test_scenes(tmp_path, output_dir):
    config = DataConfig(
        dataset='scenes',
        data_dir=str(tmp_path / 'records'),
        scenes_train_examples=3,
        load_size=32,
        crop_size=32,
        condition='labels+edges',
    )
    report, message = look(config, output_dir)
    assert (
        message is None
        and report['splits']['train']['examples'] == 3
        and report['splits']['validation']['examples'] == 64
    )
    assert {entry['name'] for entry in report['classes']} <= set(classes_of(config).names)
    assert (output_dir / 'contact_sheet.png').exists()


def test_prepared_records(root, output_dir, tmp_path):
    from spade_jax.data.records.writer import prepare

    config = config_of(root, condition='labels+edges', records_dir=str(tmp_path / 'records'))
    report, message = look(config, output_dir)
    assert 'has no prepared records' in groups(report)[inspect.NOT_OPENED][
        0
    ] and message.startswith('2 defects in 2 files')
    prepare(config)
    report, message = look(config, output_dir)
    assert message is None and report['splits']['train']['examples'] == 6
    assert report['splits']['train']['sizes'] == [{'width': 36, 'height': 36, 'examples': 6}]
    assert (
        f'--records_dir={tmp_path}/records' in report['command']
        and (output_dir / 'contact_sheet.png').exists()
    )


def test_a_source_with_bad_examples(root, output_dir, monkeypatch):
    """Sources that are no folders give whole examples."""
    from spade_jax.data.sources.folders import FolderSource

    recode(root, lambda label: label * 2)
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    monkeypatch.setattr(inspect, 'reads_folders', lambda config: False)
    monkeypatch.setattr(inspect, 'open_source', FolderSource)
    report, _ = look(config_of(root), output_dir)
    assert (
        len(groups(report)[inspect.OUT_OF_RANGE]) == 5
        and '3.jpg' in groups(report)[inspect.UNREADABLE_EXAMPLES][0]
    )
    assert flags(report) == ['--num_classes=5', '--on_bad_example=skip']
    assert flags(look(config_of(root), output_dir, count_classes=True)[0]) == [
        '--num_classes=5',
        '--on_bad_example=skip',
    ]


# The contact sheet.


def test_the_contact_sheet_has_the_colors_of_the_classes(root, output_dir):
    label = np.asarray(Image.open(root / 'val_label' / '0.png')).copy()
    label[:20] = 9
    save(root / 'val_label' / '0.png', label)
    config = config_of(root, condition='labels+edges')
    look(config, output_dir)
    sheet = Image.open(output_dir / 'contact_sheet.png')
    colors = {color: count for count, color in sheet.getcolors(1 << 24)}
    tile = 9000  # pixels of one label map, at least
    assert all(colors[tuple(map(int, color))] > 4 * tile for color in classes_of(config).colors)
    assert colors[NO_CLASS_COLOR] > tile / 3
    assert sheet.width == 1520


def test_the_contact_sheet_of_one_odd_example(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', count=1, size=(40, 400), splits=['train'])
    look(config_of(root), output_dir)
    assert Image.open(output_dir / 'contact_sheet.png').height > 200


def test_white_pictures_have_a_frame(tmp_path, output_dir):
    root = write_folders(tmp_path / 'data', count=1, splits=['train'])
    save(root / 'train_img' / '0.jpg', np.full((*SIZE, 3), 255, np.uint8))
    look(config_of(root), output_dir)
    sheet = np.asarray(Image.open(output_dir / 'contact_sheet.png'))
    row = sheet[sheet.shape[0] // 3]
    assert (row == contact_sheet._OUTLINE).all(
        -1
    ).sum() == 4  # left and right of photograph and label map


# Details.


@pytest.mark.parametrize(
    'targets, text',
    [
        ({1: 0, 2: 1, 3: 2, 7: 9}, '1-3:0-2,7:9'),
        ({0: 0, 5: 1}, '5:1'),
        ({3: 0, 9: 1, 10: 2}, '3:0,9-10:1-2'),
    ],
)
def test_the_text_of_a_table_of_ids(targets, text):
    assert remap_text(targets) == text


def test_flags_leave_out_what_the_data_set_sets():
    config = DataConfig(
        dataset='camvid_32',
        data_dir='a b',
        num_classes=32,
        aspect_ratio=4 / 3,
        label_suffix='_L',
        palette=read_palette(builtin_palette('camvid_32')),
        train_image_dir='701_StillsRaw_full',
        train_label_dir='LabeledApproved_full',
        crop_size=256,
    )
    given = needed_flags(config, 'palette.json')
    assert (
        command_line(given, {}) == "python -m spade_jax.main --dataset=camvid_32 '--data_dir=a b'"
    )
    assert (
        needed_flags(
            dataclasses.replace(config, palette=read_palette(builtin_palette('gaugan'))),
            'palette.json',
        )['palette']
        == 'gaugan'
    )
    assert command_line(given, {'condition': 'rgb'}).endswith('--condition=rgb')


def test_the_command_line_keeps_what_was_given():
    given = dict(
        workdir='runs/x',
        dataset='folders',
        seed=3,
        flip=True,
        palette='my.json',
        condition='labels+edges',
        train_instance_dir='inst',
        load_size=286,
    )
    assert command_line(given, {}) == (
        'python -m spade_jax.main --workdir=runs/x --dataset=folders --train_instance_dir=inst --condition=labels+edges '
        '--palette=my.json --load_size=286 --flip --seed=3'
    )
    assert command_line(
        given,
        {'palette': 'new.json', 'num_classes': 4, 'condition': 'labels', 'load_size': 300},
        mode='validate_data',
    ) == (
        'python -m spade_jax.main --mode=validate_data --workdir=runs/x --dataset=folders --num_classes=4 --palette=new.json --load_size=300 --flip --seed=3'
    )
    assert '--palette' not in command_line(given, {'condition': 'rgb'})


def test_the_command_that_trains(root, output_dir, tmp_path, capsys):
    """It runs: without weights of VGG19 there is no perceptual loss; and directory and palette are those that were given."""
    palette = tmp_path / 'own.json'
    palette.write_text(
        json.dumps([{'name': f'class {number}', 'color': f'#00000{number}'} for number in range(3)])
    )
    config = config_of(root, palette=read_palette(str(palette)))
    report, message = look(
        config,
        output_dir,
        given=dict(
            workdir='runs/mine',
            dataset='folders',
            data_dir=str(root),
            palette=str(palette),
            output_dir='x',
        ),
    )
    expected = f'python -m spade_jax.main --workdir=runs/mine --dataset=folders --data_dir={root} --palette={palette} --perceptual_weight=0'
    assert (
        message is None
        and report['command'] == expected
        and f'{expected}\n  (--perceptual_weight=0, because' in capsys.readouterr().out
    )
    assert not (output_dir / 'palette.json').exists()
    report, _ = look(
        dataclasses.replace(config, vgg19_weights='vgg19.pth'),
        output_dir,
        given=dict(dataset='folders', vgg19_weights='vgg19.pth'),
    )
    assert (
        report['command']
        == 'python -m spade_jax.main --workdir=runs/folders --dataset=folders --vgg19_weights=vgg19.pth'
    )


# Classes that are counted.


@pytest.mark.parametrize(
    'change, given, expected',
    [
        (lambda label: label, {}, ['--num_classes=3']),
        (lambda label: label * 2, {}, ['--num_classes=5']),
        (lambda label: np.where(label == 2, 255, label), {}, ['--num_classes=2', '--dontcare']),
        (lambda label: np.where(label == 2, 255, label), dict(dontcare=True), ['--num_classes=2']),
        (lambda label: label + 253, {}, ['--num_classes=256']),
    ],
)
def test_classes_are_counted(root, output_dir, change, given, expected):
    recode(root, lambda label: change(label).astype(np.uint8))
    report, message = look(config_of(root, **given), output_dir, given=given, count_classes=True)
    assert (
        message is None
        and flags(report) == expected
        and all(flag in report['command'] for flag in expected)
    )


@pytest.mark.parametrize(
    'change, expected',
    [
        (lambda label: np.where(label > 0, 255, 0), ['--label_remap=255:1', '--num_classes=2']),
        (
            lambda label: label.astype(np.uint16) * 1000,
            ['--label_remap=1000:1,2000:2', '--num_classes=3'],
        ),
    ],
)
def test_ids_that_do_not_count_are_renumbered(root, output_dir, change, expected):
    recode(
        root,
        change
        if change(np.zeros(1, np.uint8)).dtype == np.uint16
        else lambda label: change(label).astype(np.uint8),
    )
    config = config_of(root)
    report, message = look(config, output_dir, count_classes=True)
    assert message and sorted(flags(report)) == sorted(expected)
    assert look(with_flags(config, flags(report)), output_dir)[1] is None


def test_classes_of_color_masks_are_counted(root, output_dir):
    recode(root, lambda label: COLORS[label])
    report, _ = look(config_of(root), output_dir, count_classes=True)
    assert flags(report) == [f'--palette={output_dir}/palette.json', '--num_classes=3']


def put_id(root, value, pixels=5):
    """Writes an id into one label map."""
    label = np.asarray(Image.open(root / 'train_label' / '3.png')).copy()
    label.ravel()[:pixels] = value
    save(root / 'train_label' / '3.png', label)


@pytest.mark.parametrize('count_classes', [True, False])
def test_a_stray_id_is_no_class(root, output_dir, count_classes):
    put_id(root, 200, pixels=900)
    report, message = look(config_of(root), output_dir, count_classes=count_classes)
    assert message.startswith('1 defect in 1 file')
    assert flags(report) == ['--num_classes=3'] * count_classes + [
        f'--train_list={output_dir}/train_list.txt'
    ]
    suggestion = report['suggestions'][-1]
    assert suggestion['reason'].startswith('id 200 in few files is probably a mistake; ')
    assert suggestion['alternative'].startswith(
        'mend the label maps; --label_remap=200:255 --dontcare makes these pixels "unknown"; or --on_bad_example=skip'
    )
    assert (output_dir / 'train_list.txt').read_text().split() == ['0', '1', '2', '4', '5']
    for given in (flags(report), ['--label_remap=200:255', '--dontcare']):
        assert look(with_flags(config_of(root), given), output_dir.with_name('again'))[1] is None


def test_a_rare_id_that_continues_the_classes_may_be_one(root, output_dir):
    put_id(root, 3)
    report, _ = look(config_of(root), output_dir)
    assert (
        flags(report) == [f'--train_list={output_dir}/train_list.txt']
        and '--num_classes=4 if it is a class' in report['suggestions'][0]['alternative']
    )
    put_id(root, 3, pixels=900)
    assert flags(look(config_of(root), output_dir)[0]) == ['--num_classes=4']


def scatter_ids(root, count):
    """Every label map gets ids of its own, as of many classes of which each is rare."""
    for number, path in enumerate(sorted(root.glob('*_label/*.png'))):
        label = np.asarray(Image.open(path)).copy()
        label[:3, : count // 12] = 3 + number * (count // 12) + np.arange(count // 12)
        save(path, label)


@pytest.mark.parametrize('count_classes', [True, False])
def test_many_rare_classes_are_classes(root, output_dir, count_classes):
    scatter_ids(root, 120)
    report, message = look(config_of(root), output_dir, count_classes=count_classes)
    assert flags(report) == ['--num_classes=123'] and (message is None) == count_classes


def test_ids_of_many_rare_classes_that_were_saved_as_colors(root, output_dir):
    scatter_ids(root, 36)
    recode(root, lambda label: np.repeat(label[..., None], 3, axis=-1))
    assert flags(mend(config_of(root), output_dir)) == [
        f'--palette={output_dir}/palette.json',
        '--num_classes=39',
    ]


def test_stray_ids_beside_others(root, output_dir):
    recode(root, lambda label: label * 2)
    put_id(root, 200)
    assert flags(mend(config_of(root), output_dir)) == [
        '--num_classes=5',
        f'--train_list={output_dir}/train_list.txt',
    ]


def test_a_listing_with_extensions(root, output_dir):
    (root / 'list.txt').write_text('0\n1.jpg\n2\n3\n')
    report = mend(config_of(root, train_list='list.txt'), output_dir)
    assert groups(report) == {
        'listed examples have an extension': [f'{root}/list.txt, line 2: 1.jpg has an extension']
    }


# Further hints.


def test_names_that_differ_in_how_they_begin(root, output_dir):
    for split in ('train', 'val'):
        for number in range(6):
            (root / f'{split}_img/{number}.jpg').rename(root / f'{split}_img/photo_1{number}.jpg')
            (root / f'{split}_label/{number}.png').rename(
                root / f'{split}_label/mask_1{number}.png'
            )
    report, message = look(config_of(root), output_dir)
    (suggestion,) = report['suggestions']
    assert (
        message
        and 'photographs with "photo_", label maps with "mask_"' in suggestion['reason']
        and '${file#mask_}' in suggestion['advice']
    )


def test_names_without_any_label_map_are_not_to_be_changed(root, output_dir):
    for number in range(6):
        (root / f'train_label/{number}.png').unlink()
        (root / f'train_img/{number}.jpg').rename(root / f'train_img/photo_{number}.jpg')
    assert all(
        'rename' not in suggestion['advice']
        for suggestion in look(config_of(root), output_dir)[0]['suggestions']
    )


def test_the_shape_of_the_photographs(tmp_path, output_dir, capsys):
    root = write_folders(tmp_path / 'data', size=(40, 80))
    report, message = look(config_of(root), output_dir)
    assert message is None
    assert groups(report, what='warnings') == {
        'pictures have another shape than --aspect_ratio=1': [
            'width / height is 2 for most of them: they are stretched'
        ]
    }
    printed = capsys.readouterr().out
    assert (
        'No defects, but 2 warnings, see above. To train:' in printed
        and 'data are fine' not in printed
    )
    assert (
        look(config_of(root, aspect_ratio=2.0, crop_size=64, load_size=72), output_dir)[0][
            'splits'
        ]['train']['warnings']
        == []
    )


def test_many_classes_that_never_occur(root, output_dir):
    report, _ = look(config_of(root, num_classes=20), output_dir)
    (group,) = report['splits']['train']['warnings']
    assert group['files'][0]['remedy'].endswith('--num_classes=3 is enough for the ids that occur')


def test_the_alternative_to_a_list_is_not_repeated_to_who_has_taken_it(root, output_dir):
    (root / 'train_img' / '3.jpg').write_bytes(b'')
    report, _ = look(config_of(root, on_bad_example='skip'), output_dir)
    assert report['suggestions'][0]['alternative'] == ''


def test_a_palette_of_ones_own_lies_beside_the_report(root, output_dir, tmp_path):
    palette = tmp_path / 'own.json'
    palette.write_text(
        json.dumps(
            [
                {'name': name, 'color': color}
                for name, color in (('a', '#000001'), ('b', '#000002'), ('c', '#000003'))
            ]
        )
    )
    config = config_of(root, palette=read_palette(str(palette)))
    report, message = look(config, output_dir)
    assert message is None and f'--palette={output_dir}/palette.json' in report['command']
    assert read_palette(str(output_dir / 'palette.json')) == config.palette


def test_the_program(root, output_dir):
    """From the command line, with the very flags that the report prints."""
    recode(root, lambda label: label + 1)
    arguments = [
        '--mode=validate_data',
        '--dataset=folders',
        f'--data_dir={root}',
        '--num_classes=3',
        '--load_size=36',
        '--crop_size=32',
        f'--output_dir={output_dir}',
    ]
    result = run(*arguments)
    assert (
        result.returncode == 2
        and '12 defects in 12 files' in result.stderr.splitlines()[-1]
        and 'Traceback' not in result.stderr
    )
    command = json.loads((output_dir / 'report.json').read_text())['command'].split()[3:]
    result = run(*command, f'--output_dir={output_dir}')
    assert result.returncode == 0, result.stderr
    assert 'To train:' in result.stdout and '--label_remap=1-3:0-2' in result.stdout


def test_suggested_numberings_suffice_for_any_ids():
    """Whatever ids there are: with the suggested flags, each is a class, and no two became one."""
    random = np.random.default_rng(0)
    tried = 0
    for _ in range(400):
        limit = int(random.choice([3, 20, 254, 260, 400, 65536]))
        present = set(
            random.choice(limit, min(limit, int(random.integers(1, 40))), replace=False).tolist()
        ) | ({255} if random.random() < 0.3 else set())
        config = DataConfig(
            dataset=str(random.choice(['folders', 'ade20k'])),
            num_classes=int(random.integers(1, 200)),
            dontcare=bool(random.integers(2)),
            label_remap=str(random.choice(['', '60000:1'])),
        )
        report = inspect.SplitReport('train')
        examined = inspect.Examined('x', pixels=dict.fromkeys(present, 1))
        examined.out_of_range = tuple(
            value for value in present if not inspect.is_class(value, config)
        )
        report.add(0, examined)
        found = suggestions.suggestions(config, [report], '/')
        assert bool(found) == bool(examined.out_of_range)
        mended = with_flags(
            config,
            [flag for suggestion in found for flag in suggestions.format_flags(suggestion.changes)],
        )
        renumbered = (
            LabelReader(mended).renumber(np.array([sorted(present)]))
            if not config.label_remap
            else np.array([sorted(present)])
        )
        assert all(inspect.is_class(int(value), mended) for value in renumbered[0]), (
            present,
            config,
            found,
        )
        assert len(np.unique(renumbered)) == len(present)
        tried += bool(found)
    assert tried > 200
