"""The HTML skeleton and color scheme that all pages of this package share.

A page is one file that opens without network access: no scripts, no external resources.
It follows the light or dark setting of the browser.
Bodies and additional styles use these CSS variables and classes:

    --back --text --quiet --line --card    background, text, secondary text, lines, boxes
    --healthy --warn --c0 ... --c5         shaded ranges, warnings, the colors of curves
    .quiet .warn                           secondary text, warnings
"""

import html

GENERATOR = '<meta name="generator" content="spade_jax">'  # within the first 1000 characters
# What a gallery consists of, apart from the samples.
GALLERY_SHEET, GALLERY_PAGE, GALLERY_DIRECTORY = 'contact_sheet.png', 'index.html', 'gallery'
_STYLE = """
:root { color-scheme: light dark;
  --back: #fff; --text: #1b1f24; --quiet: #59636e; --line: #e3e6ea; --card: #f6f8fa;
  --healthy: #1a7f371f; --warn: #9a6700;
  --c0: #0969da; --c1: #cf5b00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #57606a; }
@media (prefers-color-scheme: dark) { :root {
  --back: #0f1318; --text: #e6edf3; --quiet: #9aa4af; --line: #262c34; --card: #171c23;
  --healthy: #3fb95026; --warn: #d9a520;
  --c0: #58a6ff; --c1: #f0883e; --c2: #56d364; --c3: #bc8cff; --c4: #f778ba; --c5: #9aa4af; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1120px; padding: 0 1rem;
  background: var(--back); color: var(--text); }
h1 { margin-bottom: 0; overflow-wrap: anywhere; }
figcaption, .quiet { color: var(--quiet); }
.warn { color: var(--warn); }
"""


def html_page(title: str, body: str, style: str = '') -> str:
    """A complete HTML document with the title as its heading, to be written as UTF-8.

    Args:
      title: Plain text; it is escaped here.
      body: HTML below the heading, already escaped.
      style: CSS rules of this page. They override the shared ones.
    """
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{GENERATOR}<title>{title}</title>
<style>{_STYLE}{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""
