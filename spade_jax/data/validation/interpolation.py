"""Find label maps that were scaled with interpolation, which makes up ids along borders.

Between the classes 2 and 9, interpolation leaves a ramp such as 4, 7. Classes that are thin, or lie
between others, interrupt some borders or those of few classes; ramps replace most of them.
"""

import numpy as np

_STABLE = 4  # Pixels: a shorter run of an id is part of a border.
_LEAST_RAMPS, _MANY_IDS = 20, 4
# Between two pairs of classes alone, or of one id, thin runs are an outline.
_LEAST_OF_OTHER_PAIRS, _LEAST_OF_OTHER_IDS = 0.1, 0.25


def interpolated_ids(label: np.ndarray) -> dict[int, int]:
    """Return the number of made-up pixels by id in a label map [H, W]; {} if it looks honest."""
    (direct, *rows), (other_direct, *columns) = _borders(label), _borders(label.T)
    pairs, ids = map(np.concatenate, zip(rows, columns, strict=True))
    if len(pairs) < max(_LEAST_RAMPS, direct + other_direct):
        return {}
    values, counts = np.unique(ids, return_counts=True)
    per_pair = np.unique(pairs, axis=0, return_counts=True)[1]
    has_other_pairs = _share_beyond(2, per_pair) >= _LEAST_OF_OTHER_PAIRS
    # A ramp between two classes has few of the ids that all of them have; layers are always there.
    has_many_ids = len(values) >= _MANY_IDS and len(ids) <= 0.75 * len(pairs) * len(values)
    if not (has_other_pairs or has_many_ids) or _share_beyond(1, counts) < _LEAST_OF_OTHER_IDS:
        return {}
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _share_beyond(most: int, counts: np.ndarray) -> float:
    """Return the share of all but the `most` largest counts."""
    return 1 - np.sort(counts)[-most:].sum() / counts.sum()


def _borders(label: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Find the borders, along rows, of ids that differ by two or more.

    Returns:
      The number of borders between two neighboring pixels; the two ids [N, 2] on the sides of each
      ramp, in which ids only rise or only fall; and the ids of the pixels in ramps.
    """
    starts = np.ones(label.shape, bool)
    starts[:, 1:] = label[:, 1:] != label[:, :-1]
    places = np.flatnonzero(starts)  # Of the runs of one id.
    ids, rows = label.ravel()[places].astype(np.int64), places // label.shape[1]
    lengths = np.diff(places, append=label.size)
    stable = np.flatnonzero(lengths >= _STABLE)
    first, last = stable[:-1], stable[1:]  # The runs on both sides of a border.
    is_border = (rows[first] == rows[last]) & (np.abs(ids[last] - ids[first]) >= 2)
    first, last = first[is_border], last[is_border]
    rises = np.concatenate([[0], np.cumsum(np.sign(np.diff(ids)))])
    is_ramp = np.abs(rises[last] - rises[first]) == last - first
    is_direct = last - first == 1
    first, last = first[is_ramp & ~is_direct], last[is_ramp & ~is_direct]
    depth = np.zeros(len(ids) + 1, np.int64)
    depth[first + 1] += 1
    depth[last] -= 1
    inside = np.flatnonzero(np.cumsum(depth)[:-1])
    pairs = np.sort(np.stack([ids[first], ids[last]], axis=1), axis=1)
    return int(is_direct.sum()), pairs, np.repeat(ids[inside], lengths[inside])
