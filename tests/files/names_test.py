import pytest

from spade_jax.files.names import is_below, is_inside


@pytest.mark.parametrize('name', ['a', 'a/b.c', '..a/b..', 'a\\..\\b', 'ä', '\udce4'])
def test_relative_names_are_inside(name):
    assert is_inside(name)


@pytest.mark.parametrize(
    'name', ['', '/a', '..', '../a', 'a/../../b', 'a/..', 'a\0', '\ud800', 3, None, ['a']]
)
def test_other_names_are_not_inside(name):
    assert not is_inside(name)


def test_is_below_resolves_links(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to('real')
    assert is_below(str(tmp_path / 'link' / 'new'), str(tmp_path / 'real'))
    assert is_below(str(tmp_path / 'real'), str(tmp_path / 'link'))
    assert not is_below(str(tmp_path / 'really'), str(tmp_path / 'real'))
