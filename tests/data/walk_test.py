"""Every data set through the program: validate, prepare, read a batch; three kinds of layouts:
train a step and sample.
"""

import itertools

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.flags import config_from_flags
from spade_jax.data.pipeline.input_pipeline import validation_examples
from spade_jax.data.sources.open_source import open_source
from spade_jax.memory import machine_fit
from tests.data.miniatures import MINIATURES
from tests.fixtures.cli import parsed_flags, succeed_inline
from tests.program import SMALL

SIZES = ['--aspect_ratio=1', '--data_workers=2']
# One data set for each kind of layout: labels, labels+edges, rgb.
KINDS = ('camvid', 'coco_stuff', 'edge_images')


def data_flags(name, tmp_path):
    return [*MINIATURES[name](tmp_path / 'data'), *SIZES, *SMALL]


@pytest.mark.parametrize('name', MINIATURES)
def test_data_set_is_validated_prepared_and_read(name, tmp_path, monkeypatch):
    monkeypatch.setattr(machine_fit, 'needs', lambda *_, **__: '')  # It traces a train step.
    data = data_flags(name, tmp_path)
    succeed_inline('--mode=validate_data', f'--output_dir={tmp_path}/report', *data)
    assert (tmp_path / 'report' / 'contact_sheet.png').exists()
    data.append(f'--records_dir={tmp_path}/records')
    succeed_inline('--mode=prepare_data', *data)
    with parsed_flags(*data) as values:
        config = config_from_flags(values).data
    source = open_source(config, 'train')
    assert source is not None
    batch = validation_examples(source, config, 4)
    assert batch.image.shape == (4, 32, 32, 3)
    assert batch.label.shape == (4, 32, 32, 3)[: 3 if config.uses_labels else 4]
    assert len(np.unique(batch.label)) > 1
    assert (batch.instance is not None) == config.instance_edges


@pytest.mark.parametrize('name', KINDS)
def test_kind_of_layout_is_trained_and_sampled(name, tmp_path):
    workdir, images = tmp_path / 'run', tmp_path / 'images'
    # With the usual gain an untrained generator samples uniform gray.
    options = ('--max_steps=1', '--init_gain=1.3')
    succeed_inline(f'--workdir={workdir}', *options, *data_flags(name, tmp_path))
    sample = ('--mode=sample', f'--workdir={workdir}', f'--output_dir={images}', '--nogallery')
    printed = succeed_inline(*sample)
    paths = sorted(images.rglob('*.png'))
    assert len(paths) >= 2
    assert f'{len(paths)} images' in printed
    samples = [np.asarray(Image.open(path)) for path in paths]
    assert {sample.shape for sample in samples} == {(32, 32, 3)}
    for one, other in itertools.pairwise(samples):
        assert np.any(one != other)
