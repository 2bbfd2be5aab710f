"""Convert published PyTorch weights to a work directory that samples and trains.

The options describe the run that continues the training of the weights.
"""

import os

from absl import flags

from spade_jax.commands.shared import check_directory, given_workdir
from spade_jax.config.flags import described_options, flags_to_resume, given_options
from spade_jax.errors import UserError

TORCH_CHECKPOINT_DIR = flags.DEFINE_string(
    'torch_checkpoint_dir', None, 'Directory of <epoch>_net_{G,D,E}.pth, .npz or .safetensors.'
)
TORCH_EPOCH = flags.DEFINE_string('torch_epoch', 'latest', 'Prefix <epoch> of the file names.')
FLAGS = (TORCH_CHECKPOINT_DIR, TORCH_EPOCH)
SECTIONS = ('data', 'model', 'losses', 'optimizer', 'run')
FIRST_FLAGS = {
    'Files': ('torch_checkpoint_dir', 'torch_epoch', 'workdir'),
    'Classes': ('dataset', 'num_classes', 'dontcare', 'condition'),
    'Size': ('crop_size', 'aspect_ratio', 'upsampling', 'generator_norm'),
}


def run() -> None:
    """Write the first checkpoint of --workdir."""
    workdir = given_workdir()
    if TORCH_CHECKPOINT_DIR.value is None:
        problem = '--torch_checkpoint_dir is missing'
        raise UserError(problem, 'give the directory of latest_net_G.pth, ...')
    directory = os.path.expanduser(TORCH_CHECKPOINT_DIR.value)
    described = described_options(flags.FLAGS, dataset_may_be_unknown=True)
    given = given_options(flags.FLAGS)
    check_directory('workdir', workdir)
    from spade_jax.convert import from_torch
    from spade_jax.distributed.devices import start_devices

    start_devices()
    config, files = from_torch.convert(directory, TORCH_EPOCH.value, workdir, described, given)
    names = ', '.join(os.path.basename(file) for file in files)
    note = '' if '_net_D' in names else '; the discriminator is newly initialized'
    print(f'{names} -> {workdir}{note}')
    print(f'To train on, repeat: {" ".join(flags_to_resume(flags.FLAGS, config))}')
