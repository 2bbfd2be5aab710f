"""Estimate a program's peak memory from its jaxpr, in seconds and without compiling.

Experimental: it imitates what XLA does, in the order of the trace. An array lives from the
operation that computes it to the last one that reads it. Elementwise results are not stored: their
readers compute them again, unless a reader is a convolution or the like, or recomputation would
keep larger arrays alive. Equal expressions are computed once, except for what `jax.checkpoint`
recomputes. Reshaping is free, and donated arguments make room for results.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
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
_REDUCTIONS = set(
    'reduce_sum reduce_max reduce_min reduce_window_sum argmax reduce_and reduce_or'.split()
)
# Operations into which a compiler fuses the computation of their operands.
_FUSIBLE_READERS = _ELEMENTWISE | _REDUCTIONS
# The results are views of the operand.
_VIEWS = {'split'}
_LOOPS = {'scan', 'while', 'cond', 'custom_linear_solve', 'pmap', 'shard_map'}
# Recomputing a result may keep at most so many times its bytes alive: an array of its size, and
# statistics.
_RECOMPUTE_BUDGET = 1.25


class LiveBytes(NamedTuple):
    """The memory of a program in bytes.

    Attributes:
      arguments: All arguments.
      results: All results.
      peak: The maximum that is alive at the same time, arguments included.
    """

    arguments: int
    results: int
    peak: int


def live_bytes(function: Callable, *arguments: Any, donated: int = 0) -> LiveBytes:
    """Estimate the memory of `function(*arguments)`.

    Args:
      function: Traceable by JAX.
      *arguments: Trees of arrays, concrete or abstract (`jax.ShapeDtypeStruct`).
      donated: Number of leading arguments that the function may overwrite.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return _peak_of(closed.jaxpr, len(jax.tree.leaves(arguments[:donated])))


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree, concrete or abstract."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


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
        # The results of an operation by everything that they depend on.
        self._known: dict[tuple, list[int]] = {}

    def array(self, variable: core.Var) -> int:
        """The number of a new array."""
        shape, dtype = getattr(variable.aval, 'shape', ()), getattr(variable.aval, 'dtype', None)
        self.bytes.append(math.prod(shape) * (dtype.itemsize if dtype is not None else 0))
        return len(self.bytes) - 1

    def total(self, arrays: Iterable[int]) -> int:
        """The bytes of some arrays."""
        return sum(self.bytes[array] for array in arrays)

    def add(self, jaxpr: core.Jaxpr, numbers: dict[core.Var, int]) -> None:
        """Append the operations of a trace, with calls inlined.

        Args:
          jaxpr: The trace.
          numbers: The numbers of its arguments; those of its other variables are added.
        """
        for variable in jaxpr.constvars:
            numbers.setdefault(variable, self.array(variable))
        for equation in jaxpr.eqns:
            self._add_equation(equation, numbers)

    def _add_equation(self, equation: core.JaxprEqn, numbers: dict[core.Var, int]) -> None:
        operands = [
            None if isinstance(atom, core.Literal) else numbers[atom] for atom in equation.invars
        ]
        read = [operand for operand in operands if operand is not None]
        nested, name = list(_nested(equation)), equation.primitive.name
        platforms = equation.params.get('branches_platforms') or ()
        if None in platforms:
            # The default of `platform_dependent`: the estimate is not about CPUs.
            self._inline(nested[platforms.index(None)], equation, operands[1:], numbers)
        elif name not in _LOOPS and len(nested) == 1 and len(nested[0].invars) == len(operands):
            if _is_recomputed(equation):
                pairs = zip(operands, nested[0].invars, strict=True)
                operands = [self._behind_barrier(*pair) for pair in pairs]
            self._inline(nested[0], equation, operands, numbers)
        elif name == 'optimization_barrier':
            for operand, variable in zip(operands, equation.outvars, strict=True):
                numbers[variable] = self._behind_barrier(operand, variable)
        elif name in _SAME_BYTES and len(equation.outvars) == len(read) == len(operands):
            numbers.update(zip(equation.outvars, read, strict=True))
        else:
            results = self._results(equation, read, nested, numbers)
            numbers.update(zip(equation.outvars, results, strict=True))

    def _results(self, equation, read, nested, numbers) -> list[int]:
        """The results of an equation, of an equal earlier one if there is one."""
        name, key = equation.primitive.name, None
        if name in _FUSIBLE_READERS:
            types = str([variable.aval for variable in equation.outvars])
            inputs = [
                str(atom) if isinstance(atom, core.Literal) else numbers[atom]
                for atom in equation.invars
            ]
            key = (name, types, str(equation.params), *inputs)
            if key in self._known:
                return self._known[key]
        results = [self.array(variable) for variable in equation.outvars]
        if key is not None:
            self._known[key] = results
        inside = 0
        if name in _LOOPS:
            memory = [_peak_of(jaxpr, 0) for jaxpr in nested]
            inside = max((live.peak - live.arguments for live in memory), default=0)
        self.operations.append(_Operation(name, read, results, inside))
        return results

    def _behind_barrier(self, operand: int | None, variable: core.Var) -> int:
        """A new number for the same array: what is computed from it is computed again."""
        result = self.array(variable)
        if operand is not None:
            self.operations.append(_Operation('optimization_barrier', [operand], [result]))
        return result

    def _inline(self, jaxpr, equation, operands, numbers) -> None:
        inner = {
            variable: self.array(variable) if operand is None else operand
            for variable, operand in zip(jaxpr.invars, operands, strict=True)
        }
        self.add(jaxpr, inner)
        for outer, result in zip(equation.outvars, jaxpr.outvars, strict=True):
            is_literal = isinstance(result, core.Literal)
            numbers[outer] = self.array(outer) if is_literal else inner[result]


