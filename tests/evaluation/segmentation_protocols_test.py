import pytest

from spade_jax.evaluation.segmentation_protocols import (
    PROTOCOLS,
    SCRIPTS,
    UNKNOWN,
    Choices,
    resolve,
)


def test_protocol_sets_what_is_not_given():
    given = Choices(scales='several')
    choices, described = resolve(given, 'gan_compression', 'cityscapes')
    assert choices == Choices('as_generated', 'label_size', 'several', 'in_either')
    assert described == {'protocol': 'gan_compression'} | choices._asdict()


def test_what_a_paper_does_not_tell_is_named_as_assumed():
    choices, described = resolve(Choices(mean_over='all'), 'oasis', 'cityscapes')
    assert choices == Choices('as_generated', 'image_size', 'one', 'all')
    assert described['scales'] == 'not published; assumed one'
    assert (described['compare'], described['mean_over']) == ('image_size', 'all')


@pytest.mark.parametrize('data_set', SCRIPTS)
def test_scripts_of_the_network_know_all_choices(data_set):
    choices, described = resolve(Choices(), 'scripts', data_set)
    assert choices == SCRIPTS[data_set]
    assert described == {'protocol': 'scripts'} | choices._asdict()


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('data_set', SCRIPTS)
def test_every_choice_has_a_value(protocol, data_set):
    choices, described = resolve(Choices(), protocol, data_set)
    assert UNKNOWN not in choices
    for name, value in choices._asdict().items():
        assert described[name] in (value, f'not published; assumed {value}')
