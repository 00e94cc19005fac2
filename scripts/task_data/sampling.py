"""Which rows a split has: numpy's legacy generator, seeded afresh for every draw, as MeZO's tasks.py draws them."""

import hashlib

import numpy

from folders import InputError


def permutation(seed: int, count: int) -> list[int]:
    """numpy.random.seed(seed); numpy.random.permutation(count) (tasks.py, sample_subset), without the global state."""
    return numpy.random.RandomState(seed).permutation(count).tolist()


def train_and_dev(rows: int, train: int, dev: int, seed: int) -> tuple[list[int], list[int]]:
    """One draw for both, dev being the last ones (tasks.py, sample_train_sets; run.py, main). MeZO goes on with fewer when
    there are not enough; here that is an error."""
    if train + dev > rows:
        raise InputError(f"{train} training and {dev} dev examples are asked for, the training file has {rows} rows")
    order = permutation(seed, rows)[:train + dev]
    return order[:train], order[train:]


def evaluation(rows: int, count: int | None, seed: int) -> list[int]:
    """The file's order, or a draw where fewer rows are asked for than there are (run.py, main). None: all."""
    if count is None or count >= rows:
        return list(range(rows))
    return permutation(seed, rows)[:count]


def demonstration_seeds(count: int) -> list[int]:
    """In-context learning draws other demonstrations for each evaluation example (tasks.py, sample_train_sets)."""
    return numpy.random.RandomState(0).randint(0, 10000, count).tolist()


def rows_sha256(rows: list[int]) -> str:
    """Of the numbers in decimal with commas between."""
    return hashlib.sha256(",".join(map(str, rows)).encode()).hexdigest()
