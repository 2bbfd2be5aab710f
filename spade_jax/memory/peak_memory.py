"""Estimate a program's peak memory from its jaxpr, in seconds and without compiling.

Experimental: it imitates what XLA does, in the order of the trace. An array lives from the
operation that computes it to the last one that reads it. Elementwise results are not stored: their
readers compute them again, unless a reader is a convolution or the like, or recomputation would
keep larger arrays alive. Equal expressions are computed once, except for what `jax.checkpoint`
recomputes. Reshaping is free, and donated arguments make room for results.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from jax.extend import core

# The result can share the memory of the operand.
_SAME_BYTES = {'reshape', 'squeeze', 'expand_dims', 'copy', 'stop_gradient'}
# One result element from a few operand elements: computed where it is read.
_ELEMENTWISE = set(
    'abs add add_any and broadcast_in_dim ceil clamp concatenate convert_element_type cos div eq '
    'erf exp exp2 expm1 floor ge gt integer_pow iota is_finite le log log1p logistic lt max min '
    'mul ne neg not or pad pow rem rev round rsqrt select_n sign sin slice sqrt square sub tanh '
    'transpose xor'.split()
)
_REDUCTIONS = 'argmax reduce_and reduce_max reduce_min reduce_or reduce_sum reduce_window_sum'
# Operations into which a compiler fuses the computation of their operands.
_FUSIBLE_READERS = _ELEMENTWISE.union(_REDUCTIONS.split())
# The results are views of the operand.
_VIEWS = {'split'}
_LOOPS = {'scan', 'while', 'cond', 'custom_linear_solve', 'pmap', 'shard_map'}
# Recomputing a result may keep so many times its bytes alive: an array of its size, statistics.
_RECOMPUTE_BUDGET = 1.25

_Readers = dict[int, set[int]]  # places of the operations that read an array


class LiveBytes(NamedTuple):
    """The memory of a program in bytes."""

    arguments: int
    results: int
    peak: int  # the maximum that is alive at the same time, arguments included


def live_bytes(function: Callable, *arguments: Any, donated: int = 0) -> LiveBytes:
    """Estimate the memory of `function(*arguments)`.

    Args:
      function: Traceable by JAX.
      *arguments: Trees of arrays, concrete or abstract (`jax.ShapeDtypeStruct`).
      donated: Number of leading arguments that the function may overwrite.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return _memory_of(closed.jaxpr, len(jax.tree.leaves(arguments[:donated])))


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree, concrete or abstract."""
    return sum(map(_bytes, jax.tree.leaves(tree)))


def _bytes(array: Any) -> int:
    """Bytes of an array or of a variable of a trace; 0 for tokens."""
    aval = getattr(array, 'aval', array)
    return math.prod(aval.shape) * aval.dtype.itemsize if hasattr(aval, 'dtype') else 0


@dataclasses.dataclass
class _Operation:
    name: str
    operands: list[int]
    results: list[int]
    inside: int = 0  # bytes that are alive only within it


class _Program:
    """A flat list of operations on numbered arrays of known bytes."""

    def __init__(self):
        self.operations: list[_Operation] = []
        self.bytes: list[int] = []
        # The results of operations by everything that they depend on; literals by their text.
        self._known: dict[tuple, list[int]] = {}

    def arrays(self, sizes: Iterable[int]) -> list[int]:
        """The numbers of new arrays of some bytes."""
        first = len(self.bytes)
        self.bytes += sizes
        return list(range(first, len(self.bytes)))

    def total(self, arrays: Iterable[int]) -> int:
        """The bytes of some arrays."""
        return sum(self.bytes[array] for array in arrays)

    def add(self, jaxpr: core.Jaxpr, arguments: list[int]) -> list[int]:
        """Append the operations of a trace, with calls inlined; return the results."""
        variables = [*jaxpr.invars, *jaxpr.constvars]
        constants = self.arrays(map(_bytes, jaxpr.constvars))
        numbers = dict(zip(variables, arguments + constants, strict=True))

        def number(atom: core.Var | core.Literal) -> int:
            if isinstance(atom, core.Literal):  # It takes no memory.
                return self._known.setdefault(('literal', str(atom)), self.arrays([0]))[0]
            return numbers[atom]

        for equation in jaxpr.eqns:
            results = self._add_equation(equation, list(map(number, equation.invars)))
            numbers.update(zip(equation.outvars, results, strict=True))
        return list(map(number, jaxpr.outvars))

    def _add_equation(self, equation: core.JaxprEqn, operands: list[int]) -> list[int]:
        name, params = equation.primitive.name, equation.params
        nested = list(core.jaxprs_in_params(params))
        platforms = params.get('branches_platforms') or ()
        if None in platforms:
            # The default of `platform_dependent`: the estimate is not about CPUs.
            return self.add(nested[platforms.index(None)], operands[1:])
        if name not in _LOOPS and len(nested) == 1 and len(nested[0].invars) == len(operands):
            # The second computation of what `jax.checkpoint` wraps.
            is_recomputed = name == 'remat2' and params['differentiated'] and params['prevent_cse']
            return self.add(nested[0], self._barrier(operands) if is_recomputed else operands)
        if name == 'optimization_barrier':
            return self._barrier(operands)
        if name in _SAME_BYTES and len(equation.outvars) == len(operands):
            return operands
        if name not in _FUSIBLE_READERS:
            return self._append(equation, operands)
        types = str([variable.aval for variable in equation.outvars])
        key = (name, types, str(params), *operands)
        if key not in self._known:
            self._known[key] = self._append(equation, operands)
        return self._known[key]

    def _append(self, equation: core.JaxprEqn, operands: list[int]) -> list[int]:
        results, inside = self.arrays(map(_bytes, equation.outvars)), 0
        if equation.primitive.name in _LOOPS:
            nested = [_memory_of(jaxpr, 0) for jaxpr in core.jaxprs_in_params(equation.params)]
            inside = max((live.peak - live.arguments for live in nested), default=0)
        self.operations.append(_Operation(equation.primitive.name, operands, results, inside))
        return results

    def _barrier(self, operands: list[int]) -> list[int]:
        """New numbers for the same arrays: what is computed from them is computed again."""
        results = self.arrays([self.bytes[operand] for operand in operands])
        for operand, result in zip(operands, results, strict=True):
            self.operations.append(_Operation('optimization_barrier', [operand], [result]))
        return results


def _memory_of(jaxpr: core.Jaxpr, num_donated: int) -> LiveBytes:
    program = _Program()
    arguments = program.arrays(map(_bytes, jaxpr.invars))
    results = set(program.add(jaxpr, arguments))
    pinned = results | set(arguments[num_donated:])
    _fuse(program, pinned)
    peak = _peak(program, arguments, pinned)
    return LiveBytes(program.total(arguments), program.total(results), peak)


def _peak(program: _Program, arguments: list[int], pinned: set[int]) -> int:
    """The maximum that is alive while the operations run in order; pinned arrays never die."""
    last_read, computed = {}, set()
    for place, operation in enumerate(program.operations):
        computed.update(operation.results)
        last_read.update(dict.fromkeys(operation.operands, place))
    needed = pinned | last_read.keys()
    inputs = (last_read.keys() - computed).union(arguments)
    living = inputs & needed
    live, peak = program.total(living), program.total(inputs)
    for place, operation in enumerate(program.operations):
        read_last = {array for array in operation.operands if last_read[array] == place}
        dying, born = (read_last - pinned) & living, needed.intersection(operation.results)
        freed, new = program.total(dying), program.total(born)
        # An elementwise result replaces an operand that is not read again.
        reused = min(freed, new) if operation.name in _ELEMENTWISE else 0
        peak = max(peak, live + new + operation.inside - reused)
        live += new - freed
        living = (living | born) - dying
    return peak


def _fuse(program: _Program, pinned: set[int]) -> None:
    """Remove the operations whose results are not stored: their readers compute them.

    From last to first, so that the readers of a result are final when it is decided.
    """
    operations, kept = program.operations, []
    readers: _Readers = defaultdict(set)
    for place, operation in enumerate(operations):
        for array in operation.operands:
            readers[array].add(place)
    for place, operation in reversed(list(enumerate(operations))):
        if not _is_fused(program, pinned, readers, place):
            kept.append(operation)
            continue
        places = set().union(*(readers[result] for result in operation.results))
        for array in operation.operands:
            readers[array] = readers[array] - {place} | places
        for reader in places:
            inputs: dict[int, None] = {}  # in order, without repetition
            for array in operations[reader].operands:
                is_result = array in operation.results
                inputs |= dict.fromkeys(operation.operands if is_result else [array])
            operations[reader].operands = list(inputs)
    program.operations = kept[::-1]


def _is_fused(program: _Program, pinned: set[int], readers: _Readers, place: int) -> bool:
    """Whether the readers of an operation's results read its operands instead."""
    operation = program.operations[place]
    if not pinned.isdisjoint(operation.results):
        return False
    if operation.name == 'optimization_barrier':
        return True
    places = set().union(*(readers[result] for result in operation.results))
    if any(program.operations[reader].name not in _FUSIBLE_READERS for reader in places):
        return False
    if operation.name not in _ELEMENTWISE:
        return operation.name in _VIEWS
    # Memory that is kept until the last reader costs bytes times operations.
    last = max(places, default=place)
    kept_longer = {array: max(0, last - max(readers[array])) for array in operation.operands}
    cost = sum(program.bytes[array] * kept_longer[array] for array in kept_longer.keys() - pinned)
    return cost <= _RECOMPUTE_BUDGET * program.bytes[operation.results[0]] * (last - place)
