"""The studio samples what the generator samples, whatever the model."""

import asyncio
import base64
import itertools

import numpy as np
import pytest

import spade_jax
from spade_jax.config.config import Config
from spade_jax.sampling import feature_clusters
from spade_jax.studio.sampler import GeneratorSampler, Refused
from spade_jax.studio.style_messages import Blend, Photo, Seed, latent_of
from tests.sampling import tiny
from tests.studio.live_server import SEED, Client, serve

OF_PIX2PIXHD = dict(
    model='pix2pixhd', dataset='folders', num_classes=3, crop_size=32, load_size=32,
    generator_width=2, generator_downsamplings=2, generator_blocks=1, discriminator_width=2,
    num_discriminators=1, perceptual_weight=0.0,
)  # fmt: skip
OF_PIX2PIX = dict(
    model='pix2pix', dataset='folders', num_classes=3, crop_size=32, load_size=32,
    generator_width=2, discriminator_width=2, pix2pix_depth=5,
)  # fmt: skip
MODELS = {
    'styles': tiny.STYLED,
    'no styles, unknown': tiny.PLAIN,
    'edges': Config.create(dataset='folders', condition='labels+edges', **tiny.SMALL),
    'noise': Config.create(**OF_PIX2PIX),
    'table of features': Config.create(
        **OF_PIX2PIXHD,
        condition='labels+edges',
        instance_features=True,
        feature_dim=2,
        feature_clusters=2,
        encoder_width=2,
        encoder_downsamplings=1,
    ),
}
IDS = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2) % 3, np.ones((16, 16), np.uint8))


def clustered(generator):
    """The generator, with clusters of features if its latent is a table of them."""
    if not generator.config.model.feature_table:
        return generator
    rows = {number: np.eye(4, 3, dtype=np.float32) * number for number in range(3)}
    clusters = feature_clusters.cluster([rows], generator.config)
    return type(generator)(generator.config, generator._variables, clusters=clusters)


@pytest.fixture(scope='module')
def loaded():
    """A function: name of a model -> its generator, loaded sampler and reported stages."""
    found = {}

    def load(name):
        if name not in found:
            generator, stages = clustered(tiny.generator(MODELS[name])), []
            sampler = GeneratorSampler(lambda: generator)
            sampler.load(lambda *stage: stages.append(stage))
            found[name] = generator, sampler, stages
        return found[name]

    return load


@pytest.mark.parametrize('name', MODELS)
def test_image_is_that_of_the_generator(loaded, name):
    generator, sampler, _ = loaded(name)
    instances = IDS if generator.config.data.instance_edges else None
    if generator.latent_dim is None:
        image = sampler.sample(IDS, None)
        np.testing.assert_array_equal(image, generator(IDS, instances))
        return
    image = sampler.sample(IDS, Seed(5, 0.5))
    np.testing.assert_array_equal(image, generator(IDS, instances, seed=5, truncation=0.5))
    styles = [Seed(5, 0.5), Seed(1), Seed(2)]
    variations = sampler.variations(IDS, styles)
    expected = [generator(IDS, instances, style=sampler._latent(style)) for style in styles]
    np.testing.assert_allclose(variations.astype(int), expected, atol=1)
    sampler.prepare(IDS)
    if (quick := sampler.quick(IDS, styles[0])) is not None:
        np.testing.assert_allclose(quick.astype(int), image, atol=1)
    np.testing.assert_array_equal(sampler.sample(IDS, styles[0]), image)


@pytest.mark.parametrize(
    'name, compiled',
    [
        ('styles', ['images', 'photos', 'label maps', 'styles', 'variations']),
        ('no styles, unknown', ['images']),
        ('noise', ['images', 'label maps', 'styles', 'variations']),
        ('table of features', ['images', 'label maps', 'styles', 'variations']),
    ],
)
def test_stages_are_those_of_the_model(loaded, name, compiled):
    _, sampler, stages = loaded(name)
    assert [stage for stage, *_ in stages] == [
        'loading the model', *(f'compiling {part}' for part in compiled)
    ]  # fmt: skip
    assert [done for _, done, _ in stages] == [*range(len(compiled) + 1)]
    assert sampler.milliseconds >= 0


