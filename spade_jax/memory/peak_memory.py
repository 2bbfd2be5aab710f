"""How many bytes a JAX program holds at once, told from its trace alone: seconds, where a compilation takes minutes.

The trace is walked in its order. An array lives from the operation that makes it to the last one that reads it: what the backward pass reads lives
from the forward pass on. As a compiler does, what is computed elementwise is not stored: its readers compute it again, unless one of them is a convolution or
the like, or the arrays that it is computed from would be kept longer for it, and take more. What is computed twice is computed once, but for what
`jax.checkpoint` computes again. Copies of shape alone take nothing, and donated arguments make room for results.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend import core

# The result may share the memory of the operand.
_SAME_BYTES = {'reshape', 'squeeze', 'expand_dims', 'copy', 'stop_gradient'}
# One result element from a few operand elements: computed where it is read.
_ELEMENTWISE = {
    'abs',
    'add',
    'add_any',
    'and',
    'broadcast_in_dim',
    'ceil',
    'clamp',
    'concatenate',
    'convert_element_type',
    'cos',
    'div',
    'eq',
    'erf',
    'exp',
    'exp2',
    'expm1',
    'floor',
    'ge',
    'gt',
    'integer_pow',
    'iota',
    'is_finite',
    'le',
    'log',
    'log1p',
    'logistic',
    'lt',
    'max',
    'min',
    'mul',
    'ne',
    'neg',
    'not',
    'or',
    'pad',
    'pow',
    'rem',
    'rev',
    'round',
    'rsqrt',
    'select_n',
    'sign',
    'sin',
    'slice',
    'sqrt',
    'square',
    'sub',
    'tanh',
    'transpose',
    'xor',
}
_REDUCTIONS = {
    'reduce_sum',
    'reduce_max',
    'reduce_min',
    'reduce_window_sum',
    'argmax',
    'reduce_and',
    'reduce_or',
}
# Parts of the operand, which a reader finds there.
_PARTS = {'split'}
# What a compiler computes the operands of as it reads them.
_READ_THROUGH = _ELEMENTWISE | _REDUCTIONS
_LOOPS = {'scan', 'while', 'cond', 'custom_linear_solve', 'pmap', 'shard_map'}
_NO_DEARER = 1.25  # Times the memory of a result, which its operands may cost to be read instead: an array of its size, and statistics besides.


class LiveBytes(NamedTuple):
    """arguments, results: their bytes. peak: the most that lives at once, arguments included."""

    arguments: int
    results: int
    peak: int


def live_bytes(function: Callable, *arguments: Any, donated: int = 0) -> LiveBytes:
    """The memory of `function(*arguments)`.

    Args:
      arguments: trees of arrays, concrete or abstract (`jax.ShapeDtypeStruct`).
      donated: so many of the first arguments are the function's to overwrite.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return _walk(closed.jaxpr, len(jax.tree.leaves(arguments[:donated])))


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree, concrete or abstract."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@dataclasses.dataclass
class _Operation:
    name: str
    operands: list[int]
    results: list[int]
    inside: int  # bytes that live within it alone


class _Program:
    """A trace without nested calls: operations on numbered arrays of known bytes."""

    def __init__(self):
        self.operations: list[_Operation] = []
        self.bytes: list[int] = []
        self._known: dict[
            tuple, list[int]
        ] = {}  # the results of an operation, by all that they depend on

    def array(self, variable: core.Var) -> int:
        shape, dtype = getattr(variable.aval, 'shape', ()), getattr(variable.aval, 'dtype', None)
        self.bytes.append(math.prod(shape) * (dtype.itemsize if dtype is not None else 0))
        return len(self.bytes) - 1

    def add(self, jaxpr: core.Jaxpr, numbers: dict[core.Var, int]) -> None:
        """Appends the operations of a trace whose arguments have numbers already; calls are written out."""
        for variable in jaxpr.constvars:
            numbers.setdefault(variable, self.array(variable))
        for equation in jaxpr.eqns:
            operands = [
                None if isinstance(atom, core.Literal) else numbers[atom]
                for atom in equation.invars
            ]
            nested, name = list(_nested(equation)), equation.primitive.name
            platforms = equation.params.get('branches_platforms') or ()
            if (
                None in platforms
            ):  # the form for all devices that have none of their own: forms of a CPU are not what is asked about
                self._inline(nested[platforms.index(None)], equation, operands[1:], numbers)
                continue
            if name not in _LOOPS and len(nested) == 1 and len(nested[0].invars) == len(operands):
                if (
                    name == 'remat2'
                    and equation.params['differentiated']
                    and equation.params['prevent_cse']
                ):
                    operands = [
                        self._behind_barrier(*each) for each in zip(operands, nested[0].invars)
                    ]
                self._inline(nested[0], equation, operands, numbers)
                continue
            read = [operand for operand in operands if operand is not None]
            if (
                name in _SAME_BYTES
                and len(equation.outvars) == len(operands)
                and len(read) == len(operands)
            ):
                numbers.update(zip(equation.outvars, read))
                continue
            if name == 'optimization_barrier':
                numbers.update(
                    {
                        variable: self._behind_barrier(operand, variable)
                        for operand, variable in zip(operands, equation.outvars)
                    }
                )
                continue
            if name in _READ_THROUGH:
                types = str([variable.aval for variable in equation.outvars])
                key = (
                    name,
                    types,
                    str(equation.params),
                    *(
                        str(atom) if isinstance(atom, core.Literal) else numbers[atom]
                        for atom in equation.invars
                    ),
                )
                if key in self._known:
                    numbers.update(zip(equation.outvars, self._known[key]))
                    continue
                self._known[key] = results = [self.array(variable) for variable in equation.outvars]
            else:
                results = [self.array(variable) for variable in equation.outvars]
            numbers.update(zip(equation.outvars, results))
            inside = (
                max(
                    (live.peak - live.arguments for live in (_walk(jaxpr, 0) for jaxpr in nested)),
                    default=0,
                )
                if name in _LOOPS
                else 0
            )
            self.operations.append(_Operation(name, read, results, inside))

    def _behind_barrier(self, operand: int | None, variable: core.Var) -> int:
        """The same array under another number: what is computed from it is not what was computed before."""
        result = self.array(variable)
        if operand is not None:
            self.operations.append(_Operation('optimization_barrier', [operand], [result], 0))
        return result

    def _inline(self, jaxpr, equation, operands, numbers):
        inner = {
            variable: self.array(variable) if operand is None else operand
            for variable, operand in zip(jaxpr.invars, operands)
        }
        self.add(jaxpr, inner)
        for outer, result in zip(equation.outvars, jaxpr.outvars):
            numbers[outer] = (
                self.array(outer) if isinstance(result, core.Literal) else inner[result]
            )


