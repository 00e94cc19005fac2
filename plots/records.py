"""Records, published figures and hardware descriptions, as the program writes and reads them.

See src/experiment/record.h, src/experiment/reference.h and src/program/hardware.h.
"""

import contextlib
import dataclasses
import functools
import gzip
import json
import pathlib
import re
import statistics

import yaml

UNITS = {"MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30, "%": 0.01}
PRINTED = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) *(.*)")  # a number, and its unit if it has one

FINISHED = ("ok", "throttled", "projected")  # states of repeats that have figures

# Keys that say how long and how closely a cell is looked at, not what it does: cells that differ in these alone are
# the same for a figure.
OBSERVATION = {"train.steps", "train.warmup", "train.eval_every", "train.snapshot_every", "train.stop_within",
               "engine.trace", "engine.hardware", "engine.threads"}

# What the program does unless it is asked for something else, where that is no matter of model, data or budget. Figures
# of the system leave other cells to the ablations.
DEFAULTS = {"engine.granularity": "tile", "engine.head": "chunked", "engine.embedding": "gathered",
            "engine.noise_buffer": "fused", "engine.overlap": True, "engine.slots": 4, "method.noise": "gaussian",
            "method.perturbations": 1}


class NothingToDraw(Exception):
    """Why the records do not allow a figure."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One ended repeat."""

    folder: pathlib.Path
    experiment: str
    slug: str
    repeat: int
    config_hash: str
    config: dict  # by dotted key, e.g. "data.batch"
    state: str
    metrics: dict
    device: str  # "cpu" or "cuda"; "" where it is not known
    gpu: str  # the GPU's name; "" on a machine without one
    imported: str = ""  # the other system that an imported record is of
    shared_gpu: bool = False  # another process was on the GPU

    def get(self, key: str, default=None):
        """A key of the configuration; `default` in a record that is older than the key."""
        return self.config.get(key, default)

    @property
    def sweep(self) -> pathlib.Path:
        """The folder of `zo2 run --out`."""
        return self.folder.parents[2]

    @property
    def model(self) -> str:
        return self.get("model.name") or pathlib.PurePath(self.get("model.path") or "").name

    @property
    def method(self) -> str:
        return self.get("method.name")

    @property
    def system(self) -> str:
        """The method, or which other system: as it was imported, or the program that an external cell ran."""
        command = self.get("method.command")
        if self.imported or self.method != "external" or not command:
            return self.imported or self.method
        parts = command if isinstance(command, list) else command.split()
        return pathlib.PurePath(next((part for part in parts if part.endswith(".py")), parts[0])).stem

    @property
    def shape(self) -> tuple:
        """What must be equal for memory or speed to be comparable: model, dtype, batch, seq, tied."""
        tied = self.get("model.tie_embeddings")
        return (self.model, self.get("engine.dtype"), self.get("data.batch"), self.get("data.seq"),
                tied is None or tied)

    @property
    def tokens_per_step(self) -> int:
        return self.get("data.batch") * self.get("data.seq") * self.get("method.micro_batches", 1)

    @property
    def ablated(self) -> bool:
        """Something of the engine's way is switched off or exchanged."""
        return any(self.get(key, default) != default for key, default in DEFAULTS.items())

    @property
    def aliased(self) -> bool:
        """Layers share one layer's memory: losses and host memory mean nothing."""
        return self.get("engine.host_weights") == "aliased"

    def setting(self, without=()) -> tuple:
        """What the cell does, as a key for dictionaries, but for the keys in `without`."""
        return tuple(sorted((key, str(value)) for key, value in self.config.items()
                            if key not in OBSERVATION and key not in without))

    def number(self, metric: str) -> float | None:
        """The metric's value, if nothing spoiled it: a throttled record has memory but no speed, one of a GPU that was
        shared no NVML reading."""
        allowed = self.state in FINISHED and (self.state != "throttled" or metric.endswith("_bytes"))
        allowed = allowed and not (self.shared_gpu and metric.startswith("nvml_"))
        value = self.metrics.get(metric)
        return value if allowed and isinstance(value, (int, float)) else None

    def samples(self) -> list[dict]:
        """The lines of samples.jsonl; a torn last one is left out."""
        path = self._file("samples.jsonl")
        lines = _read_text(path).splitlines(keepends=True) if path else []
        return [_parsed(line, path) for line in lines if line.endswith("\n")]

    def trace_path(self) -> pathlib.Path | None:
        return self._file("trace.json")

    def _file(self, name: str) -> pathlib.Path | None:
        """A file of the record, as it was written or packed."""
        return next((path for each in (name, name + ".gz") if (path := self.folder / each).exists()), None)

    def trace(self) -> list[dict]:
        """The operations of the traced steps: events of phase X, times in microseconds."""
        path = self.trace_path()
        return [event for event in _parsed(_read_text(path), path).get("traceEvents", []) if event["ph"] == "X"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """The repeats of one configuration, of which one stands for all where they are equal."""

    repeats: list[Record]

    @property
    def first(self) -> Record:
        """The first repeat that has figures; where all failed, the first."""
        return next((record for record in self.repeats if record.state in FINISHED), self.repeats[0])

    def values(self, metric: str) -> list[float]:
        return [value for record in self.repeats if (value := record.number(metric)) is not None]

    def median(self, metric: str) -> float | None:
        values = self.values(metric)
        return statistics.median(values) if values else None


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published figure, or one that was measured of another system."""

    system: str
    origin: str
    metric: str
    value: float
    unit: str
    shape: tuple

    @property
    def number(self) -> float:
        """In the metric's unit. A printed GB is read as 10^9 bytes, the reading least favourable to us."""
        return self.value * UNITS.get(self.unit, 1)


@dataclasses.dataclass(frozen=True)
class Results:
    """All that figures are drawn from."""

    records: list[Record]
    figures: list[Figure] = dataclasses.field(default_factory=list)
    hardware: dict[str, dict] = dataclasses.field(default_factory=dict)  # by file name, e.g. "h100-pcie5"

    @functools.cached_property
    def cells(self) -> list[Cell]:
        """In the order of the records."""
        groups = {}
        for record in self.records:
            groups.setdefault((record.folder.parent.parent, record.config_hash), []).append(record)
        return [Cell(records) for records in groups.values()]

    def measured(self, metric: str) -> list[Cell]:
        """The cells that ran and have this metric."""
        return [cell for cell in self.cells if cell.first.state != "projected" and cell.values(metric)]

    def published(self, system: str, metric: str, origin: str) -> dict[tuple, float]:
        """{shape: number} of another system; origin: "published", or "measured" by us."""
        return {figure.shape: figure.number for figure in self.figures
                if (figure.system, figure.metric, figure.origin) == (system, metric, origin)}


def read_records(folder: pathlib.Path) -> list[Record]:
    """What the last run asked for of the ended repeats under folder/cells, in the order of experiment.json: its cells but
    for those that it excluded, and no repeat beyond its number (src/experiment/record_folder.h).

    Without that file: every one, by name.
    """
    cells = folder / "cells"
    if not cells.is_dir():
        raise FileNotFoundError(f"{folder} holds no records: there is no folder {cells}")
    paths = sorted(cells.glob("*/r*/result.json"), key=lambda path: (path.parts[-3], int(path.parts[-2][1:])))
    records = [_read_record(path) for path in paths]
    experiment = folder / "experiment.json"
    if not experiment.exists():
        return records
    asked = _read_json(experiment)
    ranks = {cell["config_hash"]: rank for rank, cell in enumerate(asked["cells"]) if "skipped" not in cell}
    return sorted((record for record in records
                   if record.config_hash in ranks and record.repeat < asked.get("repeats", record.repeat + 1)),
                  key=lambda record: ranks[record.config_hash])


def read_figures(folder: pathlib.Path) -> list[Figure]:
    return [figure for path in sorted(folder.glob("*.yaml")) for figure in _read_figures(path)]


def read_hardware(folder: pathlib.Path) -> dict[str, dict]:
    return {path.stem: _read_yaml(path) for path in sorted(folder.glob("*.yaml"))}


def _read_figures(path: pathlib.Path) -> list[Figure]:
    figures = []
    document = _read_yaml(path)
    with _reading(path):
        for entry in document["figures"]:
            fields = {**document.get("common", {}), **entry}
            printed = PRINTED.fullmatch(str(fields["value"]))
            if printed is None:
                raise ValueError(f"value '{fields['value']}' is not a number with its unit")
            # Missing ones are as in src/experiment/reference.cpp.
            shape = (fields["model"], fields.get("dtype", ""), fields.get("batch", 0), fields.get("seq", 0),
                     fields.get("tie_embeddings", False))
            figures.append(Figure(fields["system"], fields["origin"], fields["metric"], float(printed[1]), printed[2],
                                  shape))
    return figures


def _read_record(path: pathlib.Path) -> Record:
    result = _read_json(path)
    request = _read_json(path.parent / "config.json")
    with _reading(path):
        return _record_of(path, result, request)


def _record_of(path: pathlib.Path, result: dict, request: dict) -> Record:
    environment = path.parent / "env.json"
    gpu = (_read_json(environment).get("gpu") if environment.exists() else None) or {}
    config = {f"{section}.{key}": value for section, keys in request["config"].items() for key, value in keys.items()}
    return Record(path.parent, request["experiment"], request["slug"], request["repeat"], request["config_hash"],
                  config, result["state"], result.get("metrics", {}), result.get("chosen", {}).get("device", ""),
                  gpu.get("name", ""), result.get("imported", {}).get("system", ""),
                  result.get("foreign_gpu_processes", 0) > 0)


@contextlib.contextmanager
def _reading(path: pathlib.Path):
    """Names the file in what is said about a member that it lacks or has in another form."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path}: there is no {error}") from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_yaml(path: pathlib.Path):
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


def _read_json(path: pathlib.Path):
    return _parsed(path.read_text(), path)


def _read_text(path: pathlib.Path) -> str:
    """Of a file that may be gzipped."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as stream:
        return stream.read()


def _parsed(text: str, path: pathlib.Path):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
