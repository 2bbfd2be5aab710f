import pytest

from tests.studio.serving import serving


@pytest.fixture(scope='module')
def served():
    """A server of the demo, shared by the tests of a module."""
    with serving() as running:
        yield running
