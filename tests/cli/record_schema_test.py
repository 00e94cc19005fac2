"""Records keep to the JSON Schemas in schema/: those of a run of today, and those that are kept in results/."""

import json

import pytest
from conftest import ROOT

jsonschema = pytest.importorskip("jsonschema", reason="skipped: no jsonschema (requirements.txt)")

QUICK = ROOT / "experiments" / "quick.yaml"


def validator(name):
    schema = json.loads((ROOT / "schema" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def problems(dir):
    """What is wrong in a folder of records, a text each; and how many files were looked at."""
    found, files = [], 0

    def look(name, path, value):
        for error in validators[name].iter_errors(value):
            found.append(f"{path}: {error.json_path}: {error.message}")

    validators = {name: validator(name) for name in ("experiment", "config", "env", "sample", "result")}
    for name in ("experiment", "config", "env", "result"):
        for path in dir.rglob(f"{name}.json"):
            files += 1
            look(name, path, json.loads(path.read_text()))
    for path in dir.rglob("samples.jsonl"):
        files += 1
        for line in path.read_text().splitlines():
            look("sample", path, json.loads(line))
    return found, files


@pytest.fixture(scope="module")
def records(zo2, tmp_path_factory):
    """A sweep with measured, projected, skipped and failed cells."""
    folder = tmp_path_factory.mktemp("schema")
    manifest = folder / "m.yaml"
    manifest.write_text("""
defaults: {data.seq: 8, train: {steps: 3, warmup: 1}, engine: {dtype: bf16, device: cpu}}
matrix:
  case:
    - {method.name: zo2, method.perturbations: 2}
    - {method.name: mezo}
    - {method.name: zo2, engine.project: true}
    - {method.name: resident}
    - {model.path: absent/checkpoint}
exclude: [{where: {method.name: resident}, reason: as a test}]
expect: [{where: {method.name: zo2}, metric: arena_bytes, at_most: 1 GiB, source: a test}]
""")
    zo2("run", manifest, "--out", folder / "out", code=None)
    return folder / "out"


def test_records_of_a_run_keep_to_the_schemas(records):
    states = {json.loads(path.read_text())["state"] for path in records.rglob("result.json")}
    assert {"ok", "projected", "skipped", "crashed"} <= states
    found, files = problems(records)
    assert not found, "\n".join(found)
    assert files > 6 * 3


def test_records_that_are_kept_keep_to_the_schemas():
    found, files = problems(ROOT / "results")
    assert not found, "\n".join(found[:20])
    assert files > 100


@pytest.mark.parametrize("file, change", [
    ("config.json", lambda value: value["config"]["method"].update(lerning_rate=1)),
    ("config.json", lambda value: value["config"]["data"].update(seq=0)),
    ("config.json", lambda value: value["config"]["engine"].update(dtype="fp8")),
    ("result.json", lambda value: value["metrics"].update(tokens_per_sec=1)),
    ("result.json", lambda value: value["metrics"].update(host_bytes=1.5)),
    ("result.json", lambda value: value.update(state="fine")),
    ("result.json", lambda value: value.pop("hashes")),
    ("env.json", lambda value: value.update(user="somebody")),
    ("experiment.json", lambda value: value["cells"][0].update(config_hash="abc")),
])
def test_what_is_no_record_is_refused(records, file, change):
    value = json.loads(next(records.rglob(file)).read_text())
    checks = validator(file.removesuffix(".json"))
    assert checks.is_valid(value)
    change(value)
    assert not checks.is_valid(value)


def test_what_is_no_sample_is_refused(records):
    checks = validator("sample")
    line = json.loads(next(records.rglob("*mezo*/r0/samples.jsonl")).read_text().splitlines()[0])
    assert checks.is_valid(line)
    assert checks.is_valid({"kind": "eval", "step": 3, "loss": "nan"})
    assert not checks.is_valid({**line, "kind": "eval"})
    assert not checks.is_valid({**line, "step_ms": "fast"})
    assert not checks.is_valid({**line, "loss_plus": [1.0]}), "one pair is a number"
    line.pop("seed")
    assert not checks.is_valid(line)
