"""What the page loads: small, its own, and with the licenses of what others made."""

import re

from spade_jax.studio.handlers import STATIC

MOST_BYTES = 300_000


def texts(*suffixes):
    return {
        path.relative_to(STATIC).as_posix(): path.read_text()
        for path in sorted(STATIC.rglob('*'))
        if path.suffix in suffixes
    }


def test_static_files_are_at_most_300_kb():
    sizes = {path: path.stat().st_size for path in STATIC.rglob('*') if path.is_file()}
    assert sum(sizes.values()) <= MOST_BYTES, sorted(sizes.items(), key=lambda one: -one[1])[:5]


def test_page_names_no_other_origin():
    for name, text in texts('.html', '.css', '.js').items():
        code = re.sub(r'/\*.*?\*/', '', text, flags=re.DOTALL)
        addresses = set(re.findall(r'(?:https?|wss?):/*[^\s\'"`)]+', code))
        assert addresses <= {'http://www.w3.org/2000/svg', 'ws://${location.host}/live'}, name


def test_page_has_no_inline_script_or_style():
    page = (STATIC / 'index.html').read_text()
    assert not re.search(r'<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)', page)


def test_no_module_parses_text_as_markup_or_code():
    pattern = r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function'
    for name, text in texts('.js').items():
        assert not re.search(pattern, text), name


def test_all_icons_are_in_the_sprite():
    sprite = set(re.findall(r'<symbol id="icon-([\w-]+)"', (STATIC / 'index.html').read_text()))
    for name, text in texts('.js').items():
        used = re.findall(r"(?:\bicon|iconButton)\('([\w-]+)'|\bicon: '([\w-]+)'", text)
        assert {one or other for one, other in used} <= sprite, name


def test_licenses_of_the_font_and_the_icons_are_beside_them():
    text = (STATIC / 'licenses.txt').read_text()
    for part in ('SIL OPEN FONT LICENSE', 'Inter Project Authors', 'ISC License', 'Lucide'):
        assert part in text
