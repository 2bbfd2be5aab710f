"""Paint label maps in the browser and see the image, live.

A server on this machine shows a page at http://127.0.0.1:8128/, which samples with the demo, or
with the run of --workdir, whose configuration is in the checkpoint. Nothing leaves the machine.
"""

from __future__ import annotations

import functools
import os
import sys

from absl import flags

import spade_jax
from spade_jax.commands import shared
from spade_jax.config.flags import check_given

ADDRESS = flags.DEFINE_string(
    'address',
    '127.0.0.1',
    'Address to serve at. Any other than this machine alone, such as 0.0.0.0 for all networks, '
    'needs the token of the printed URL.',
)
PORT = flags.DEFINE_integer(
    'port', 8128, 'Port to serve at. Drafts in the browser belong to it.', 1, 65535
)
OPEN_BROWSER = flags.DEFINE_bool(
    'open_browser', None, 'Open the page. Default: where there is a display.'
)
STUDIO_HOST = flags.DEFINE_list(
    'studio_host', [], 'Names by which a proxy reaches the studio, such as studio.example.org.'
)
FLAGS = (ADDRESS, PORT, OPEN_BROWSER, STUDIO_HOST, *shared.GENERATOR_FLAGS)
SECTIONS = ()


def run() -> None:
    """Serve until the process is interrupted."""
    import asyncio

    from spade_jax.studio import description, guards, server
    from spade_jax.studio.sampler import GeneratorSampler

    is_default = shared.WORKDIR.value is None
    workdir = spade_jax.DEMO if is_default else shared.given_workdir(may_be_demo=True)
    sampled = description.Run.open(workdir, shared.CHECKPOINT_STEP.value)
    check_given(flags.FLAGS, sampled.config, ())
    description.check_paintable(sampled.config)
    address, port = ADDRESS.value, PORT.value
    access = guards.Access.create(address, port, STUDIO_HOST.value)
    sockets = server.bind(address, port)
    home = f'http://{guards.with_port(address, port)}/'
    studio = server.Studio(
        sampled,
        access,
        GeneratorSampler(functools.partial(shared.load_generator, workdir)),
        home if address == '127.0.0.1' else '',
        description.restart_command(sys.argv[1:]),
    )

    def announce() -> None:
        url = f'http://HOST:{port}/' if address in ('0.0.0.0', '::') else home
        url += f'#token={access.token}' if access.token else ''
        print(f'Studio: {url} ({sampled.name}, step {sampled.step}; Ctrl-C stops it)', flush=True)
        if OPEN_BROWSER.value or OPEN_BROWSER.value is None and _has_display():
            import webbrowser

            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, url)

    asyncio.run(server.serve_until_signal(studio, sockets, announce))
    if not studio.connections.has_ended:
        # It loads or compiles: nothing interrupts that, and it must not outlive what it uses.
        sys.stdout.flush()
        os._exit(0)


def _has_display() -> bool:
    """Return whether a browser can be shown."""
    is_desktop = sys.platform in ('darwin', 'win32')
    return is_desktop or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
