"""Records and published figures, as the runner writes them (see src/experiment/record.h and reference.h)."""

import dataclasses
import json
import pathlib

import yaml

UNITS = {"MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}


@dataclasses.dataclass(frozen=True)
class Record:
    folder: pathlib.Path
    experiment: str
    slug: str
    repeat: int
    config_hash: str
    config: dict
    state: str
    metrics: dict

    @property
    def model(self) -> str:
        model = self.config["model"]
        return model["name"] or pathlib.PurePath(model["path"]).name

    @property
    def method(self) -> str:
        return self.config["method"]["name"]

    @property
    def shape(self) -> tuple:
        """What must be equal for memory or speed to be comparable."""
        tied = self.config["model"]["tie_embeddings"]
        return (self.model, self.config["engine"]["dtype"], self.config["data"]["batch"], self.config["data"]["seq"],
                tied is None or tied)


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
    def bytes(self) -> float:
        """A printed GB is read as 10^9 bytes, the reading least favourable to us."""
        return self.value * UNITS[self.unit]


def read_records(folder: pathlib.Path) -> list[Record]:
    """Every ended repeat under folder/cells of the cells that experiment.json names, in its order.

    Without that file: every one, by name.
    """
    cells = folder / "cells"
    if not cells.is_dir():
        raise FileNotFoundError(f"{folder} holds no records: there is no folder {cells}")
    paths = sorted(cells.glob("*/r*/result.json"), key=lambda path: (path.parts[-3], int(path.parts[-2][1:])))
    records = [_read_record(path) for path in paths]
    if not (folder / "experiment.json").exists():
        return records
    experiment = json.loads((folder / "experiment.json").read_text())
    ranks = {cell["config_hash"]: rank for rank, cell in enumerate(experiment["cells"])}
    return sorted((record for record in records if record.config_hash in ranks),
                  key=lambda record: ranks[record.config_hash])


def _read_record(path: pathlib.Path) -> Record:
    result = json.loads(path.read_text())
    request = json.loads((path.parent / "config.json").read_text())
    return Record(path.parent, request["experiment"], request["slug"], request["repeat"],
                  request["config_hash"], request["config"], result["state"], result.get("metrics", {}))


def read_figures(folder: pathlib.Path) -> list[Figure]:
    figures = []
    for path in sorted(folder.glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        for entry in document["figures"]:
            fields = {**document.get("common", {}), **entry}
            value, unit = fields["value"].split(" ", 1)
            shape = (fields["model"], fields["dtype"], fields["batch"], fields["seq"], fields["tie_embeddings"])
            figures.append(Figure(fields["system"], fields["origin"], fields["metric"], float(value), unit, shape))
    return figures
