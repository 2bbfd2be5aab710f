"""The tables of `benchmark.py`: figures of each variant, and speedups within a group."""

import statistics
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

# Key of a speedup that names the group of a row.
_GROUP = ('part', 'width', 'height', 'batch_size')
_COLUMNS = (
    *(('images/s', 9), ('s/step', 9), ('(min', 9), ('max)', 9), ('first s', 8)),
    *(('memory MiB', 11), ('XLA GFLOP', 10), ('model TFLOP/s', 14), ('MFU', 7)),
)


def size_title(row: Row) -> str:
    """'train, 256x256, batch 4'."""
    return f'{row["part"]}, {row["width"]}x{row["height"]}, batch {row["batch_size"]}'


def print_rows(title: str, rows: list[Row], rounds: int) -> None:
    """Print a line for each variant."""
    width = max(len(row['variant']) for row in rows)
    devices = dict.fromkeys(row['device'] for row in rows if 'device' in row)
    print(f'\n{title}, {" and ".join(devices) or "no device"}; medians of {rounds} turns')
    print(' ' * width + ''.join(f' {name:>{size}}' for name, size in _COLUMNS))
    for row in rows:
        if 'error' in row:
            line = f' failed: {row["error"]}'
        else:
            cells = zip(_cells(row), _COLUMNS, strict=True)
            line = ''.join(f' {cell:>{size}}' for cell, (_, size) in cells)
        print(f'{row["variant"]:<{width}}{line}', flush=True)


def _cells(row: Row) -> list[str]:
    seconds, mfu = row['seconds_per_step'], row.get('mfu')
    return [
        *(f'{row["images_per_second"]:.4g}', f'{seconds["median"]:.4g}'),
        *(f'{seconds["min"]:.4g}', f'{seconds["max"]:.4g}', f'{row["first_step_seconds"]:.1f}'),
        f'{row["peak_memory_bytes"] / 2**20:.0f}',
        scaled(row['xla_flops'], 1e9),
        scaled(row.get('model_flops_per_second'), 1e12),
        '-' if mfu is None else f'{mfu:.1%}',
    ]


def scaled(number: float | None, unit: float) -> str:
    """Four digits in a unit; '-' for None."""
    return '-' if number is None else f'{number / unit:.4g}'


def speedups_of(rows: Iterable[Row]) -> list[Row]:
    """The speed of each variant relative to the first one of its group and to the best of PyTorch.

    The first variant is that of the same session, if it ran there. Groups of one variant are left
    out.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        if 'error' not in row:
            groups.setdefault(tuple(row[name] for name in _GROUP), []).append(row)
    return [entry for group in groups.values() for entry in _group_speedups(group)]


def _group_speedups(group: list[Row]) -> list[Row]:
    first = group[0]
    bases = {row['session']: row for row in group if row['variant'] == first['variant']}
    others = [row for row in group if row is first or row['variant'] != first['variant']]
    to_first = {row['variant']: speedup(row, bases.get(row['session'], first)) for row in others}
    pytorch = [row['variant'] for row in others if row['framework'] == 'torch']
    best = max(pytorch, key=to_first.__getitem__, default=None)
    shared = {
        'first': first['variant'],
        'best_pytorch': best,
        'one_device': len({row['device'] for row in group}) == 1,
    }
    entries = []
    for row in others if len(others) > 1 else ():
        relative = to_first[row['variant']]
        names = {name: row[name] for name in (*_GROUP, 'variant')}
        to_best = relative / to_first[best] if best else None
        entries.append(names | shared | {'over_first': relative, 'over_best_pytorch': to_best})
    return entries


def speedup(row: Row, base: Row) -> float:
    """The speed of a row as a multiple of another's: the median over the turns."""
    turns = zip(base['seconds'], row['seconds'], strict=False)
    return statistics.median(theirs / ours for theirs, ours in turns)


def print_speedups(speedups: list[Row]) -> None:
    """Print a line for each variant under a heading for each group."""
    width, heading = max((len(entry['variant']) for entry in speedups), default=0), None
    for entry in speedups:
        title = size_title(entry)
        best = entry['best_pytorch']
        if title != heading:
            over = f'over {entry["first"]}' + (
                f', over {best}, the best of PyTorch' if best else ''
            )
            devices = '' if entry['one_device'] else ' (on different devices)'
            print(f'\n{title}: speedup {over}{devices}')
            heading = title
        last = f' {entry["over_best_pytorch"]:>7.2f}' if best else ''
        print(f'{entry["variant"]:<{width}} {entry["over_first"]:>7.2f}{last}')