def _is_recomputed(equation: core.JaxprEqn) -> bool:
    """True for the second computation of what `jax.checkpoint` wraps."""
    params = equation.params
    is_checkpoint = equation.primitive.name == 'remat2'
    return is_checkpoint and params['differentiated'] and params['prevent_cse']


def _nested(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """The traces of the functions that an equation calls."""
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item


def _peak_of(jaxpr: core.Jaxpr, num_donated: int) -> LiveBytes:
    program = _Program()
    arguments = [program.array(variable) for variable in jaxpr.invars]
    numbers = dict(zip(jaxpr.invars, arguments, strict=True))
    program.add(jaxpr, numbers)
    results = {numbers[atom] for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
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
    constants = last_read.keys() - computed
    living = {
        array for array in constants.union(arguments) if array in pinned or array in last_read
    }
    live = program.total(living)
    peak = program.total(constants.union(arguments))
    for place, operation in enumerate(program.operations):
        read_last = {array for array in operation.operands if last_read[array] == place}
        dying = (read_last - pinned) & living
        born = {array for array in operation.results if array in last_read or array in pinned}
        freed, new = program.total(dying), program.total(born)
        live += new
        # An elementwise result replaces an operand that is not read again.
        reused = min(freed, new) if operation.name in _ELEMENTWISE else 0
        peak = max(peak, live + operation.inside - reused)
        live -= freed
        living = (living | born) - dying
    return peak


def _fuse(program: _Program, pinned: set[int]) -> None:
    """Remove the operations whose results are not stored: their readers compute them.

    From the last operation to the first, so that the readers of a result, and the lifetimes of the
    arrays that it is computed from, are final when it is decided.
    """
    readers: dict[int, set[int]] = {}  # places of the operations that read an array
    for place, operation in enumerate(program.operations):
        for array in operation.operands:
            readers.setdefault(array, set()).add(place)
    kept = []
    for place, operation in reversed(list(enumerate(program.operations))):
        if not _is_fused(program, place, operation, readers, pinned):
            kept.append(operation)
            continue
        for array in set(operation.operands):
            readers[array].remove(place)
        for result in operation.results:
            for reader in readers.pop(result, ()):
                reading = program.operations[reader]
                reading.operands = _replaced(reading.operands, result, operation.operands)
                for array in operation.operands:
                    readers[array].add(reader)
    program.operations = kept[::-1]


def _replaced(arrays: list[int], old: int, new: list[int]) -> list[int]:
    """The arrays without repetition, with some in place of an old one."""
    replaced: dict[int, None] = {}
    for array in arrays:
        replaced.update(dict.fromkeys(new if array == old else [array]))
    return list(replaced)


def _is_fused(
    program: _Program,
    place: int,
    operation: _Operation,
    readers: dict[int, set[int]],
    pinned: set[int],
) -> bool:
    """Whether the readers of an operation's results read its operands instead."""
    if not pinned.isdisjoint(operation.results):
        return False
    if operation.name == 'optimization_barrier':
        return True
    places = set().union(*(readers.get(result, ()) for result in operation.results))
    if any(program.operations[reader].name not in _FUSIBLE_READERS for reader in places):
        return False
    if operation.name in _VIEWS:
        return True
    if operation.name not in _ELEMENTWISE:
        return False
    # Memory that is kept until the last reader costs bytes times operations.
    last = max(places, default=place)
    cost = sum(
        program.bytes[array] * max(0, last - max(readers[array]))
        for array in set(operation.operands) - pinned
    )
    return cost <= _RECOMPUTE_BUDGET * program.bytes[operation.results[0]] * (last - place)
