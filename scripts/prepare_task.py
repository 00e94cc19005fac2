"""Turns a published data set into token files that zo2 reads by mapping, after MeZO's protocol.

python scripts/prepare_task.py TASK --data DIR --tokenizer DIR --out DIR [--train N] [--dev N] [--eval N] [--data-seed S]
    [--bos tokenizer|mezo] [--max-length L] [--icl K] [--show N]

TASK is a template of experiments/tasks (SST2, RTE, CB, BoolQ, WSC, WIC, MultiRC, Copa, ReCoRD, SQuAD, DROP; completions and
text for data of one's own) or a path to one. DIR of --data holds the files as published: the template says their names.
--out gets task.json, a token file for each split, and what generation needs (formats: src/task/task.h, token_file.h and
vocabulary.h), whole or not at all.

--bos mezo starts every text with <s> as MeZO does with OPT, for comparisons with published figures; the default is the
tokenizer's own first token. --icl K puts K training examples before each evaluation example. --show N prints the first N
examples of each split, labels in [[ ]]. Exit code 2, and the reason on standard error, for bad input.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import sys

from folders import InputError, folder_written_aside
from task_data import RULES, sampling
from task_data.encoding import Encoder, Sequence
from task_data.readers import Row, read_rows
from task_data.template import Example, Template
from task_data.token_file import TokenFileWriter

TEMPLATES = pathlib.Path(__file__).resolve().parents[1] / "experiments" / "tasks"
LONGEST = 2048  # MeZO's limit, where the model has as many positions


@dataclasses.dataclass
class Input:
    """One published file."""
    path: pathlib.Path
    rows: list[Row]

    def claims(self) -> dict:
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"file": self.path.name, "sha256": digest, "rows": len(self.rows)}

    def example(self, template: Template, row: int) -> Example:
        try:
            return template.example(self.rows[row])
        except InputError as error:
            raise InputError(f"{self.path}, row {row}: {error}") from error


def say(message: str) -> None:
    print(f"prepare_task: {message}", file=sys.stderr)


def find_template(task: str) -> Template:
    path = TEMPLATES / f"{task}.yaml"
    if not path.is_file():
        path = pathlib.Path(task)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in TEMPLATES.glob("*.yaml")))
        raise InputError(f"no task '{task}': known are {known}, or a path to a template")
    return Template(path)


def read_input(template: Template, folder: pathlib.Path, name: str) -> Input:
    names = template.data["files"][name]
    for file in names:
        if (folder / file).is_file():
            return Input(folder / file, read_rows(template.form, folder / file, name == "train"))
    raise InputError(f"{folder} has no {' or '.join(names)}, which {template.name} reads ({template.data['source']})")


def default_limit(tokenizer: pathlib.Path) -> int:
    """min(2,048, the model's positions), where the tokenizer lies beside the model's config.json."""
    try:
        positions = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    except (OSError, KeyError, ValueError):
        say(f"no config.json with max_position_embeddings in {tokenizer}: the limit is {LONGEST} tokens (--max-length)")
        return LONGEST
    return min(LONGEST, positions)


def chosen_rows(template: Template, inputs: dict[str, Input], options: argparse.Namespace) -> dict[str, list[int]]:
    """Split -> numbers of rows of its input. A split of no rows is left out."""
    rows: dict[str, list[int]] = {}
    if "train" in inputs:
        count = len(inputs["train"].rows)
        train = count - options.dev if options.train is None else options.train
        rows["train"], rows["dev"] = sampling.train_and_dev(count, train, options.dev, options.data_seed)
    if "validation" in inputs and options.eval != 0:
        rows["eval"] = sampling.evaluation(len(inputs["validation"].rows), options.eval, options.data_seed)
    return {split: numbers for split, numbers in rows.items() if numbers}


def demonstrations_for(rows: int, inputs: dict[str, Input], template: Template, count: int) -> list[list[Example]]:
    """`count` of them for each of `rows` evaluation examples."""
    if count == 0:
        return [[] for _ in range(rows)]
    train = inputs["train"]
    if count > len(train.rows):
        raise InputError(f"{count} demonstrations are asked for, {train.path} has {len(train.rows)} rows")
    return [[train.example(template, row) for row in sampling.permutation(seed, len(train.rows))[:count]]
            for seed in sampling.demonstration_seeds(rows)]


def encode(template: Template, encoder: Encoder, example: Example, demonstrations: list[Example]) -> list[list[Sequence]]:
    """The sequences of each example that a row makes: one example, or several of a long text."""
    if template.pieces:
        return [[piece] for piece in encoder.pieces(example.wholes[0])]
    sequences = encoder.example(example, demonstrations)
    if template.kind == "generation":
        sequences.append(encoder.prompt(example, demonstrations))
    return [sequences]


def show(split: str, sequences: list[Sequence], right: list[int], encoder: Encoder) -> None:
    """Prints one example for people."""
    def text(ids: list[int]) -> str:
        return encoder.tokenizer.decode(ids, skip_special_tokens=False)

    for i, sequence in enumerate(sequences):
        prompt, labels = sequence.ids[:sequence.label_begin], sequence.ids[sequence.label_begin:sequence.label_end]
        print(f"--- {split}, sequence {i}{', right' if i in right else ''}\n{text(prompt)}[[{text(labels)}]]")


def write_split(split: str, source: str, rows: list[int], prepared: "Prepared", aside: pathlib.Path) -> dict:
    """Writes the files of one split; returns what the manifest says of it."""
    template, encoder, options = prepared.template, prepared.encoder, prepared.options
    writer = TokenFileWriter()
    answers: list[list[str]] = []
    icl = options.icl if split == "eval" else 0
    shown = 0
    for row, demonstrations in zip(rows, demonstrations_for(len(rows), prepared.inputs, template, icl), strict=True):
        example = prepared.inputs[source].example(template, row)
        try:
            encoded = encode(template, encoder, example, demonstrations)
        except InputError as error:
            raise InputError(f"{prepared.inputs[source].path}, row {row}: {error}") from error
        for sequences in encoded:
            writer.add(sequences, example.right)
            if shown < options.show:
                show(split, sequences, example.right, encoder)
                shown += 1
        if example.answers is not None:
            answers.append(example.answers)
    counts = writer.counts()
    if counts["examples"] == 0:
        raise InputError(f"{prepared.inputs[source].path}: no token to predict in the {split} split")
    say(f"{split}: {counts['examples']} examples, {counts['tokens']} tokens, the longest sequence has {counts['longest']}, "
        f"{counts['truncated']} of {counts['sequences']} sequences were cut")
    tokens = aside / f"{split}.tokens"
    writer.save(tokens)
    claims = {"from": source, "tokens_sha256": hashlib.sha256(tokens.read_bytes()).hexdigest(), **counts,
              "rows": rows, "rows_sha256": sampling.rows_sha256(rows)}
    if template.kind == "generation":
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in answers).encode()
        (aside / f"{split}.answers.jsonl").write_bytes(text)
        claims["answers_sha256"] = hashlib.sha256(text).hexdigest()
    return claims


@dataclasses.dataclass
class Prepared:
    """What every split is made from."""
    template: Template
    encoder: Encoder
    inputs: dict[str, Input]
    options: argparse.Namespace


def prepare(options: argparse.Namespace) -> None:
    """Raises InputError or OSError, and then leaves nothing at options.out."""
    template = find_template(options.task)
    for size in ("train", "dev", "eval"):  # -1: not given
        if getattr(options, size) == -1:
            setattr(options, size, template.data["sizes"][size])
    max_length = (options.max_length or default_limit(options.tokenizer)) - template.new_tokens
    if max_length < 2:
        raise InputError(f"a limit of {max_length} tokens ({template.new_tokens} are kept for generation) is too small")
    encoder = Encoder(options.tokenizer, options.bos, max_length)
    inputs = {}
    if options.train != 0 or options.dev != 0 or options.icl > 0:
        inputs["train"] = read_input(template, options.data, "train")
    if options.eval != 0:
        inputs["validation"] = read_input(template, options.data, "validation")
    if template.form == "boolq" and any("label" in each.rows[0] for each in inputs.values()):
        say("SuperGLUE's BoolQ: its passages carry titles, so figures are not comparable with MeZO's")
    prepared = Prepared(template, encoder, inputs, options)
    generated = template.kind == "generation"
    vocabulary = "".join(entry.hex() + "\n" for entry in encoder.vocabulary()).encode() if generated else b""
    splits = chosen_rows(template, inputs, options)
    if not splits:
        raise InputError("no split is left: give --train, --dev or --eval")
    with folder_written_aside(options.out) as aside:
        manifest = {
            "format": 1, "task": template.name, "kind": template.kind, "metric": template.data["metric"],
            "objective": template.data["objective"],
            "template": {"file": template.path.name, "sha256": template.sha256},
            "tokenizer": {"sha256": encoder.sha256, "vocab_size": encoder.vocab_size},
            "first_token": None if encoder.first is None else {"bos": options.bos, "id": encoder.first},
            "data_seed": options.data_seed, "max_length": max_length, "demonstrations": options.icl, "rules": RULES,
            "inputs": {name: each.claims() for name, each in inputs.items()},
            "splits": {split: write_split(split, "validation" if split == "eval" else "train", rows, prepared, aside)
                       for split, rows in splits.items()},
        }
        if generated:
            manifest["generation"] = {"new_tokens": template.new_tokens, "ends": encoder.ends(),
                                      "vocabulary_sha256": hashlib.sha256(vocabulary).hexdigest()}
            (aside / "vocabulary.txt").write_bytes(vocabulary)
        (aside / "task.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    if options.icl > 0 and manifest["splits"].get("eval", {}).get("truncated"):
        say(f"{options.icl} demonstrations do not fit every evaluation example: do not report the result")


def whole_number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of the published files")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True,
                        help="folder of tokenizer.json, or of vocab.json and merges.txt: the model's")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder that is not there yet")
    for size in ("train", "dev", "eval"):
        parser.add_argument(f"--{size}", type=whole_number, default=-1, metavar="N",
                            help=f"{size} examples (default: the template's); 0: no such split")
    parser.add_argument("--data-seed", type=whole_number, default=0, metavar="S", help="draws the rows (default 0)")
    parser.add_argument("--bos", choices=["tokenizer", "mezo"], default="tokenizer", help="the first token of every text")
    parser.add_argument("--max-length", type=whole_number, metavar="L",
                        help="tokens of the longest sequence, with what is generated (default: 2048, or the model's positions)")
    parser.add_argument("--icl", type=whole_number, default=0, metavar="K", help="demonstrations before each of eval")
    parser.add_argument("--show", type=whole_number, default=0, metavar="N", help="print N examples of each split")
    options = parser.parse_args(arguments)
    try:
        prepare(options)
    except (InputError, OSError) as error:
        print(f"prepare_task: {error}", file=sys.stderr)
        return 2
    say(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
