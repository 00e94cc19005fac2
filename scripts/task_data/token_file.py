"""Writes and reads token files. The format is written down in src/task/token_file.h, which reads them too."""

import dataclasses
import itertools
import pathlib
import struct
from array import array

from folders import InputError
from task_data.encoding import Sequence

MAGIC = b"ZO2TOKEN"
VERSION = 1
HEADER = struct.Struct("<8sIIQQQQ")
EXAMPLE = struct.Struct("<II")
SEQUENCE = struct.Struct("<QII")


class TokenFileWriter:
    """Gathers examples; save() writes them."""

    def __init__(self) -> None:
        self._examples = array("I", [0, 0])
        self._sequences = bytearray()
        self._rights = array("I")
        self._tokens = array("i")
        self._count = 0
        self.longest = 0
        self.truncated = 0
        assert self._examples.itemsize == self._tokens.itemsize == 4

    def add(self, sequences: list[Sequence], right: list[int]) -> None:
        for sequence in sequences:
            self._sequences += SEQUENCE.pack(len(self._tokens), sequence.label_begin, sequence.label_end)
            self._tokens.extend(sequence.ids)
            self.longest = max(self.longest, len(sequence.ids))
            self.truncated += sequence.truncated
        self._count += len(sequences)
        self._rights.extend(right)
        self._examples.extend([self._count, len(self._rights)])

    def counts(self) -> dict[str, int]:
        """What the manifest says of the file."""
        return {"examples": len(self._examples) // 2 - 1, "sequences": self._count, "tokens": len(self._tokens),
                "longest": self.longest, "truncated": self.truncated}

    def save(self, path: pathlib.Path) -> None:
        counts = self.counts()
        header = HEADER.pack(MAGIC, VERSION, 0, counts["examples"], counts["sequences"], len(self._rights), counts["tokens"])
        end = SEQUENCE.pack(len(self._tokens), 0, 0)
        path.write_bytes(b"".join([header, _little_endian(self._examples), self._sequences, end,
                                   _little_endian(self._rights), _little_endian(self._tokens)]))


def _little_endian(values: array) -> bytes:
    return struct.pack(f"<{len(values)}{values.typecode}", *values)


@dataclasses.dataclass
class TokenExample:
    """`right` counts the right ones among the sequences, ascending. What they are, the kind of the task says."""
    sequences: list[Sequence]
    right: list[int]


def read_token_file(path: pathlib.Path) -> list[TokenExample]:
    """All examples. Raises InputError for what is no token file or is cut short, OSError where it cannot be read."""
    content = path.read_bytes()
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise InputError(f"{path} is no token file of scripts/prepare_task.py")
    _, version, _, examples, sequences, rights, tokens = HEADER.unpack_from(content)
    if version != VERSION:
        raise InputError(f"{path} has version {version}, this reads version {VERSION}: prepare the task again")
    sizes = [HEADER.size, EXAMPLE.size * (examples + 1), SEQUENCE.size * (sequences + 1), 4 * rights, 4 * tokens]
    *begins, end = itertools.accumulate(sizes)
    if end != len(content):
        raise InputError(f"{path} has {len(content)} bytes, its header asks for {end}: prepare the task again")
    example_table = list(EXAMPLE.iter_unpack(content[begins[0]:begins[1]]))
    sequence_table = list(SEQUENCE.iter_unpack(content[begins[1]:begins[2]]))
    right = struct.unpack_from(f"<{rights}I", content, begins[2])
    ids = struct.unpack_from(f"<{tokens}i", content, begins[3])
    rows = [Sequence(list(ids[first:after]), label_begin, label_end)
            for (first, label_begin, label_end), (after, _, _) in itertools.pairwise(sequence_table)]
    return [TokenExample(rows[first:after], list(right[first_right:after_right]))
            for (first, first_right), (after, after_right) in itertools.pairwise(example_table)]
