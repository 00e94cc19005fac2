"""The experiments of experiments/: all of them can be planned, and a few run in their small variants."""

import json

import pytest
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


@pytest.mark.parametrize("name", ["equality", "slots"])
def test_small_variants_run_and_hold_what_they_promise(zo2, tmp_path, name):
    zo2("run", ROOT / "experiments" / f"{name}.yaml", "--variant", "small", "--out", tmp_path)
    verdicts = json.loads(zo2("check", tmp_path, "--json", "--strict").stdout)
    assert verdicts["equality"] and all(line["verdict"] == "PASS" for line in verdicts["equality"])
