"""Which networks a published checkpoint holds: from the names and shapes of its entries, and from flags where those do not tell.

What no entry tells: how the channels of the layout divide into classes, don't-care and instance edges; the size of the pictures; and, without a
style encoder, whether there are 5 or 6 upsamplings, which have the same parameters. These are asked for by name, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.spade.options import UPSAMPLINGS

State = Mapping[str, Any]  # name -> anything with a shape

# The published models, by the channels of their layouts: the data set whose settings they have, what it is made of, and the flags that its settings
# do not hold. The upsamplings of the Cityscapes model are not on record.
PUBLISHED = {
    184: (
        'coco_stuff',
        "COCO-Stuff: 182 classes, don't-care, edges",
        dict(crop_size=256, upsampling='normal'),
    ),
    151: (
        'ade20k',
        'ADE20K: 150 classes and one channel more',
        dict(crop_size=256, upsampling='normal'),
    ),
    36: ('cityscapes', 'Cityscapes: 35 classes, edges', dict(crop_size=512)),
}
SAME_FILES = ({'sync_batch', 'batch'},)  # values of a norm that files cannot tell apart


class Architecture(NamedTuple):
    """What the entries of a checkpoint tell.

    Attributes:
      fields: of Config.
      layout_channels: classes, don't-care and edges together.
      grid_cells: height times width of the coarsest grid; None without style latent.
      encoder_depth: number of the encoder's convolutions; None without one.
    """

    fields: dict[str, Any]
    layout_channels: int
    grid_cells: int | None
    encoder_depth: int | None


def infer(
    generator: State, discriminator: State | None = None, encoder: State | None = None
) -> Architecture:
    """The architecture of the networks with these state dictionaries.

    Raises:
      UserError: an entry without which the architecture is unknown is missing, or the networks do not fit together.
    """
    fields, channels, grid_cells = _generator_fields(generator)
    if fields['style_encoder'] and encoder is None:
        raise UserError(
            'the generator starts from a style latent (fc.weight is dense), but there is no file of the style encoder (net_E)',
            "put it beside the generator's",
        )
    if encoder is not None and not fields['style_encoder']:
        raise UserError(
            'there is a file of a style encoder (net_E), but the generator takes no style (fc.weight is a convolution)',
            "they are not of one model; move the encoder's file away",
        )
    depth = None
    if encoder is not None:
        encoder_fields, depth = _encoder_fields(encoder)
        fields |= encoder_fields
    if discriminator is not None:
        fields |= _discriminator_fields(discriminator)
    return Architecture(fields, channels, grid_cells, depth)


def _generator_fields(state):
    first, hidden = (
        _shape(state, 'fc.weight', 'generator'),
        _shape(state, 'head_0.norm_0.mlp_shared.0.weight', 'generator'),
    )
    spectral = 'head_0.conv_0.weight_orig' in state
    kernel = _shape(
        state, 'head_0.conv_0.weight_orig' if spectral else 'head_0.conv_0.weight', 'generator'
    )
    for name, shape, ranks in (
        ('fc.weight', first, (2, 4)),
        ('head_0.norm_0.mlp_shared.0.weight', hidden, (4,)),
        ('head_0.conv_0.weight', kernel, (4,)),
    ):
        if len(shape) not in ranks or not math.prod(shape):
            raise UserError(
                f'generator: {name} has the shape {shape}, which no SPADE generator has',
                'is this the file of a generator (net_G)?',
            )
    fields = dict(
        generator_width=max(1, kernel[0] // 16),
        generator_spectral_norm=spectral,
        spade_hidden=hidden[0],
        spade_kernel_size=hidden[-1],
        generator_norm='sync_batch'
        if 'head_0.norm_0.param_free_norm.running_mean' in state
        else 'instance',
        style_encoder=len(first) == 2,
    )
    if fields['style_encoder']:
        fields['style_dim'] = first[1]
    if any(name.startswith('up_4.') for name in state):
        fields['upsampling'] = 'most'
    return fields, hidden[1], first[0] // kernel[0] if fields['style_encoder'] else None


def _encoder_fields(state):
    depth = max(
        (int(match[1]) for name in state if (match := re.match(r'layer(\d+)\.', name))), default=0
    )
    first, last = (_shape(state, f'layer{i}.0.weight_orig', 'encoder') for i in (1, max(1, depth)))
    side = math.isqrt(_shape(state, 'fc_mu.weight', 'encoder')[-1] // last[0])
    return dict(encoder_width=first[0], encoder_input_size=side * 2**depth), depth


def _discriminator_fields(state):
    matches = [
        match for name in state if (match := re.match(r'discriminator_(\d+)\.model(\d+)\.', name))
    ]
    fields = dict(
        num_discriminators=1 + max((int(match[1]) for match in matches), default=0),
        discriminator_width=_shape(state, 'discriminator_0.model0.0.weight', 'discriminator')[0],
    )
    depth = max((int(match[2]) for match in matches), default=0)
    if depth < 1:
        raise UserError(
            'discriminator: it has no prediction (discriminator_0.model1...)',
            'is this the file of a discriminator (net_D)?',
        )
    fields['discriminator_depth'] = depth
    hidden = [
        name.removeprefix('discriminator_0.model1.')
        for name in state
        if name.startswith('discriminator_0.model1.')
    ]
    if depth > 1:  # else there is no hidden layer whose kind could show
        fields['discriminator_spectral_norm'] = any(name.endswith('weight_orig') for name in hidden)
        alone = any(name in ('0.weight', '0.weight_orig') for name in hidden)
        fields['discriminator_norm'] = (
            'none' if alone else 'sync_batch' if '0.1.running_mean' in hidden else 'instance'
        )
    return fields


def _shape(state, name, network):
    if name not in state:
        known = ', '.join(list(state)[:3]) or 'nothing'
        raise UserError(
            f'{network}: there is no entry {name} (it begins with {known})',
            f'is this the file of a SPADE {network}?',
        )
    return tuple(np.shape(state[name]))


def resolve(found: Architecture, described: Mapping[str, Any], given: Mapping[str, Any]) -> Config:
    """The Config of a checkpoint.

    Args:
      found: what its entries tell.
      described: fields that flags, data set and palette set.
      given: those of them that flags set.

    Raises:
      UserError: flags contradict the entries (with all of them), or something that the entries do not tell is missing (with all that is).
    """
    if contradictions := _contradictions(found, given):
        raise UserError(
            f'the flags contradict the files: {"; ".join(contradictions)}',
            'leave these flags out: the files tell',
        )
    described = dict(described)
    dataset, about, defaults = PUBLISHED.get(found.layout_channels, ('', '', {}))
    if 'crop_size' in given and given['crop_size'] != defaults.get('crop_size'):
        defaults = {}  # a model of another size is another model
    if given.get('dataset') == dataset:
        described = defaults | described
    fields = (
        dict(dataset='folders')
        | described
        | found.fields
        | {name: given[name] for name in found.fields if name in given}
    )

    hint = (
        f'; {found.layout_channels} channels are those of the published model of {about}: --dataset={dataset}'
        if about
        else ''
    )
    asked = []
    if 'num_classes' not in fields and fields.get('condition') != 'rgb':
        asked.append(
            f'how the {found.layout_channels} channels of the layout divide: --num_classes=N, with --dontcare and --condition=labels+edges where the '
            f'model has them (N + 1 + 1 = {found.layout_channels} with both)'
        )
    if 'crop_size' not in fields:
        asked.append(
            'the size of the pictures: --crop_size=WIDTH, with --aspect_ratio=WIDTH/HEIGHT where they are not square'
        )
    elif found.grid_cells is not None:
        fields['upsampling'] = _upsampling_of_grid(found.grid_cells, fields)
    if 'upsampling' not in fields and found.grid_cells is None:
        asked.append(
            'the number of upsamplings: --upsampling=normal or --upsampling=more, which have the same entries'
        )
    if asked:
        raise UserError(f'the files do not tell {"; nor ".join(asked)}', f'give these flags{hint}')
    _check_channels(found.layout_channels, fields, hint)
    fields.setdefault('load_size', max(286, fields['crop_size']))
    config = Config.create(**fields)
    if found.encoder_depth not in (None, config.model.encoder_depth(config.data)):
        raise UserError(
            f'the style encoder has {found.encoder_depth} convolutions, but with crop_size={config.data.crop_size} it would have {config.model.encoder_depth(config.data)} (6 from '
            '256 on, 5 below)',
            'give the --crop_size that the model was trained at',
        )
    return config


def _contradictions(found, given):
    def same(name, value):
        if (
            name == 'encoder_input_size'
        ):  # what matters is what is left after the halvings, each of which rounds up
            return (
                math.ceil(given[name] / 2**found.encoder_depth) == value // 2**found.encoder_depth
            )
        return given[name] == value or any(
            {given[name], value} <= equal for equal in SAME_FILES if isinstance(value, str)
        )

    contradictions = [
        f'{name} is {value}, not {given[name]}'
        for name, value in found.fields.items()
        if name in given and not same(name, value)
    ]
    if given.get('upsampling') == 'most' and 'upsampling' not in found.fields:
        contradictions.append('upsampling is normal or more, not most (there is no block up_4)')
    return contradictions


def _upsampling_of_grid(cells, fields):
    """The kind of upsampling with which pictures of the given size start from a grid of so many cells."""
    width, ratio, grids = fields['crop_size'], fields.get('aspect_ratio', 1.0), {}
    for kind in [fields['upsampling']] if 'upsampling' in fields else ['normal', 'more']:
        columns = width // 2 ** UPSAMPLINGS[kind]
        rows = max(1, round(columns / ratio))
        if rows * columns == cells:
            return kind
        grids[kind] = f'{columns}x{rows} with upsampling={kind}'
    step = 2 ** UPSAMPLINGS[next(iter(grids))]
    sizes = [
        (cells // rows * step, rows * step)
        for rows in range(1, cells + 1)
        if cells % rows == 0 and 0.25 <= cells / rows**2 <= 4
    ]
    options = ', '.join(f'--crop_size={w} --aspect_ratio={w / h:.4g} ({w}x{h})' for w, h in sizes)
    raise UserError(
        f'the generator starts from a grid of {cells} cells, but crop_size={width} and aspect_ratio={ratio:.4g} have {" or ".join(grids.values())}',
        f'give the size that the model draws, for example {options}'
        if options
        else 'give the size that the model draws',
    )


def _check_channels(channels, fields, hint):
    if fields.get('condition') == 'rgb':
        parts, total = 'red, green and blue', 3
    else:
        edges, dontcare = fields.get('condition') == 'labels+edges', bool(fields.get('dontcare'))
        parts = (
            f'num_classes={fields["num_classes"]}'
            + ', dontcare' * dontcare
            + ', instance edges' * edges
        )
        total = fields['num_classes'] + dontcare + edges
    if total != channels:
        raise UserError(
            f'the generator takes a layout of {channels} channels, but {parts} make {total}',
            f'give --num_classes, --[no]dontcare and --condition so that they make {channels}{hint}',
        )
