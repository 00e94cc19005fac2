"""What the scripts that write folders share: a folder appears whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


class InputError(Exception):
    """What is wrong with the input or the output folder, for people; a script prints it and exits with 2."""


@contextlib.contextmanager
def folder_written_aside(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside `out` that becomes `out` when the block ends well, and is gone when it does not. What a killed
    script leaves is called .OUT.*. Raises InputError when `out` is there already."""
    if out.exists():
        raise InputError(f"{out} exists: remove it or name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield aside
        aside.chmod(0o777 & ~_umask())  # mkdtemp's folders are for their owner alone
        for path in [*aside.iterdir(), aside]:
            _sync(path)
        os.rename(aside, out)
        _sync(out.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
