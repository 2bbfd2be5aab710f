"""Write PyTorch weights of the run in --workdir to --output_dir."""

from absl import flags

from spade_jax.commands.convert import TORCH_EPOCH
from spade_jax.commands.shared import OUTPUT_DIR, WORKDIR, checked_output_dir, given_workdir
from spade_jax.config.resumption import command_to_convert
from spade_jax.errors import UserError

TORCH_FORMAT = flags.DEFINE_enum(
    'torch_format', 'pth', ['pth', 'npz', 'safetensors'], 'File format; pth needs PyTorch.'
)
FLAGS = (OUTPUT_DIR, TORCH_EPOCH, TORCH_FORMAT)
HELP = {'output_dir': 'Directory of the files.'}
SECTIONS = ()


def run() -> None:
    """Write the networks of the newest checkpoint."""
    workdir = given_workdir(may_be_demo=True)
    if OUTPUT_DIR.value is None:
        raise UserError('--output_dir is missing', 'give a directory for latest_net_G.pth, ...')
    output_dir = checked_output_dir(OUTPUT_DIR.value)
    from spade_jax.convert import to_torch
    from spade_jax.distributed.devices import start_devices

    start_devices()
    config, files = to_torch.export(workdir, output_dir, TORCH_FORMAT.value, TORCH_EPOCH.value)
    print(f'{workdir} -> {", ".join(files)}')
    if unsupported := to_torch.unsupported_by_reference(config):
        print(f'The reference implementation does not support {", ".join(unsupported)}: it cannot')
        print('load these files; --mode=convert can.')
    back = command_to_convert(config, str(WORKDIR.value), output_dir, TORCH_EPOCH.value)
    print(f'To convert back, to a new run:\n  {back}')
