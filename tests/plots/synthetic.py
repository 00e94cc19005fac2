"""Small folders of records whose numbers are invented (SYNTHETIC in every name)."""

import hashlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from plots.records import Results, read_figures, read_hardware, read_records  # noqa: E402

EXPERIMENTS = ROOT / "experiments"
MIB = 2**20
DEFAULTS = {"model.name": "opt-125m", "model.path": None, "model.tie_embeddings": None, "data.batch": 1, "data.seq": 128,
            "method.name": "zo2", "method.writeback_every": 1, "train.steps": 9, "engine.dtype": "bf16",
            "engine.slots": 4, "engine.head": "chunked", "engine.gpu_memory": "smallest", "engine.host": "registered",
            "engine.host_weights": "exact", "engine.trace": 0, "engine.project": False, "engine.device": "auto",
            "engine.hardware": "h100-pcie5"}
TESTED = {"test_accuracy": 0.85, "test_accuracy_error": 0.012, "test_examples": 872, "selected_step": 10}
TASK = {"model.path": "models/tiny", "model.name": None, "data.path": "sst2", "data.seed": 42, "method.lr": 1e-5}


def add(folder, config=None, *, state="ok", repeats=1, metrics=(), device="cpu", gpu=None, samples=(), **members):
    """A cell's repeats; metrics: {name: value, or a list with one for each repeat}. Returns the first's folder."""
    flat = DEFAULTS | (config or {})
    nested = {}
    for key, value in flat.items():
        section, name = key.split(".")
        nested.setdefault(section, {})[name] = value
    digest = hashlib.sha256(json.dumps(flat).encode()).hexdigest()
    cell = folder / "cells" / f"SYNTHETIC-{digest[:8]}"
    for repeat in range(repeats):
        path = cell / f"r{repeat}"
        path.mkdir(parents=True)
        request = {"schema": 1, "experiment": "SYNTHETIC", "slug": "SYNTHETIC", "repeat": repeat, "config_hash": digest,
                   "config": nested}
        numbers = {name: value[repeat] if isinstance(value, list) else value for name, value in dict(metrics).items()}
        result = {"schema": 1, "state": state, "config_hash": digest, "metrics": numbers, "chosen": {"device": device}}
        result |= members
        (path / "config.json").write_text(json.dumps(request))
        (path / "env.json").write_text(json.dumps({"gpu": {"name": gpu} if gpu else None}))
        (path / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        (path / "result.json").write_text(json.dumps(result))
        order = folder / "experiment.json"
        cells = json.loads(order.read_text())["cells"] if order.exists() else []
        order.write_text(json.dumps({"cells": cells + [{"config_hash": digest}] * (repeat == 0)}))
    return cell / "r0"


def results_of(*folders):
    return Results([record for folder in folders for record in read_records(folder)],
                   read_figures(EXPERIMENTS / "reference"), read_hardware(EXPERIMENTS / "hardware"))


def step(number, plus, minus):
    return {"kind": "step", "step": number, "loss_plus": plus, "loss_minus": minus}