def test_nothing_compiles_after_the_start(loaded):
    from spade_jax.sampling import jitted

    _, sampler, _ = loaded('styles')
    programs = jitted.sample, jitted.prepare, jitted.encode
    before = [program._cache_size() for program in programs]
    sampler.sample(IDS, Seed(1))
    sampler.prepare(IDS)
    assert sampler.quick(IDS, Seed(2)) is not None
    sampler.variations(IDS, [Seed(seed) for seed in range(4)])
    sampler.variations(IDS, [Seed(seed) for seed in range(2)])
    sampler.encode(np.zeros((50, 70, 3), np.uint8))
    assert [program._cache_size() for program in programs] == before


def test_images_are_sampled_while_the_rest_compiles(loaded):
    generator, _, _ = loaded('styles')
    sampler, found = GeneratorSampler(lambda: generator), {}

    def report(stage, *_):
        if stage == 'compiling styles':
            sampler.prepare(IDS)
            found['quick'] = sampler.quick(IDS, Seed(1))
            found['image'] = sampler.sample(IDS, Seed(1))
            found['variations'] = sampler.variations(IDS, [Seed(1), Seed(2)])

    sampler.load(report)
    assert found['quick'] is None
    expected = [generator(IDS, seed=seed) for seed in (1, 2)]
    np.testing.assert_array_equal(found['image'], expected[0])
    np.testing.assert_array_equal(found['variations'], expected)
    sampler.prepare(IDS)
    assert sampler.quick(IDS, Seed(1)) is not None


@pytest.mark.parametrize(
    'name, ids, style, code, message',
    [
        ('styles', IDS + 1, Seed(0), 'ids', 'label id 3 at pixel'),
        ('styles', IDS[:16], Seed(0), 'size', 'its training size 32x32 only'),
        ('styles', IDS, None, 'style', 'needs a style'),
        ('styles', IDS, Photo(bytes(8)), 'style', 'has 2 numbers, not 4'),
        ('no styles, unknown', IDS, Seed(0), 'style', 'has no styles'),
        ('no styles, unknown', IDS[:17], None, 'size', 'not divisible by'),
    ],
)
def test_refusal_has_the_words_of_the_generator(loaded, name, ids, style, code, message):
    with pytest.raises(Refused, match=message) as refused:
        loaded(name)[1].sample(ids, style)
    assert refused.value.code == code and refused.value.remedy


def test_unknown_pixels_are_sampled(loaded):
    generator, sampler, _ = loaded('no styles, unknown')
    ids = np.where(IDS == 1, 255, IDS).astype(np.uint8)
    np.testing.assert_array_equal(sampler.sample(ids, None), generator(ids))


def test_style_of_a_photo_is_that_of_the_encoder(loaded):
    generator, sampler, _ = loaded('styles')
    photo = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    latent = generator.encode(photo)
    np.testing.assert_array_equal(sampler.encode(photo), latent)
    style = Photo(sampler.encode(photo).tobytes())
    np.testing.assert_array_equal(sampler.sample(IDS, style), generator(IDS, style=latent))


def test_prepared_maps_are_bounded_by_bytes_and_number(loaded):
    generator, _, _ = loaded('styles')
    size = generator.prepare(IDS).nbytes
    maps = [np.roll(IDS, shift, axis=1) for shift in range(8)]

    def kept(most_bytes):
        sampler = GeneratorSampler(lambda: generator, most_bytes)
        sampler._generator = generator
        for ids in maps:
            sampler.prepare(ids)
        return [sampler._find(ids) is not None for ids in maps]

    assert kept(2 * size) == [False] * 6 + [True] * 2
    assert kept(100 * size) == [False] * 4 + [True] * 4
    assert kept(size - 1) == [False] * 8


