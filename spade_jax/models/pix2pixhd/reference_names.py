"""The names of the modules in the published PyTorch checkpoints of pix2pixHD."""

from spade_jax.models.torch_layout import ModuleNames, residual_generator_names


def generator_names(
    num_downsamplings: int, num_blocks: int, num_enhancers: int, enhancer_blocks: int
) -> ModuleNames:
    """The modules of a `CoarseToFineGenerator`."""
    names = residual_generator_names(num_downsamplings, num_blocks).inside('global')
    if not num_enhancers:
        return names
    modules, transposed = dict(names.modules), set(names.transposed)
    del modules['global/last/conv']
    for i in range(1, num_enhancers + 1):
        inner, outer, ours = f'model{i}_1', f'model{i}_2', f'enhancer_{i}'
        places = {'first': (inner, 1), 'down': (inner, 4), 'up': (outer, enhancer_blocks)}
        for j in range(enhancer_blocks):
            block = f'{outer}.{j}.conv_block'
            places |= {f'block_{j}/layer_0': (block, 1), f'block_{j}/layer_1': (block, 5)}
        for layer, (sequence, position) in places.items():
            modules[f'{ours}/{layer}/conv'] = f'{sequence}.{position}'
            modules[f'{ours}/{layer}/norm'] = f'{sequence}.{position + 1}'
        transposed.add(f'{ours}/up/conv')
    modules['last/conv'] = f'model{num_enhancers}_2.{enhancer_blocks + 4}'
    return ModuleNames(modules, frozenset(transposed))


def discriminator_names(num_scales: int, depth: int, *, features: bool) -> ModuleNames:
    """The modules of a `MultiscaleDiscriminator` whose scales are numbered from the coarsest.

    Without feature matching, a scale is one sequence there.
    """
    modules = {}
    for scale in range(num_scales):
        for i in range(depth + 1):
            ours = f'scale_{scale}/conv_{i}' if i < depth else f'scale_{scale}/logits'
            layer, position = f'scale{scale}_layer{i}', 0
            if not features:
                layer, position = f'layer{scale}', 3 * i - 1 if i else 0
            modules[ours] = f'{layer}.{position}'
            modules[f'scale_{scale}/norm_{i}'] = f'{layer}.{position + 1}'
    return ModuleNames(modules)


def encoder_names(num_downsamplings: int) -> ModuleNames:
    """The modules of a `FeatureEncoder`."""
    return residual_generator_names(num_downsamplings, 0).inside('autoencoder')
