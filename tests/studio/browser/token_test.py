"""A page at an address of the network: its token, and what it says without one."""

import pytest
from playwright.sync_api import expect

from spade_jax.studio import guards
from tests.studio.serving import serving


@pytest.fixture(scope='module')
def served():
    with serving(access=lambda port: guards.Access.create('0.0.0.0', port)) as running:
        yield running


def test_token_of_the_address_opens_the_page_and_is_removed(open_page, served):
    page = open_page(f'{served.url}/#token={served.studio.access.token}')
    expect(page.locator('html')).to_have_attribute('data-link', 'ready', timeout=20_000)
    assert page.url == f'{served.url}/'
    page.reload()  # The cookie stays.
    expect(page.locator('html')).to_have_attribute('data-link', 'ready', timeout=20_000)
    assert page.evaluate('document.cookie') == ''


def test_page_without_token_says_what_to_do(open_page, served, expected_problems):
    expected_problems.append('401')
    page = open_page(served.url)
    notices = page.get_by_role('region', name='Notices')
    expect(notices).to_contain_text('open the address that the program printed', timeout=20_000)


def test_page_of_an_earlier_server_asks_for_the_new_token(open_page, expected_problems):
    expected_problems += ['401', '503', 'ERR_CONNECTION_REFUSED', 'WebSocket connection']
    access = []

    def at(port):
        access.append(guards.Access.create('0.0.0.0', port))
        return access[-1]

    with serving(access=at) as first:
        page = open_page(f'{first.url}/#token={access[-1].token}')
        expect(page.locator('html')).to_have_attribute('data-link', 'ready', timeout=20_000)
    with serving(access=at, port=first.port):
        expect(page.locator('html')).to_have_attribute('data-link', 'refused', timeout=20_000)
        expect(page.locator('body')).to_contain_text('the token is missing', timeout=20_000)
