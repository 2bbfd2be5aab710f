from spade_jax.files.html_page import GENERATOR, html_page


def test_title_is_escaped_and_body_is_not():
    page = html_page('<a & b>', '<p>text</p>')
    assert page.count('&lt;a &amp; b&gt;') == 2  # title and heading
    assert '<a & b>' not in page
    assert '<p>text</p>' in page


def test_style_follows_shared_style():
    page = html_page('title', '', 'body { max-width: 1px; }')
    assert page.index('max-width: 1120px') < page.index('max-width: 1px')


def test_generator_is_near_the_start():
    assert GENERATOR in html_page('title', '')[:1000]
