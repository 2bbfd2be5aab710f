"""Hold back what libraries write to standard error while they start."""

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Show what C++ writes to standard error, a dozen lines, only if the block fails."""
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as restore:
        terminal = os.dup(2)
        restore.callback(os.close, terminal)
        restore.callback(os.dup2, terminal, 2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
