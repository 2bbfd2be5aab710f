"""Scripts that tests run in a page, with its modules and with bytes and arrays of the test."""

import base64
import io

import numpy as np
from PIL import Image

# Makes `state`, `module`, and functions for bytes known to the body of an evaluated function.
PRELUDE = """async (given) => {
  const load = (name) => import(`/static/js/${name}.js`);
  const [{state, update}, bytes, map] = await Promise.all(['state', 'bytes', 'document'].map(load));
  const open = ({ids, width, height, format, origin, dtype = 'uint8'}) => map.openDocument({
    ids: bytes.idsOfBytes(bytes.fromBase64(ids), dtype), width, height,
    origin: origin ? {bytes: bytes.fromBase64(origin), format} : null,
  });
  const file = (name, content) => new File([bytes.fromBase64(content)], name);
  """


def run(page, body, **given):
    """The result of a body of JavaScript that has `given`; bytes travel as base64."""
    text = {
        key: encoded(value) if isinstance(value, bytes) else value for key, value in given.items()
    }
    return page.evaluate(f'{PRELUDE}{body}}}', text)


def run_bytes(page, body, **given):
    return base64.b64decode(run(page, body, **given))


def encoded(content):
    return base64.b64encode(content).decode()


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'png', **options)
    return file.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def document(ids):
    height, width = ids.shape
    return dict(ids=ids.tobytes(), width=width, height=height, dtype=ids.dtype.name)
