"""Converts a published checkpoint, pytorch_model*.bin, to the safetensors that zo2 reads.

python scripts/convert_checkpoint.py DIR OUT

DIR holds config.json and pytorch_model.bin, or pytorch_model.bin.index.json and its shards. OUT gets one safetensors file
for each of them with the same tensors under the same names and in the same dtypes, an index if there are several, and DIR's
config.json and tokenizer files. One shard is in memory at a time, mapped rather than read. Pickled code is never run.

OUT appears whole or not at all: it is written beside itself and renamed. A killed run leaves a folder .OUT.* to delete.
Exit code 2, and the reason on standard error, when something is missing or cannot be written.
"""

import argparse
import json
import pathlib
import pickle
import shutil
import sys

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from folders import InputError, folder_written_aside

SINGLE = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"
COPIED = ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
          "special_tokens_map.json", "added_tokens.json"]


def find_shards(folder: pathlib.Path) -> dict[str, set[str] | None]:
    """File name -> the tensors that the index says are in it (None without an index)."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json: not a Hugging Face checkpoint")
    if (folder / SINGLE).is_file():
        return {SINGLE: None}
    if not (folder / INDEX).is_file():
        done = any(folder.glob("*.safetensors"))
        raise InputError(f"{folder} holds neither {SINGLE} nor {INDEX}"
                              + (": it is in safetensors already, give it to zo2 as it is" if done else ""))
    try:
        weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
        shards: dict[str, set[str] | None] = {}
        for tensor, shard in weight_map.items():
            shards.setdefault(shard, set()).add(tensor)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / INDEX}: no weight_map of tensor names to files ({error!r})") from error
    for shard, tensors in shards.items():
        if pathlib.PurePath(shard).name != shard:
            raise InputError(f"{folder / INDEX}: '{shard}' is not the name of a file beside the index")
        if not (folder / shard).is_file():
            raise InputError(f"{folder / INDEX}: shard {shard} is missing; {len(tensors)} tensors are in it")
    return shards


def load_shard(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """The tensors of one file. A dictionary around them, as trainers write it ({"model": ...}), is refused."""
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            state = torch.load(path, map_location="cpu", weights_only=True)  # torch before 1.6 wrote no zip files
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint that torch.load reads: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: not a dictionary of tensors")
    return state


def without_aliases(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A head that is the token table itself is left out, as in safetensors files of tied models; what else shares memory
    is copied, since such a file can hold no reference."""
    kept: dict[str, torch.Tensor] = {}
    seen: dict[int, str] = {}
    for name in sorted(state, key=lambda name: name.endswith("lm_head.weight")):  # heads last
        tensor = state[name]
        first = seen.setdefault(tensor.untyped_storage().data_ptr(), name)
        if first == name:
            kept[name] = tensor.contiguous()
            continue
        same = tensor.is_set_to(state[first])
        if same and name.endswith("lm_head.weight") and first.endswith("embed_tokens.weight"):
            print(f"convert_checkpoint: '{name}' is '{first}' and is left out", file=sys.stderr)
            continue
        kept[name] = tensor.clone(memory_format=torch.contiguous_format)
    return kept


def convert(folder: pathlib.Path, out: pathlib.Path) -> int:
    """Returns the number of tensors written. Raises InputError or OSError, and then leaves nothing at `out`."""
    shards = find_shards(folder)
    weight_map: dict[str, str] = {}
    total_bytes = 0
    with folder_written_aside(out) as aside:
        for number, (shard, expected) in enumerate(shards.items(), 1):
            name = "model.safetensors" if expected is None else f"model-{number:05}-of-{len(shards):05}.safetensors"
            state = load_shard(folder / shard)
            missing = (expected or set()) - state.keys()
            if missing:
                raise InputError(f"{folder / INDEX}: tensor '{min(missing)}' should be in {shard}, which does not have it")
            state = without_aliases(state)
            for tensor, value in state.items():
                if tensor in weight_map:
                    raise InputError(f"tensor '{tensor}' is in {shard} and in another shard")
                weight_map[tensor] = name
                total_bytes += value.nbytes
            save_file(state, aside / name, metadata={"format": "pt"})
            print(f"convert_checkpoint: {shard} -> {name}, {len(state)} tensors", file=sys.stderr)
        if len(shards) > 1 or None not in shards.values():
            index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
            (aside / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
        for extra in ["config.json", *COPIED]:
            if (folder / extra).is_file():
                shutil.copyfile(folder / extra, aside / extra)
    return len(weight_map)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path, metavar="DIR", help="config.json and pytorch_model*.bin")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="a folder that is not there yet")
    options = parser.parse_args(arguments)
    try:
        tensors = convert(options.dir, options.out)
    except (InputError, OSError, SafetensorError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 2
    print(f"convert_checkpoint: wrote {options.out}, {tensors} tensors", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
