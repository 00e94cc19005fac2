"""Rows of published files, in their order: one dictionary of fields a row, flattened as Hugging Face's builders do, since
MeZO draws its subsets from those rows by number.
"""

import csv
import json
import pathlib
from collections.abc import Callable, Iterator

from folders import InputError

Row = dict[str, object]


def glue_tsv(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """GLUE: a header, then fields between tabs; quotes mean nothing."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(lines, None)
        if header is None:
            raise InputError(f"{path} is empty")
        for number, fields in enumerate(lines, 2):
            if len(fields) != len(header):
                raise InputError(f"{path}:{number}: {len(fields)} fields, the header has {len(header)}")
            yield dict(zip(header, fields))


def jsonl(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """One JSON object a line."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: expected an object")
            yield row


def boolq(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """The original release has `answer`; SuperGLUE's calls it `label`, and its passages carry the title."""
    for row in jsonl(path, training):
        yield {"answer": row.get("label"), **row}


def superglue_multirc(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """A row for every answer of every question (datasets' super_glue builder, multirc)."""
    for line in jsonl(path, training):
        for question in line["passage"]["questions"]:
            for answer in question["answers"]:
                yield {"paragraph": line["passage"]["text"], "question": question["question"], "answer": answer["text"],
                       "label": answer.get("label")}


def superglue_record(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """A row for every query; entities and answers without repeats, sorted (super_glue builder, record). The end of an
    entity is its last character."""
    for line in jsonl(path, training):
        text = line["passage"]["text"]
        entities = sorted({text[entity["start"]:entity["end"] + 1] for entity in line["passage"]["entities"]})
        for query in line["qas"]:
            yield {"passage": text, "query": query["query"], "entities": entities,
                   "answers": sorted({answer["text"] for answer in query.get("answers", [])})}


def superglue_wsc(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """The spans beside the text, repaired where they are not in it (super_glue builder, wsc.fixed)."""
    for line in jsonl(path, training):
        row = {**line, **line["target"]}
        for span in ("span1", "span2"):
            row[f"{span}_text"] = repaired_span(row["text"], row[f"{span}_text"], row[f"{span}_index"])
        yield row


def repaired_span(text: str, span: str, index: int) -> str:
    """wsc.fixed: the first letter's case as in word `index` of the text, no full stop at the end, no line feeds. Spans
    that are in the text already, or that no rule brings there (two sentences of the training split), stay."""
    words = text.split()
    if span in text or not span or not 0 <= index < len(words):
        return span
    first = span[0].lower() if words[index][0].islower() else span[0].upper()
    repaired = (first + span[1:]).rstrip(".").replace("\n", " ")
    return repaired if repaired in text else span


def squad(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """SQuAD 1.1: a row for every question, with every answer given."""
    for article in _object(path)["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield {"title": article["title"], "context": paragraph["context"], "question": question["question"],
                       "answers": [answer["text"] for answer in question["answers"]]}


def drop(path: pathlib.Path, training: bool) -> Iterator[Row]:
    """DROP: a row for every question. An answer is a number, a date ("day month year") or spans, all answers in one list;
    evaluation has the validated answers where there are any. Questions without an answer, or with one that is two of the
    three, are not rows (datasets' drop builder)."""
    for passage in _object(path).values():
        for question in passage["qa_pairs"]:
            answers = [question["answer"]] if training else question.get("validated_answers") or [question["answer"]]
            forms = [_drop_answer(answer) for answer in answers]
            flat = [text for form in forms for texts in form for text in texts]
            if flat and all(len(form) <= 1 for form in forms):
                yield {"context": passage["passage"], "question": question["question"], "answers": flat}


def _drop_answer(answer: dict) -> list[list[str]]:
    """The forms that an answer has, of number, date and spans; one, if it is as it should be."""
    date = " ".join(answer.get("date", {}).get(part, "") for part in ("day", "month", "year")).strip()
    forms = [[answer["number"]] if answer.get("number") else [], [date] if date else [], answer.get("spans", [])]
    return [texts for texts in forms if texts]


def _object(path: pathlib.Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object")
    return value


READERS: dict[str, Callable[[pathlib.Path, bool], Iterator[Row]]] = {
    reader.__name__: reader
    for reader in (glue_tsv, jsonl, boolq, superglue_multirc, superglue_record, superglue_wsc, squad, drop)
}


def read_rows(form: str, path: pathlib.Path, training: bool) -> list[Row]:
    """Every row of a published file. Raises InputError naming the file when it is not of that form."""
    try:
        rows = list(READERS[form](path, training))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: not in the form {form}: {error!r}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error
    if not rows:
        raise InputError(f"{path} has no rows")
    return rows
