"""Templates: one YAML file a task in experiments/tasks. Keys:

task        the name
source      where the data comes from and what its rows are
kind        candidates | generation | text (src/task/task.h says what each writes)
metric      accuracy | f1 | loss
objective   candidates | lm: the training loss of the protocol
form        how files are read, a function of task_data/readers.py
files       {train: [names], validation: [names]}: the first that is there is taken
sizes       {train, dev, eval}: examples by default; eval may be null, all
prompt      Jinja; what the candidate or answer follows
whole       Jinja; the prompt with it, as `candidate`. Two whole strings: nothing is joined by rule
candidates  for kind candidates: a list of Jinja strings, or the name of a field that holds a list of them
right       {field, values}: the row's field says which candidate is right by its place in `values`;
            or the name of a field with the list of right ones
answers     for kind generation: the name of a field with the list of right answers; the first is `candidate`
completion  for kind text: Jinja, `candidate`
new_tokens  for kind generation: tokens to generate at most, so many positions are left free
pieces      true: a text longer than the limit makes several sequences, and nothing is stripped (kind text only)

Jinja sees the row's fields and the filters first_upper, first_lower_but_i and without_full_stop. A field that a row does
not have is an error.
"""

import dataclasses
import hashlib
import pathlib

import jinja2
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from folders import InputError
from task_data.readers import READERS, Row

KINDS = {"candidates": {"candidates", "right"}, "generation": {"answers"}, "text": {"completion"}}
METRICS = {"candidates": "accuracy", "generation": "f1", "text": "loss"}
REQUIRED = {"task", "source", "kind", "metric", "objective", "form", "files", "sizes", "prompt", "whole"}
OPTIONAL = {"new_tokens", "pieces"}


def first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def first_lower_but_i(text: str) -> str:
    """The first word in lower case, unless it is I."""
    first, space, rest = text.partition(" ")
    return (first if first == "I" else first.lower()) + space + rest


def without_full_stop(text: str) -> str:
    text = text.rstrip()
    return text[:-1] if text.endswith(".") else text


ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
ENVIRONMENT.filters.update(first_upper=first_upper, first_lower_but_i=first_lower_but_i,
                           without_full_stop=without_full_stop)


@dataclasses.dataclass
class Example:
    """Strings of one row: the prompt, the prompt with each candidate, and which of them are right."""
    prompt: str
    wholes: list[str]
    right: list[int]  # ascending; the first is the one that language modelling and demonstrations take
    answers: list[str] | None = None  # generation


class Template:
    """Throws InputError naming the file for a key that is missing, unknown or of another type."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        text = path.read_bytes()
        self.sha256 = hashlib.sha256(text).hexdigest()
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not YAML: {error}") from error
        if not isinstance(data, dict):
            raise InputError(f"{path}: expected keys and values")
        kind = data.get("kind")
        if kind not in KINDS:
            raise InputError(f"{path}: kind is {kind!r}, known are {', '.join(KINDS)}")
        for key in sorted((REQUIRED | KINDS[kind]) - data.keys()):
            raise InputError(f"{path}: no '{key}', which a {kind} task has")
        for key in sorted(data.keys() - REQUIRED - OPTIONAL - KINDS[kind]):
            raise InputError(f"{path}: unknown key '{key}'")
        self._check(data["metric"] == METRICS[kind], f"the metric of a {kind} task is {METRICS[kind]}")
        self._check(data["objective"] == "lm" or (data["objective"] == "candidates" and kind == "candidates"),
                    f"objective {data['objective']!r}")
        self._check(data["form"] in READERS, f"form {data['form']!r}, known are {', '.join(READERS)}")
        for key in ("train", "validation"):
            names = data["files"].get(key) if isinstance(data["files"], dict) else None
            self._check(isinstance(names, list) and all(isinstance(name, str) for name in names), f"files.{key}")
        right = data.get("right")
        self._check(right is None or isinstance(right, str) or (isinstance(right, dict)
                    and right.keys() == {"field", "values"} and isinstance(right["values"], list)), "right")
        self._check(isinstance(data["sizes"], dict) and data["sizes"].keys() == {"train", "dev", "eval"}, "sizes")
        self.data = data
        self.name: str = data["task"]
        self.kind: str = kind
        self.form: str = data["form"]
        self.new_tokens: int = data.get("new_tokens", 0)
        self.pieces: bool = data.get("pieces", False)
        self._check(not self.pieces or kind == "text", "pieces")
        self._check(kind != "generation" or self.new_tokens > 0, "new_tokens: a generation task says how many at most")
        self._prompt = self._compiled(data["prompt"])
        self._whole = self._compiled(data["whole"])
        candidates = data.get("candidates", [])
        self._candidates = candidates if isinstance(candidates, str) else [self._compiled(text) for text in candidates]
        self._completion = self._compiled(data.get("completion", ""))
        self._check(not isinstance(right, dict) or len(right["values"]) == len(candidates),
                    "right.values has not one value for each candidate")

    def example(self, row: Row) -> Example:
        """Raises InputError naming what the row lacks."""
        try:
            prompt = self._prompt.render(row)
            if self.kind == "candidates":
                return self._candidate_example(row, prompt)
            answers = self._strings(row, self.data["answers"]) if self.kind == "generation" else None
            candidate = answers[0] if answers else self._completion.render(row)
            return Example(prompt, [self._whole.render(row, candidate=candidate)], [0], answers)
        except (jinja2.TemplateError, TypeError) as error:
            raise InputError(f"{self.path}: {error}") from error

    def _candidate_example(self, row: Row, prompt: str) -> Example:
        if isinstance(self._candidates, str):
            candidates = self._strings(row, self._candidates)
        else:
            candidates = [candidate.render(row) for candidate in self._candidates]
        right = self.data["right"]
        if isinstance(right, str):
            answers = self._strings(row, right)
            missing = [answer for answer in answers if answer not in candidates]
            if missing:
                raise InputError(f"'{missing[0]}' is right, but is not among the candidates")
            places = [i for i, candidate in enumerate(candidates) if candidate in answers]
        else:
            value = self._field(row, right["field"])
            places = [i for i, known in enumerate(right["values"]) if type(known) is type(value) and known == value]
            if not places:
                raise InputError(f"field '{right['field']}' is {value!r}, known are {right['values']}")
        wholes = [self._whole.render(row, candidate=candidate) for candidate in candidates]
        return Example(prompt, wholes, places)

    def _strings(self, row: Row, field: str) -> list[str]:
        value = self._field(row, field)
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            raise InputError(f"field '{field}' is {value!r}, not a list of strings")
        return value

    @staticmethod
    def _field(row: Row, field: str) -> object:
        if row.get(field) is None:
            raise InputError(f"no field '{field}'")
        return row[field]

    def _compiled(self, text: object) -> jinja2.Template:
        self._check(isinstance(text, str), f"{text!r} is not a string (quote it)")
        try:
            return ENVIRONMENT.from_string(text)
        except jinja2.TemplateError as error:
            raise InputError(f"{self.path}: {error}") from error

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            raise InputError(f"{self.path}: {what}")
