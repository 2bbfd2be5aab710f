"""What samples the images of the studio. JAX is imported by `load`, in the loading thread."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from spade_jax.errors import UserError, causes
from spade_jax.studio.style_messages import Seed, Style, latent_of

if TYPE_CHECKING:
    from spade_jax.sampling import TrainedGenerator
    from spade_jax.sampling.prepared_map import PreparedMap

Result = TypeVar('Result')
Maps = tuple[np.ndarray, np.ndarray | None]  # Labels and instances.
VARIATIONS_TOGETHER = 4
MOST_PREPARED, MOST_BYTES = 4, 2**28  # Label maps, and what is prepared of all of them.
# (stage in words, number of finished stages, number of all stages)
Report = Callable[[str, int, int], None]


class Refused(UserError):
    """There is no image of this request.

    Attributes:
      code: See `messages.Refusal`.
    """

    def __init__(self, code: str, problem: str, remedy: str = ''):
        super().__init__(problem, remedy)
        self.code = code


class Sampler(Protocol):
    """A model that samples images. Call `load` in one thread, and all other methods in another.

    Attributes:
      milliseconds: What an image takes; 0 until `load` has measured it. From then on the other
        methods may be called, while `load` compiles what is not needed for images.
    """

    milliseconds: int

    def load(self, report: Report) -> None:
        """Load and compile. Raises UserError if the model cannot be used in the studio."""
        ...

    def sample(self, ids: np.ndarray, style: Style | None) -> np.ndarray:
        """The image [H, W, 3] uint8 of a label map [H, W]. Raises Refused."""
        ...

    def quick(self, ids: np.ndarray, style: Style | None) -> np.ndarray | None:
        """As `sample`, but for rounding; None if that is not faster."""
        ...

    def prepare(self, ids: np.ndarray) -> None:
        """Make `quick` and `variations` of this label map faster, if that is possible."""
        ...

    def variations(self, ids: np.ndarray, styles: Sequence[Style]) -> np.ndarray:
        """Images [N, H, W, 3] of one label map, `VARIATIONS_TOGETHER` at most. Raises Refused."""
        ...

    def encode(self, image: np.ndarray) -> np.ndarray:
        """The latent [D] float32 of an image [H, W, 3] uint8. Raises Refused."""
        ...


class GeneratorSampler:
    """The `Sampler` of a trained generator, whatever its model.

    Attributes:
      milliseconds: See `Sampler`.

    Args:
      open_generator: Loads the generator; it may raise UserError.
      most_bytes: Of what is kept of prepared label maps.
    """

    def __init__(
        self, open_generator: Callable[[], TrainedGenerator], most_bytes: int = MOST_BYTES
    ):
        self._open, self._most_bytes = open_generator, most_bytes
        self._generator: TrainedGenerator | None = None
        self._prepared: dict[bytes, PreparedMap] = {}  # The one that was used last is the last.
        self._least_unprepared = float('inf')  # Pixels from which on maps are not prepared.
        self._is_compiling = False  # What is not needed for images; nothing is prepared meanwhile.
        self.milliseconds = 0

    def load(self, report: Report) -> None:
        report('loading the model', 0, 1)
        self._generator = generator = self._open()
        data = generator.config.data
        ids = np.zeros((data.image_height, data.image_width), np.uint8)
        style = None if generator.latent_dim is None else Seed(0)
        self._latent_of = functools.lru_cache(64)(
            lambda style: latent_of(style, generator.latent_dim or 0, generator.clusters)
        )
        others = self._other_programs(ids, style)
        report('compiling images', 1, len(others) + 2)
        self.sample(ids, style)
        self._is_compiling = True
        self.milliseconds = max(1, _milliseconds(lambda: self.sample(ids, style)))
        for done, (name, compile_program) in enumerate(others.items(), 2):
            report(f'compiling {name}', done, len(others) + 2)
            try:
                self._within_memory(ids, compile_program)
            except Exception as error:  # Images do without it; a request for it has its own error.
                logging.warning('compiling %s failed: %s', name, error)
        self._is_compiling = False

    def sample(self, ids: np.ndarray, style: Style | None) -> np.ndarray:
        """See `Sampler`."""
        latent, maps = self._latent(style), self._maps(ids)
        return self._within_memory(ids, lambda: self._loaded(*maps, style=latent))

    def quick(self, ids: np.ndarray, style: Style | None) -> np.ndarray | None:
        """See `Sampler`."""
        latent, prepared = self._latent(style), self._find(ids)
        return None if prepared is None else prepared(latent)

    def prepare(self, ids: np.ndarray) -> None:
        """See `Sampler`. What would need too many bytes is not kept."""
        maps = self._maps(ids)
        if self._loaded.latent_dim is None or ids.size >= self._least_unprepared:
            return
        if self._is_compiling or self._find(ids) is not None:
            return
        try:
            prepared = self._within_memory(ids, lambda: self._loaded.prepare(*maps))
        except Refused:
            self._least_unprepared = ids.size
            raise
        if not self._is_kept(prepared):
            self._least_unprepared = ids.size if prepared.nbytes else 0  # Nothing to prepare.
            return
        self._prepared[_key(ids)] = prepared
        while len(self._prepared) > MOST_PREPARED or self._num_bytes() > self._most_bytes:
            del self._prepared[next(iter(self._prepared))]

    def variations(self, ids: np.ndarray, styles: Sequence[Style]) -> np.ndarray:
        """See `Sampler`."""
        if self._is_compiling:
            return np.stack([self.sample(ids, style) for style in styles])
        latents, maps = np.asarray([self._latent(style) for style in styles]), self._maps(ids)
        with contextlib.suppress(Refused):
            self.prepare(ids)
        return self._within_memory(ids, lambda: self._vary(self._find(ids), maps, latents))

    def encode(self, image: np.ndarray) -> np.ndarray:
        """See `Sampler`."""
        return self._within_memory(image, lambda: self._loaded.encode(image))

    @property
    def _loaded(self) -> TrainedGenerator:
        if self._generator is None:
            raise Refused('failed', 'the model is not loaded')
        return self._generator

    def _other_programs(
        self, ids: np.ndarray, style: Style | None
    ) -> dict[str, Callable[[], object]]:
        """What compiles each program but that of images; the other thread samples meanwhile."""
        model, image = self._loaded.config.model, np.zeros((*ids.shape, 3), np.uint8)
        programs: dict[str, Callable[[], object]] = {}
        if model.can_encode and not model.feature_table:
            programs['photos'] = lambda: self.encode(image)
        if style is not None:
            latents = np.asarray([self._latent(style)] * VARIATIONS_TOGETHER)
            maps = self._maps(ids)

            @functools.cache
            def prepare() -> PreparedMap | None:
                prepared = self._loaded.prepare(*maps)
                return prepared if self._is_kept(prepared) else None

            programs['label maps'] = prepare
            programs['styles'] = lambda: (prepared := prepare()) and prepared(latents[0])
            programs['variations'] = lambda: self._vary(prepare(), maps, latents)
        return programs

    def _vary(self, prepared: PreparedMap | None, maps: Maps, latents: np.ndarray) -> np.ndarray:
        """Images of one label map in some styles."""
        if prepared:
            return prepared(latents)
        repeated = [None if map is None else np.stack([map] * len(latents)) for map in maps]
        return self._loaded(*repeated, style=latents)

    def _is_kept(self, prepared: PreparedMap) -> bool:
        return 0 < prepared.nbytes <= self._most_bytes

    def _latent(self, style: Style | None) -> np.ndarray | None:
        """The latent of a style; None for a model without."""
        if (style is None) != (self._loaded.latent_dim is None):
            problem = 'this model needs a style' if style is None else 'this model has no styles'
            raise Refused('style', problem, 'load the page again')
        with _refusals('style'):
            return None if style is None else self._latent_of(style)

    def _maps(self, ids: np.ndarray) -> Maps:
        """Label map and instance map, checked; a region of a class is one instance."""
        from spade_jax.sampling import arguments, sizes

        config = self._loaded.config
        instances = ids if config.data.instance_edges else None
        with _refusals('size'):
            sizes.check_size(config, *ids.shape)
        with _refusals('ids'):
            arguments.check_maps(config, ids, instances)
        return ids, instances

    def _find(self, ids: np.ndarray) -> PreparedMap | None:
        """The prepared label map, which is then the one that was used last."""
        if (prepared := self._prepared.pop(key := _key(ids), None)) is not None:
            self._prepared[key] = prepared
        return prepared

    def _num_bytes(self) -> int:
        return sum(prepared.nbytes for prepared in self._prepared.values())

    def _within_memory(self, array: np.ndarray, function: Callable[[], Result]) -> Result:
        """The result of a function; where memory is short, prepared label maps make room."""
        for _ in range(2):
            try:
                return function()
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
            self._prepared.clear()
        height, width = array.shape[:2]
        problem = f'{width}x{height} needs more memory than the device has'
        raise Refused('memory', problem, 'use a smaller label map, or close other programs')


@contextlib.contextmanager
def _refusals(code: str) -> Iterator[None]:
    """Turn a UserError of the body into a Refused."""
    try:
        yield
    except UserError as error:
        raise Refused(code, error.problem, error.remedy) from None


def _key(ids: np.ndarray) -> bytes:
    return hashlib.blake2b(repr((ids.shape, ids.dtype)).encode() + ids.tobytes()).digest()


def _is_out_of_memory(error: BaseException) -> bool:
    chain = [*causes(error)]
    return any(isinstance(e, MemoryError) or 'RESOURCE_EXHAUSTED' in str(e) for e in chain)


def _milliseconds(function: Callable[[], object]) -> int:
    """The median time of three calls."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        function()
        times.append(1000 * (time.monotonic() - start))
    return round(statistics.median(times))
