"""Strings to token ids with label spans: MeZO's utils.py, encode_prompt.

- Spaces are stripped at the ends of prompt and whole, line feeds are not; then all white space before the text.
- A candidate is the last tokens(whole) - tokens(prompt) tokens, both without demonstrations.
- Demonstrations are whole examples without outer white space, an empty line after each.
- What is longer than the limit loses tokens on the left, after the first token.
- The first token is the tokenizer's own, or <s> (id 0) under `bos: mezo`: MeZO overrides OPT's (run.py, load_model).
- What is generated ends with the last token of a line feed or with the tokenizer's end of text (run.py, one_step_pred).
"""

import dataclasses
import hashlib
import json
import pathlib

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from folders import InputError
from task_data.template import Example

SEPARATOR = "\n\n"  # tasks.py, train_sep
MEZO_FIRST = 0  # <s>
ENDS_OF_TEXT = ("</s>", "<|endoftext|>")  # OPT's, GPT-2's; a vocabulary that has both is OPT's


@dataclasses.dataclass
class Sequence:
    """Labels are ids [label_begin, label_end), or none where both are the length."""
    ids: list[int]
    label_begin: int
    label_end: int
    truncated: bool = False


class Encoder:
    """`bos` is mezo or tokenizer. Raises InputError when the tokenizer cannot be read or has no <s> at id 0 for mezo."""

    def __init__(self, folder: pathlib.Path, bos: str, max_length: int) -> None:
        self.tokenizer, self.sha256 = load_tokenizer(folder)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocab_size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        self.max_length = max_length
        alone = self.tokenizer.encode("").ids
        if len(alone) > 1:
            raise InputError(f"{folder}: the tokenizer puts {len(alone)} tokens around a text, expected one or none")
        self._own_first = self.first = alone[0] if alone else None
        if bos == "mezo":
            if self.first is None or self.tokenizer.id_to_token(MEZO_FIRST) != "<s>":
                raise InputError(f"{folder}: bos mezo puts <s>, id 0, before every text, as MeZO does with OPT; this "
                                 "tokenizer has no such token: use --bos tokenizer")
            self.first = MEZO_FIRST

    def ids(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text).ids
        if self.first is None:
            return ids
        assert ids and ids[0] == self._own_first
        return [self.first, *ids[1:]]

    def example(self, example: Example, demonstrations: list[Example]) -> list[Sequence]:
        """A sequence for each whole."""
        prompt_length = len(self.ids(example.prompt.strip(" ")))
        before = with_demonstrations(demonstrations)
        sequences = []
        for whole in example.wholes:
            whole = whole.strip(" ")
            labels = len(self.ids(whole)) - prompt_length
            if labels < 1:
                raise InputError(f"candidate without a token of its own: {whole[-60:]!r} after {example.prompt[-40:]!r}")
            sequences.append(self._cut(self.ids((before + whole).lstrip()), labels))
        return sequences

    def prompt(self, example: Example, demonstrations: list[Example]) -> Sequence:
        """The prompt alone, for generation to go on."""
        text = (with_demonstrations(demonstrations) + example.prompt.strip(" ")).lstrip()
        return self._cut(self.ids(text), 0)

    def ends(self) -> list[int]:
        """The ids after which generation stops."""
        line_feed = self.tokenizer.encode("\n", add_special_tokens=False).ids[-1:]
        ends_of_text = [id for id in map(self.tokenizer.token_to_id, ENDS_OF_TEXT) if id is not None]
        return line_feed + ends_of_text[:1]

    def vocabulary(self) -> list[bytes]:
        """The bytes of each id, none for special tokens and the first one. Raises InputError unless the tokenizer works on
        bytes."""
        if not isinstance(self.tokenizer.decoder, decoders.ByteLevel):
            raise InputError("generation needs a tokenizer that works on bytes, as OPT's and GPT-2's do")
        added = self.tokenizer.get_added_tokens_decoder()
        alphabet = byte_alphabet()
        entries = []
        for id in range(self.vocab_size):
            special = id == self.first or (id in added and added[id].special)
            token = "" if special else self.tokenizer.id_to_token(id) or ""
            text = id in added or not all(character in alphabet for character in token)  # text as it is
            entries.append(token.encode() if text else bytes(alphabet[character] for character in token))
        return entries

    def pieces(self, text: str) -> list[Sequence]:
        """All of a text in sequences of at most max_length, each with the first token; every other token is a label once."""
        ids = self.ids(text)
        first = ids[:1] if self.first is not None else []
        rest = ids[len(first):]
        step = self.max_length - len(first)
        cut = [first + rest[begin:begin + step] for begin in range(0, len(rest), step)]
        return [Sequence(piece, 1, len(piece)) for piece in cut if len(piece) > 1]

    def _cut(self, ids: list[int], labels: int) -> Sequence:
        truncated = len(ids) > self.max_length
        if truncated:
            first = ids[:1] if self.first is not None else []
            ids = first + ids[len(ids) - self.max_length + len(first):]
        # The first token has no position to be predicted from.
        return Sequence(ids, max(1, len(ids) - labels), len(ids), truncated)


def byte_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in byte-level vocabularies: printable ones for themselves, the others for
    U+0100 and on (github.com/openai/gpt-2, src/encoder.py, bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def with_demonstrations(demonstrations: list[Example]) -> str:
    wholes = [example.wholes[example.right[0]].strip() for example in demonstrations]
    return SEPARATOR.join(wholes).strip() + SEPARATOR if wholes else ""


def load_tokenizer(folder: pathlib.Path) -> tuple[tokenizers.Tokenizer, str]:
    """tokenizer.json, else vocab.json and merges.txt (byte-level BPE, as OPT's and GPT-2's), and the SHA-256 of what was
    read. `folder` may be a tokenizer file itself."""
    file = folder if folder.is_file() else folder / "tokenizer.json"
    try:
        if file.is_file():
            return tokenizers.Tokenizer.from_file(str(file)), hashlib.sha256(file.read_bytes()).hexdigest()
        vocab, merges = folder / "vocab.json", folder / "merges.txt"
        if not (vocab.is_file() and merges.is_file()):
            raise InputError(f"{folder} holds neither tokenizer.json nor vocab.json and merges.txt")
        digest = hashlib.sha256(vocab.read_bytes() + merges.read_bytes()).hexdigest()
        return byte_level_bpe(folder), digest
    except InputError:
        raise
    except Exception as error:  # the library raises Exception itself for a file that it cannot read
        raise InputError(f"{folder}: no tokenizer that can be read: {error}") from error


def byte_level_bpe(folder: pathlib.Path) -> tokenizers.Tokenizer:
    """As transformers' GPT2Tokenizer: bos_token of tokenizer_config.json or special_tokens_map.json goes first where
    add_bos_token says so, and for OPT, whose class has it so."""
    tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    settings: dict = {}
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= json.loads((folder / name).read_text(encoding="utf-8"))
    names = {}
    for key in ("bos_token", "eos_token", "unk_token", "pad_token"):
        value = settings.get(key)
        if value is not None:
            names[key] = value["content"] if isinstance(value, dict) else value
    opt = settings.get("model_type") == "opt"
    if opt:
        names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"} | names
    known = [name for name in dict.fromkeys(names.values()) if tokenizer.token_to_id(name) is not None]
    tokenizer.add_special_tokens([AddedToken(name, normalized=True, special=True) for name in known])
    if settings.get("add_bos_token", opt):
        bos = names.get("bos_token")
        if bos not in known:
            raise InputError(f"{folder}: add_bos_token is set, but bos_token {bos!r} is not in vocab.json")
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return tokenizer
