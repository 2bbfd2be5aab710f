import os
import types

import numpy as np
import pytest

from spade_jax.data.paired_transforms import Example
from spade_jax.errors import UserError
from spade_jax.sampling.drawing import output_files


def maps_of(directory, *files):
    return types.SimpleNamespace(names=[os.path.splitext(file)[0] for file in files], paths=[f'{directory}/{file}' for file in files],
                                 locations=[f'{directory}/{file}' for file in files])


def test_pictures_replace_nothing():
    assert output_files(maps_of('labels', 'a.png'), 'pictures', 2) == [['pictures/a_0.png', 'pictures/a_1.png']]
    with pytest.raises(UserError, match='written over the label map'):
        output_files(maps_of('labels', 'a.png'), 'labels', 1)
    with pytest.raises(UserError, match='a.png would be written over that of labels/a.bmp'):
        output_files(maps_of('labels', 'a.bmp', 'a.png'), 'pictures', 1)