def _nested(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item


def _walk(jaxpr: core.Jaxpr, num_donated: int) -> LiveBytes:
    program = _Program()
    arguments = [program.array(variable) for variable in jaxpr.invars]
    numbers = dict(zip(jaxpr.invars, arguments))
    program.add(jaxpr, numbers)
    results = {
        numbers[variable] for variable in jaxpr.outvars if not isinstance(variable, core.Literal)
    }
    immortal = results | set(arguments[num_donated:])
    _fuse(program, immortal)

    last_read = {
        array: place
        for place, operation in enumerate(program.operations)
        for array in operation.operands
    }
    made = {array for operation in program.operations for array in operation.results}
    constants = {array for array in last_read if array not in made}
    living = set(arguments) | constants
    live = peak = sum(program.bytes[array] for array in living)
    unread = {array for array in living if array not in immortal and array not in last_read}
    living, live = living - unread, live - sum(program.bytes[array] for array in unread)
    for place, operation in enumerate(program.operations):
        dying = {
            array
            for array in operation.operands
            if last_read[array] == place and array not in immortal and array in living
        }
        freed = sum(program.bytes[array] for array in dying)
        born = [
            array
            for array in operation.results
            if program.bytes[array] and (array in last_read or array in immortal)
        ]
        new = sum(program.bytes[array] for array in born)
        live += new
        # An elementwise result takes the place of an operand that nobody reads after it.
        peak = max(
            peak,
            live + operation.inside - (min(freed, new) if operation.name in _ELEMENTWISE else 0),
        )
        live -= freed
        living = (living | set(born)) - dying
    return LiveBytes(
        sum(program.bytes[array] for array in arguments),
        sum(program.bytes[array] for array in results),
        peak,
    )


def _fuse(program: _Program, immortal: set[int]) -> None:
    """Removes the operations whose result need not be stored: its readers compute it from what is.

    From the last operation to the first: when one is looked at, it is settled who reads its result, and how long the arrays that it is computed from are kept for others.
    """
    readers: dict[int, set[int]] = {}  # places of the operations that read an array
    for place, operation in enumerate(program.operations):
        for array in operation.operands:
            readers.setdefault(array, set()).add(place)
    kept = []
    for place, operation in reversed(list(enumerate(program.operations))):
        if not _need_not_be_stored(program, place, operation, readers, immortal):
            kept.append(operation)
            continue
        for array in set(operation.operands):
            readers[array].remove(place)
        for result in operation.results:
            for reader in readers.pop(result, ()):
                reading = program.operations[reader]
                reading.operands = list(
                    dict.fromkeys(
                        array
                        for each in reading.operands
                        for array in (operation.operands if each == result else [each])
                    )
                )
                for array in operation.operands:
                    readers[array].add(reader)
    program.operations = kept[::-1]


def _need_not_be_stored(
    program: _Program,
    place: int,
    operation: _Operation,
    readers: dict[int, set[int]],
    immortal: set[int],
) -> bool:
    """Whether those who read the results of an operation read its operands instead."""
    if not immortal.isdisjoint(operation.results):
        return False
    if operation.name == 'optimization_barrier':
        return True
    places = set().union(*(readers.get(result, ()) for result in operation.results))
    if any(program.operations[reader].name not in _READ_THROUGH for reader in places):
        return False
    if operation.name in _PARTS:
        return True
    if operation.name not in _ELEMENTWISE:
        return False
    last = max(
        places, default=place
    )  # Memory that is kept until then costs bytes times operations.
    price = sum(
        program.bytes[array] * max(0, last - max(readers[array]))
        for array in set(operation.operands) - immortal
    )
    return price <= _NO_DEARER * program.bytes[operation.results[0]] * (last - place)
