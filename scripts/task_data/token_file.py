"""Writes token files. The format is written down in src/task/token_file.h, which reads them."""

import pathlib
import struct
from array import array

from task_data.encoding import Sequence

MAGIC = b"ZO2TOKEN"
VERSION = 1


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
            self._sequences += struct.pack("<QII", len(self._tokens), sequence.label_begin, sequence.label_end)
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
        header = struct.pack("<8sIIQQQQ", MAGIC, VERSION, 0, counts["examples"], counts["sequences"], len(self._rights),
                             counts["tokens"])
        end = struct.pack("<QII", len(self._tokens), 0, 0)
        path.write_bytes(b"".join([header, _little_endian(self._examples), self._sequences, end,
                                   _little_endian(self._rights), _little_endian(self._tokens)]))


def _little_endian(values: array) -> bytes:
    return struct.pack(f"<{len(values)}{values.typecode}", *values)
