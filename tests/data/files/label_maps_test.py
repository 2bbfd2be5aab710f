"""Names of the files in a directory of label maps."""

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_maps import instance_name, label_files


def test_label_files_and_instance_names_follow_suffixes(tmp_path):
    config = DataConfig(
        condition='labels+edges', label_suffix='_labelIds', instance_suffix='_instanceIds'
    )
    for name in ('a_labelIds.png', 'a_color.png', '._a_labelIds.png'):
        (tmp_path / name).write_bytes(b'')
    assert label_files(str(tmp_path), config.label_suffix) == ['a_labelIds.png']
    assert label_files(str(tmp_path), '_other') == ['a_color.png', 'a_labelIds.png']
    assert instance_name('x/a_labelIds.png', config) == 'x/a_instanceIds.png'
    assert instance_name('a.png', DataConfig()) == 'a.png'
