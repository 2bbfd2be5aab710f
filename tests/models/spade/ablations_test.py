"""The generators that the SPADE paper compares with, by the options of the SPADE model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import spade_jax
from spade_jax import export
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.layers.cpu.fast_modulation import CACHE
from spade_jax.layers.plain_norm import PlainNorm
from spade_jax.layers.resampling import upsample_nearest
from spade_jax.memory.step_memory import step_memory
from spade_jax.models.model import build_model
from spade_jax.models.spade.published import (
    from_reference,
    infer_config,
    to_reference,
    unsupported_by_reference,
)
from spade_jax.models.train_state import abstract_networks, init_train_state
from spade_jax.sampling import TrainedGenerator
from spade_jax.training.fine_tuning import with_layout_channels
from spade_jax.training.train_loop import train
from tests import parity
from tests.convert.released_files import zero_states
from tests.distributed.replicas_test import assert_same_update, run
from tests.fixtures.small import SMALL, random_batch
from tests.fixtures.states import assert_same_state, final_state
from tests.models.residual_generator_test import check_generator
from tests.program import write_folders

ENCODER_DECODER = dict(generator_body='encoder_decoder')
LITTLE = SMALL | dict(discriminator_depth=1, num_discriminators=1)
SHORT = LITTLE | dict(generator_multipliers='', generator_width=2, generator_downsamplings=1)
SHORT |= ENCODER_DECODER | dict(generator_blocks=1)


def encoder_decoder_config(options):
    """The configuration of pix2pixHD++ with the options of the published code."""
    norm = parity.norm_of(options['norm_G'])
    return Config.create(
        **ENCODER_DECODER,
        generator_conditioning='input',
        num_classes=options['label_nc'],
        dontcare=options['contain_dontcare_label'],
        condition='labels' if options['no_instance'] else 'labels+edges',
        crop_size=options['crop_size'],
        load_size=options['crop_size'],
        aspect_ratio=options['aspect_ratio'],
        generator_width=options['ngf'],
        generator_norm=norm.kind,
        generator_spectral_norm=norm.spectral,
        generator_downsamplings=options['resnet_n_downsample'],
        generator_blocks=options['resnet_n_blocks'],
        residual_kernel_size=options['resnet_kernel_size'],
        first_kernel_size=options['resnet_initial_kernel_size'],
    )


@pytest.mark.parametrize('case', parity.cases('hd_generator'))
def test_encoder_decoder_matches_golden_numbers(case):
    golden = parity.Golden(case)
    config = encoder_decoder_config(golden.options)
    to_variables = functools.partial(from_reference, network='generator', config=config)
    generator = build_model(config).networks['generator']
    check_generator(golden, generator, to_variables(golden.state('sd')), to_variables)


@pytest.mark.parametrize('case', parity.cases('hd_generator'))
def test_encoder_decoder_is_inferred_from_its_file(case):
    golden = parity.Golden(case)
    config = encoder_decoder_config(golden.options)
    names = ('num_classes', 'dontcare', 'condition', 'crop_size', 'load_size', 'aspect_ratio')
    given = {name: config.options()[name] for name in names}
    state = golden.state('sd')
    found = infer_config({'generator': state}, given, given)
    if config.model.generator_norm == 'batch':  # Files do not tell batch from sync_batch.
        found = found.replace(generator_norm='batch')
    assert found == config.replace(dataset='folders')
    back = to_reference(from_reference(state, 'generator', found), 'generator', found)
    counts = {name for name in state if name.endswith('num_batches_tracked')}
    assert back.keys() == state.keys() - counts
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], name)


@pytest.mark.parametrize('missing', ['model.19.weight', 'model.9.conv_block.1.0.weight_orig'])
def test_incomplete_file_of_encoder_decoder_is_refused(missing):
    state = {**parity.Golden(parity.cases('hd_generator')[0]).state('sd')}
    del state[missing]
    with pytest.raises(UserError, match='is the file complete|there is no entry model'):
        infer_config({'generator': state}, {}, {})


@pytest.mark.parametrize(
    'options',
    [
        dict(generator_norm='sync_batch', residual_kernel_size=5),
        dict(generator_norm='none', first_kernel_size=3),
        dict(generator_norm='instance', generator_spectral_norm=False),
    ],
)
def test_kinds_of_encoder_decoder_are_inferred(options):
    config = Config.create(**SHORT | options, generator_conditioning='input')
    given = dict(num_classes=3, crop_size=32, load_size=32)
    found = infer_config(zero_states(config), given, given)
    names = [name for name in vars(config.model) if name.startswith(('generator', 'resi', 'first'))]
    assert all(getattr(found.model, name) == getattr(config.model, name) for name in names)


def test_latent_without_encoder_is_noise_if_that_is_asked_for():
    config = Config.create(**LITTLE, generator_start='noise')
    given = dict(num_classes=3, crop_size=32, load_size=32)
    with pytest.raises(UserError, match='no file of the style encoder .* --generator_start=noise'):
        infer_config(zero_states(config), given, given)
    given |= dict(generator_start='noise')
    assert infer_config(zero_states(config), given, given).model.latent_dim == 4
    assert unsupported_by_reference(config)[-1] == '--generator_start=noise'


def test_generator_without_published_files_is_refused():
    config = Config.create(generator_conditioning='concat')
    with pytest.raises(UserError, match='generator_conditioning=concat is no network of the publ'):
        to_reference({}, 'generator', config)


def test_plain_norm_joins_layout_and_normalized_activations():
    x = jnp.array([[[[1.0], [3.0]]]])  # [1, 1, 2, 1]
    layout = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    norm = PlainNorm('instance', concat=True)
    y, _ = norm.init_with_output(jax.random.key(0), x, layout, train=True)
    np.testing.assert_allclose(y[0, 0], [[1, 0, -1], [0, 1, 1]], atol=1e-5)
    upsampled = norm.clone(upsample=upsample_nearest).apply(
        {}, x[:, :, :1], layout[:, :, :1], train=True
    )
    np.testing.assert_allclose(upsampled, jnp.array([1.0, 0, 0]) * jnp.ones((1, 2, 2, 3)))


def test_plain_batch_norm_has_scale_and_shift():
    variables = PlainNorm('batch').init(jax.random.key(0), jnp.ones((1, 2, 2, 3)), None, train=True)
    assert {name: leaf.shape for name, leaf in variables['params']['norm'].items()} == {
        'scale': (3,),
        'bias': (3,),
    }


def kernels(config):
    """The input channels of the kernels of the generator, by path."""
    params = abstract_networks(build_model(config))['generator']['params']
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}
    return {path: leaf.shape[-2] for path, leaf in named.items() if path.endswith('/kernel')}


def test_concatenation_reaches_every_convolution_of_decoder():
    concat, plain = (
        kernels(Config.create(**SMALL, generator_conditioning=kind)) for kind in ('concat', 'input')
    )
    assert concat.keys() == plain.keys()
    grown = {path for path in concat if concat[path] == plain[path] + 3}
    assert concat.keys() - grown == {'first/kernel', 'to_rgb/kernel'}


def test_concatenation_reaches_every_residual_block_of_encoder_decoder():
    concat, plain = (
        kernels(Config.create(**SHORT, generator_conditioning=kind)) for kind in ('concat', 'input')
    )
    grown = {path for path in concat if concat[path] == plain[path] + 3}
    assert grown == {'body/block_0/layer_1/conv/kernel'}


def test_concatenated_layout_is_fitted_to_other_classes():
    """Fine-tuning keeps the rows of the kernels for the classes that both runs have."""
    theirs = Config.create(**LITTLE, generator_conditioning='concat')
    ours = theirs.replace(num_classes=4, seed=1)
    other, new = (init_train_state(config).networks for config in (theirs, ours))
    fitted, _ = with_layout_channels(other, theirs, new, ours)
    fitted, other, new = (
        networks['generator']['params']['head']['conv_0']['kernel']
        for networks in (fitted, other, new)
    )
    np.testing.assert_array_equal(fitted[:, :, :3], other[:, :, :3])
    np.testing.assert_array_equal(fitted[:, :, 3], new[:, :, 3])
    np.testing.assert_array_equal(fitted[:, :, 4:], other[:, :, 3:])


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(generator_conditioning='input', generator_start='noise'),
            'would not see the layout; use --generator_conditioning=spade or concat',
        ),
        (
            dict(generator_conditioning='input', style_encoder=True),
            'input with style_encoder: the generator would not see the layout',
        ),
        (dict(generator_start='noise', style_encoder=True), 'leave one of the two out'),
        (
            ENCODER_DECODER | dict(generator_start='noise'),
            'generator_start=noise with generator_body=encoder_decoder, which starts from the '
            'layout; use --generator_start=layout or --generator_body=decoder',
        ),
        (ENCODER_DECODER | dict(style_encoder=True), 'use --nostyle_encoder or'),
        (ENCODER_DECODER | dict(upsampling='more'), 'which has --generator_downsamplings'),
        (ENCODER_DECODER | dict(generator_multipliers='2,1'), 'use --generator_multipliers= or'),
        (ENCODER_DECODER | dict(rematerialize='blocks'), 'use --rematerialize=none or'),
        (ENCODER_DECODER | dict(residual_kernel_size=4), 'is even, .* use 3 or 5'),
        (ENCODER_DECODER | dict(first_kernel_size=2), 'is even, .* use 1 or 3'),
        (
            ENCODER_DECODER | dict(crop_size=32, load_size=32, residual_kernel_size=5),
            'needs a padding of 2 pixels, but there are 2 .* use larger images or fewer',
        ),
        (ENCODER_DECODER | dict(crop_size=40), r'not divisible by 16 \(4 downsamplings\)'),
        (
            dict(generator_blocks=3),
            'generator_blocks=3, but .* use --generator_body=encoder_decoder',
        ),
        (
            dict(generator_conditioning='concat', label_conv='dedup'),
            'label_conv=dedup with generator_conditioning=concat: .* use --label_conv=auto',
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Config.create(**options)


SPADE_BODY = Config.create(**SHORT)
CONCAT_BODY = Config.create(**SHORT, generator_conditioning='concat', generator_norm='instance')
NOISE = Config.create(**LITTLE, generator_start='noise', generator_conditioning='concat')
LABELS = np.arange(32 * 32).reshape(32, 32) // 400


def generator_of(config):
    networks = init_train_state(config).networks
    return TrainedGenerator(config, {'generator': networks['generator']})


def test_seed_selects_image_of_noise_start():
    generator = generator_of(NOISE.replace(init_gain=1.0))
    assert generator.latent_dim == SMALL['style_dim']
    first, second = (generator(LABELS, seed=seed) for seed in (0, 1))
    assert np.abs(first.astype(int) - second).mean() > 1
    np.testing.assert_array_equal(generator(LABELS, seed=0), first)
    # Nothing is cached, since no layer modulates.
    np.testing.assert_allclose(generator.prepare(LABELS)(seed=1).astype(int), second, atol=1)
    with pytest.raises(UserError, match='cannot encode an image; train one that has'):
        generator.encode(np.zeros((32, 32, 3), np.uint8))


def test_noise_differs_between_updates_and_examples():
    model, seen = build_model(NOISE), []

    def noise(stream, dim):
        seen.append(stream)
        return jnp.ones((NOISE.optimizer.batch_size, dim))

    networks, batch = init_train_state(NOISE).networks, random_batch(NOISE)
    for update in model.updates:
        jax.eval_shape(lambda u=update: u.loss(networks, batch, noise, None).terms)
    assert [stream.name for stream in seen] == [
        'STYLE_IN_GENERATOR_UPDATE',
        'STYLE_IN_DISCRIMINATOR_UPDATE',
    ]


def test_sizes_other_than_the_training_size_are_sampled():
    image = generator_of(CONCAT_BODY)(np.zeros((34, 48), int))
    assert image.shape == (34, 48, 3)


def test_dedup_and_plain_modulation_of_encoder_decoder_agree():
    config = SPADE_BODY.replace(crop_size=64, load_size=64)
    labels = np.kron(LABELS, np.ones((2, 2), int))[:64, :64]
    variables = init_train_state(config).networks
    layout = build_model(config).condition(labels[None])
    images = []
    for label_conv in ('dense', 'dedup'):
        model = build_model(config.replace(label_conv=label_conv))
        image, cache = jax.jit(functools.partial(model.sample, mutable=(CACHE,)))(variables, layout)
        images.append(image)
        assert len(jax.tree.leaves(cache)) == 5  # Gamma and beta of each SPADE layer.
    np.testing.assert_allclose(*images, atol=1e-4)


def test_memory_of_a_train_step_is_estimated():
    assert step_memory(CONCAT_BODY, 8, num_devices=1).peak > 0


@pytest.mark.parametrize(
    'config, inputs', [(CONCAT_BODY, ['labels']), (NOISE, ['labels', 'style'])]
)
def test_run_resumes_exactly_and_is_exported(config, inputs, tmp_path):
    data = write_folders(tmp_path / 'data', count=8, size=(32, 32))
    config = config.replace(
        **dict(dataset='folders', data_dir=str(data), checkpoint_every=2, num_grid_samples=1)
    )
    for workdir, ends in {'whole': [2], 'resumed': [1, 2]}.items():
        (tmp_path / workdir).mkdir()
        for max_steps in ends:
            train(config.replace(max_steps=max_steps), str(tmp_path / workdir))
    assert_same_state(*(final_state(tmp_path / workdir) for workdir in ('whole', 'resumed')))
    generator, path = spade_jax.load(str(tmp_path / 'whole')), tmp_path / 'x.jaxexport'
    assert list(export.export(generator, str(path))) == inputs
    latents = [] if generator.latent_dim is None else [np.ones((1, generator.latent_dim))]
    exported = jax_export.deserialize(bytearray(path.read_bytes()))
    labels = LABELS[None].astype(np.int32)
    images = np.asarray(exported.call(labels, *(x.astype(np.float32) for x in latents)))
    expected = generator(labels, style=latents[0] if latents else None)
    assert np.abs(images.astype(int) - expected).max() <= 1


@pytest.mark.usefixtures('eight_devices')
@pytest.mark.parametrize('config', [SPADE_BODY, NOISE])
def test_eight_replicas_give_update_of_one(config):
    one, eight = run(config, 1), run(config, 8)
    assert_same_update(one, eight)
    before = init_train_state(config).networks['generator']['params']
    after = one[1].networks['generator']['params']
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after)
    assert min(jax.tree.leaves(moved)) > 0
