"""Names of the modules of the published PyTorch checkpoints of pix2pix."""

from spade_jax.models.torch_layout import ModuleNames


def unet_level(level: int) -> str:
    """The module of a level of the published U-Net, which has that of the next inside of it."""
    return 'model' if level == 1 else 'model.model.1' + '.model.3' * (level - 2)


def unet_names(depth: int) -> ModuleNames:
    """The modules of a `UNet`."""
    modules = {'down_1': 'model.model.0', 'up_1': 'model.model.3'}
    for level in range(2, depth + 1):
        inside, up = unet_level(level), 5 if level < depth else 3
        modules[f'down_{level}'] = f'{inside}.model.1'
        if level < depth:
            modules[f'down_norm_{level}'] = f'{inside}.model.2'
        modules[f'up_{level}'] = f'{inside}.model.{up}'
        modules[f'up_norm_{level}'] = f'{inside}.model.{up + 1}'
    return ModuleNames(modules, frozenset(f'up_{level}' for level in range(1, depth + 1)))


def patch_names(halvings: int) -> ModuleNames:
    """The modules of a `PatchDiscriminator`."""
    modules = {'conv_0': 'model.0', 'logits': f'model.{3 * halvings + 2}'}
    for layer in range(1, halvings + 1):
        modules[f'conv_{layer}'] = f'model.{3 * layer - 1}'
        modules[f'norm_{layer}'] = f'model.{3 * layer}'
    return ModuleNames(modules)


PIXEL_NAMES = ModuleNames(
    {'conv_0': 'net.0', 'conv_1': 'net.2', 'norm_1': 'net.3', 'logits': 'net.5'}
)