def test_images_do_without_a_program_that_does_not_compile(loaded, caplog):
    generator, _, _ = loaded('styles')

    class Broken(Short):
        def prepare(self, *maps):
            raise RuntimeError('INTERNAL: the compiler has failed')

    sampler, stages = GeneratorSampler(lambda: Broken(generator, itertools.repeat(False))), []
    sampler.load(lambda stage, *_: stages.append(stage))
    assert 'compiling styles failed: INTERNAL' in caplog.text and 'compiling variations' in stages
    np.testing.assert_array_equal(sampler.sample(IDS, Seed(1)), generator(IDS, seed=1))


class Short:
    """A generator whose device has too little memory for some calls."""

    def __init__(self, generator, calls):
        self.config, self.latent_dim = generator.config, generator.latent_dim
        self.clusters, self.encode = generator.clusters, generator.encode
        self._generator, self._calls = generator, calls

    def prepare(self, *maps):
        return self._generator.prepare(*maps)

    def __call__(self, *args, **options):
        if next(self._calls):
            raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes')
        return self._generator(*args, **options)


def test_prepared_maps_make_room_when_memory_is_short(loaded):
    generator, sampler, _ = loaded('styles')
    short = GeneratorSampler(lambda: generator)
    short._generator, short._latent_of = Short(generator, iter([True, False])), sampler._latent_of
    short.prepare(IDS)
    image = short.sample(IDS[::-1], Seed(1))
    np.testing.assert_array_equal(image, generator(IDS[::-1], seed=1))
    assert short._find(IDS) is None


def test_too_large_a_map_is_refused_when_memory_is_short(loaded):
    generator, sampler, _ = loaded('styles')
    short = GeneratorSampler(lambda: generator)
    short._generator = Short(generator, itertools.repeat(True))
    short._latent_of = sampler._latent_of
    with pytest.raises(Refused, match='32x32 needs more memory than the device has') as refused:
        short.sample(IDS, Seed(1))
    assert refused.value.code == 'memory'


def test_images_of_the_demo_are_those_of_the_generator_to_the_bit():
    """Over the WebSocket: seed, photo and blend, of a changed map and of one that is prepared."""
    generator = spade_jax.load(spade_jax.DEMO)
    folders = dict(label_dir=f'{spade_jax.DEMO}/labels', photo_dir=f'{spade_jax.DEMO}/photos')
    scenes = [*generator.read_folder(**folders, most=2)]
    latent = generator.encode(scenes[0].photo)
    of_photo = {'kind': 'photo', 'latent': base64.b64encode(latent.tobytes()).decode()}
    messages = {
        'seed': (SEED, Seed(2)),
        'photo': (of_photo | {'strength': 0.7}, Photo(latent.tobytes(), 0.7)),
        'blend': (
            {'kind': 'blend', 'from': SEED, 'to': SEED | {'seed': 9}, 'share': 0.25},
            Blend(Seed(2), Seed(9), 0.25),
        ),
    }

    async def test(connections, url):
        page, revisions = await Client.connect(url), itertools.count()
        for ids in (scene.labels for scene in scenes):
            for message, style in messages.values():
                expected = generator(ids, style=latent_of(style, generator.latent_dim))
                for _ in range(2):
                    _, payload = await page.ask(next(revisions), ids, message)
                    assert payload == expected.tobytes()
                    future = connections.queue.submit(connections.sampler.prepare, ids)
                    await asyncio.wrap_future(future)
            _, payload = await page.ask(next(revisions), ids)
            assert payload == generator(ids, seed=2).tobytes()

    async def run():
        async with serve(GeneratorSampler(lambda: generator)) as (connections, url):
            await test(connections, url)

    asyncio.run(run())
