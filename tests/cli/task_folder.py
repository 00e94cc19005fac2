"""Task folders written by hand, after the grammars in src/task/task.h and token_file.h. Importing it needs tokenizers."""

import hashlib
import json

from task_data.encoding import Sequence
from task_data.sampling import rows_sha256
from task_data.token_file import TokenFileWriter


def write_task(folder, examples, kind="candidates", vocab=512, answers=None, new_tokens=5, ends=(3,), splits=("eval",)):
    """A task folder whose splits all have the same `examples`: ([(ids, label_begin)], right); labels go to the end. With
    answers, id i spells " i"."""
    folder.mkdir()
    writer = TokenFileWriter()
    for sequences, right in examples:
        writer.add([Sequence(ids, begin, len(ids)) for ids, begin in sequences], right)
    rows = list(range(len(examples)))
    claims = {}
    for name in splits:
        tokens = folder / f"{name}.tokens"
        writer.save(tokens)
        claims[name] = {"from": "validation", "tokens_sha256": hashlib.sha256(tokens.read_bytes()).hexdigest(),
                        **writer.counts(), "rows": rows, "rows_sha256": rows_sha256(rows)}
        if answers is not None:
            text = "".join(json.dumps(answer) + "\n" for answer in answers)
            (folder / f"{name}.answers.jsonl").write_text(text)
            claims[name]["answers_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    manifest = {"format": 1, "task": "tiny", "kind": kind, "metric": "accuracy", "objective": "lm",
                "template": {"file": "tiny.yaml", "sha256": ""}, "tokenizer": {"sha256": "", "vocab_size": vocab},
                "first_token": None, "data_seed": 0, "max_length": 128, "demonstrations": 0, "rules": {},
                "inputs": {"validation": {"file": "", "sha256": "", "rows": len(rows)}}, "splits": claims}
    if answers is not None:
        vocabulary = "".join(f" {id}".encode().hex() + "\n" for id in range(vocab))
        (folder / "vocabulary.txt").write_text(vocabulary)
        manifest["generation"] = {"new_tokens": new_tokens, "ends": ends,
                                  "vocabulary_sha256": hashlib.sha256(vocabulary.encode()).hexdigest()}
    (folder / "task.json").write_text(json.dumps(manifest))
    return folder
