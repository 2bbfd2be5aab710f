import pytest

from tests.sampling import tiny


@pytest.fixture(scope='session')
def plain():
    return tiny.generator(tiny.PLAIN)


@pytest.fixture(scope='session')
def styled():
    return tiny.generator(tiny.STYLED)
