"""Every layout of data walks through the program: validate, prepare, one step of training, sample.

All with as many classes, whatever the data set has, so that few train steps have to be compiled; with the data sets' own settings, `miniatures_test` goes as
far as to a batch.
"""

import itertools

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

from spade_jax import main as program
from tests.data.miniatures import MINIATURES

SMALL = [
    '--crop_size=32',
    '--load_size=36',
    '--aspect_ratio=1',
    '--generator_width=2',
    '--spade_hidden=4',
    '--discriminator_width=4',
    '--discriminator_depth=2',
    '--num_discriminators=1',
    '--perceptual_weight=0',
    '--batch_size=4',
    '--num_grid_samples=2',
    '--data_workers=2',
    '--max_steps=1',
    '--init_gain=1',
]
AS_THEY_ARE = (
    'coco_stuff',
    'coco_stuff_folders',
    'edge_images',
)  # with instance edges, and with condition pictures
CLASSES = ['--num_classes=182', '--dontcare', '--condition=labels']


def run(*arguments):
    """The program with these flags, in this process. Raises SystemExit where it would end with an error."""
    values = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    try:
        program.main(flags.FLAGS(['program', *map(str, arguments)]))
    finally:
        for name, value in values.items():
            flags.FLAGS[name].value = value
            flags.FLAGS[name].present = 0
        flags.FLAGS.unparse_flags()


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
    monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
    monkeypatch.setattr(jax, 'device_count', lambda: 1)


@pytest.mark.slow
@pytest.mark.parametrize('name', MINIATURES)
def test_validate_prepare_train_sample(name, tmp_path, capsys):
    data = [
        *MINIATURES[name](tmp_path / 'data'),
        *SMALL,
        *(CLASSES if name not in AS_THEY_ARE else []),
    ]
    run('--mode=validate_data', f'--output_dir={tmp_path}/report', *data)
    assert (tmp_path / 'report' / 'contact_sheet.png').exists()
    run('--mode=prepare_data', f'--records_dir={tmp_path}/records', *data)
    run(f'--workdir={tmp_path}/run', f'--records_dir={tmp_path}/records', *data)
    capsys.readouterr()
    if name == 'camvid_32':  # which has no validation set
        run(
            '--mode=sample',
            f'--workdir={tmp_path}/run',
            f'--output_dir={tmp_path}/pictures',
            '--nogallery',
            f'--label_dir={tmp_path}/data/LabeledApproved_full',
        )
    else:
        run(
            '--mode=sample',
            f'--workdir={tmp_path}/run',
            f'--output_dir={tmp_path}/pictures',
            '--nogallery',
        )
    pictures = sorted((tmp_path / 'pictures').rglob('*.png'))
    assert len(pictures) >= 2 and f'{len(pictures)} pictures' in capsys.readouterr().out
    drawn = [np.asarray(Image.open(path)) for path in pictures]
    assert all(picture.shape == (32, 32, 3) for picture in drawn)
    assert all(np.any(one != other) for one, other in itertools.pairwise(drawn))
