"""The experiments of experiments/: all of them can be planned, and a few run in their small variants."""

import json

import pytest
import yaml
from conftest import ROOT

EXPERIMENTS = sorted(path.name for path in (ROOT / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_cell_is_planned(zo2, name):
    for variant in ([], ["--variant", "small"]):
        plan = json.loads(zo2("plan", ROOT / "experiments" / name, "--json", *variant).stdout)
        assert plan["cells"]
        for cell in plan["cells"]:
            # A checkpoint and a task are the user's.
            assert cell["verdict"] != "cannot run" or name.startswith("accuracy_"), cell


@pytest.mark.parametrize("template", sorted((ROOT / "experiments" / "tasks").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_accuracy_follows_its_task(template):
    """The objective that the protocol trains on, and five first-order epochs of what the task trains on by default."""
    task = yaml.safe_load(template.read_text())
    path = ROOT / "experiments" / f"accuracy_{template.stem.lower()}.yaml"
    if not path.exists():
        assert template.stem in ("completions", "text"), "no manifest for this task"
        return
    base, manifest = (yaml.safe_load(file.read_text()) for file in (ROOT / "experiments" / "base" / "mezo_protocol.yaml", path))
    values = base["vars"] | manifest["vars"]
    objective = manifest.get("defaults", {}).get("train.objective", base["defaults"]["train"]["objective"])
    assert objective == task["objective"]
    epoch = -(-task["sizes"]["train"] // 8)
    assert (values["first_order_epoch"], values["first_order_steps"]) == (epoch, 5 * epoch)


def test_records_in_the_repository_are_of_cells_that_the_manifest_has(zo2):
    recorded = json.loads((ROOT / "results" / "h100-80gb-pcie5" / "accuracy_sst2" / "experiment.json").read_text())
    planned = json.loads(zo2("plan", ROOT / "experiments" / "accuracy_sst2.yaml", "--json").stdout)
    assert {cell["config_hash"] for cell in recorded["cells"]} <= {cell["config_hash"] for cell in planned["cells"]}


@pytest.mark.parametrize("name", ["equality", "slots"])
def test_small_variants_run_and_hold_what_they_promise(zo2, tmp_path, name):
    zo2("run", ROOT / "experiments" / f"{name}.yaml", "--variant", "small", "--out", tmp_path)
    verdicts = json.loads(zo2("check", tmp_path, "--json", "--strict").stdout)
    assert verdicts["equality"] and all(line["verdict"] == "PASS" for line in verdicts["equality"])
