"""Opens folders that scripts/prepare_task.py wrote; src/task/task.h says what is in them."""

import dataclasses
import hashlib
import json
import pathlib

from folders import InputError
from task_data.token_file import TokenExample, read_token_file

FORMAT = 1


@dataclasses.dataclass
class PreparedTask:
    manifest: dict
    splits: dict[str, list[TokenExample]]  # train, dev and eval, each there or not


def open_task(folder: pathlib.Path) -> PreparedTask:
    """Raises InputError for what is no such folder or was changed since, OSError for a file that cannot be read."""
    path = folder / "task.json"
    if not path.is_file():
        raise InputError(f"{folder} has no task.json: it is no folder that scripts/prepare_task.py wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["format"]
        hashes = {name: claims["tokens_sha256"] for name, claims in manifest["splits"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no manifest of a prepared task: {error!r}") from error
    if found != FORMAT:
        raise InputError(f"{path} has format {found}, this reads format {FORMAT}: prepare the task again")
    splits = {}
    for name, claimed in hashes.items():
        tokens = folder / f"{name}.tokens"
        if hashlib.sha256(tokens.read_bytes()).hexdigest() != claimed:
            raise InputError(f"{tokens} is not the file that {path} was written for: prepare the task again")
        splits[name] = read_token_file(tokens)
    return PreparedTask(manifest, splits)
