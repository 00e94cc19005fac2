"""zo2 plan: what the cells of a manifest will use, without a GPU and without running any."""

import json
import os

import pytest
from conftest import BINARY, ROOT

STANDIN = BINARY.parent / "tests" / "libstandin_nvml.so"
QUICK = ROOT / "experiments" / "quick.yaml"


@pytest.fixture
def plan(zo2, tmp_path):
    """Plans a manifest of this text; returns its JSON."""

    def run(text, *flags):
        manifest = tmp_path / "m.yaml"
        manifest.write_text(text)
        return json.loads(zo2("plan", manifest, *flags, "--json").stdout)

    return run


def only(planned):
    (cell,) = planned["cells"]
    return cell


def test_the_arena_is_the_one_that_a_run_plans(zo2, plan, tmp_path):
    text = ("defaults: {model.name: opt-125m, data.seq: 16, train: {steps: 2, warmup: 1}, "
            "engine: {dtype: bf16, device: cpu}}\nmatrix: {method.name: [zo2, resident]}\n")
    planned = {cell["method"]: cell for cell in plan(text)["cells"]}
    zo2("run", tmp_path / "m.yaml", "--out", tmp_path / "out")
    for path in (tmp_path / "out").glob("cells/*/r0/result.json"):
        metrics = json.loads(path.read_text())["metrics"]
        method = json.loads((path.parent / "config.json").read_text())["config"]["method"]["name"]
        cell = planned[method]
        assert cell["verdict"] == "fits" and cell["judged_on"] == "cpu"
        assert "nvml_projected_bytes" not in cell, "a run on CPU takes nothing of a device"
        assert cell["parameters"] == metrics["parameters"]
        # The workspace of attention is measured in a run and estimated in a plan.
        assert cell["arena_bytes"] == pytest.approx(metrics["arena_planned_bytes"], rel=0.02)
        assert cell["host_bytes"] == metrics["host_bytes"] + cell["arena_bytes"]


def test_memory_is_that_of_estimate(zo2, plan):
    cell = only(plan("defaults: {model: {name: opt-13b, tie_embeddings: false}, engine.gpu_memory: 6 GB}"))
    estimate = json.loads(zo2("estimate", "opt-13b", "--untied", "--gpu-memory", "6 GB", "--json").stdout)
    for key in ("parameters", "arena_bytes", "nvml_projected_bytes", "host_bytes"):
        assert cell[key] == estimate[key], key
    staged = only(plan("defaults: {model: {name: opt-13b, tie_embeddings: false}, engine.host: staged}"))
    registered = only(plan("defaults: {model: {name: opt-13b, tie_embeddings: false}}"))
    assert staged["nvml_projected_bytes"] < registered["nvml_projected_bytes"], "no page tables of registered memory"


def test_a_generation_is_estimated_with_its_cache(zo2):
    def estimate(*flags):
        return json.loads(zo2("estimate", "opt-1.3b", "--batch", 4, "--seq", 512, "--json", *flags).stdout)

    training, generating = estimate(), estimate("--new-tokens", 50)
    cache = 24 * 2 * 4 * (512 + 50 - 1) * 2048 * 2  # layers, keys and values, sequences, positions, width, fp16
    assert (training["cache_bytes"], generating["cache_bytes"]) == (0, cache)
    # Training's buffers are not there while a cache is.
    assert cache < generating["arena_bytes"] < training["arena_bytes"] + cache
    zo2("estimate", "opt-1.3b", "--new-tokens", 2, code=2)  # 2,048 positions are taken by the prompt


@pytest.mark.parametrize("bound", ["smallest", "6 GB"])
def test_a_projected_record_says_what_the_plan_says(zo2, plan, tmp_path, bound):
    text = f"""
defaults:
  model: {{name: opt-13b, tie_embeddings: false}}
  engine: {{project: true, gpu_memory: {bound}}}
matrix: {{engine.host: [registered, staged, pageable]}}
"""
    cells = plan(text)["cells"]
    (tmp_path / "p.yaml").write_text(text)
    zo2("run", tmp_path / "p.yaml", "--out", tmp_path / "out")
    for cell in cells:
        result = json.loads(next((tmp_path / "out").glob(f"cells/{cell['slug']}-*/r0/result.json")).read_text())
        for key in ("arena_bytes", "nvml_projected_bytes"):
            assert result["metrics"][key] == cell[key], (cell["slug"], key)
    assert cells[0]["nvml_projected_bytes"] > cells[1]["nvml_projected_bytes"] or bound != "smallest"
    assert cells[0]["arena_bytes"] < cells[1]["arena_bytes"] or bound == "smallest"


def test_a_cell_that_does_not_fit_says_what_is_missing(zo2, plan, tmp_path):
    text = """
matrix:
  case:
    - {model.name: opt-175b, method.name: resident, engine.host_weights: aliased}
    - {model.name: opt-175b, method.name: mezo, engine.host_weights: aliased}
    - {model.name: opt-125m, method.name: zo2, data.seq: 128}
    - {model.name: opt-125m, method.name: zo2, engine.gpu_memory: 300 MiB}
    - {model.name: opt-125m, method.name: mezo, data.seq: 128}
    - {model.path: absent/checkpoint}
    - {model.name: opt-30b, method.name: zo2, engine.project: true}
    - {model.name: opt-66b, method.name: mezo}
exclude: [{where: {model.name: opt-66b}, reason: takes too long}]
repeats: 3
"""
    planned = plan(text)
    verdicts = [(cell["verdict"], cell.get("reason", "")) for cell in planned["cells"]]
    assert verdicts[0][0] == "does not fit" and "device memory 32" in verdicts[0][1]
    assert verdicts[1][0] == "does not fit" and "device memory at least 32" in verdicts[1][1]
    assert verdicts[2] == ("fits", "")
    assert verdicts[3][0] == "does not fit" and "300.00 MiB is less than" in verdicts[3][1]
    assert verdicts[4][0] == "may fit"
    assert verdicts[5][0] == "cannot run" and "absent/checkpoint" in verdicts[5][1]
    assert verdicts[6] == ("projected", "")
    assert verdicts[7] == ("skipped", "takes too long")
    totals = planned["totals"]
    assert (totals["cells"], totals["runs"], totals["not_fitting"]) == (7, 21, 4)
    assert totals["steps"] == 6 * 3 * 30, "a projected cell runs no steps"
    text = zo2("plan", tmp_path / "m.yaml").stdout
    assert "7 cells x 3 = 21 runs, 540 steps, 1 skipped" in text and "4 of the cells do not fit" in text


def test_the_gpu_that_is_here_is_the_judge(zo2, tmp_path):
    if not STANDIN.exists():
        pytest.skip("skipped: the tests are not built")
    environment = {**os.environ, "ZO2_NVML_LIBRARY": str(STANDIN), "ZO2_STANDIN_NVML": str(tmp_path / "values")}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    manifest = tmp_path / "m.yaml"
    manifest.write_text("defaults: {model.name: opt-125m}\nmatrix: {method.name: [zo2, resident], engine.project: [false, true]}")

    def verdicts(used_bytes):
        (tmp_path / "values").write_text(f"0.name=Small GPU\n0.total_bytes={2 << 30}\n0.used_bytes={used_bytes}\n")
        planned = json.loads(zo2("plan", manifest, "--json", env=environment).stdout)
        assert planned["gpu"] == {"name": "Small GPU", "memory_bytes": 2 << 30}
        return [(cell["judged_on"], cell["verdict"]) for cell in planned["cells"]]

    described = ("H100 80GB, PCIe 5", "projected")
    assert verdicts(100 << 20) == [("Small GPU", "fits"), described, ("Small GPU", "fits"), described]
    assert verdicts(1200 << 20) == [("Small GPU", "fits"), described, ("Small GPU", "does not fit"), described]


def test_a_forecast_adds_time(zo2, plan):
    text = ("defaults: {model.name: opt-1.3b, train: {steps: 100}}\nrepeats: 2\n"
            "matrix: {method.micro_batches: [1, 4], method.name: [zo2, mezo]}\n"
            "exclude: [{where: {method.name: mezo, method.micro_batches: 4}, reason: has none}]")
    assert "tokens_per_s" not in plan(text)["cells"][0]
    planned = plan(text, "--forecast")
    one, mezo, four, _ = planned["cells"]
    assert one["seconds"] == pytest.approx(100 * one["step_ms"] / 1e3)
    assert one["tokens_per_s"] == pytest.approx(2048 / one["step_ms"] * 1e3)
    assert four["step_ms"] == pytest.approx(4 * one["step_ms"])
    assert four["tokens_per_s"] == pytest.approx(one["tokens_per_s"])
    assert "seconds" not in mezo
    assert planned["totals"]["seconds"] == pytest.approx(2 * (one["seconds"] + four["seconds"]))
    assert planned["totals"]["runs_without_forecast"] == 2


def test_variants_and_overrides_apply(zo2):
    small = json.loads(zo2("plan", QUICK, "--variant", "small", "-S", "data.batch=3", "--json").stdout)
    assert {cell["batch"] for cell in small["cells"]} == {3}
    assert len(small["cells"]) == 5


def test_a_thousand_cells_are_all_planned(plan):
    seqs = ", ".join(str(64 + i) for i in range(100))
    planned = plan(f"matrix: {{model.name: [opt-125m, opt-1.3b, opt-6.7b, opt-13b, opt-30b], "
                   f"method.name: [resident, zo2], data.seq: [{seqs}]}}")
    assert len(planned["cells"]) == 1000
    arenas = {cell["arena_bytes"] for cell in planned["cells"] if cell["method"] == "zo2"}
    assert len(arenas) > 100, "cells that differ do not share a plan"


def test_a_bad_manifest_is_refused(zo2, tmp_path):
    manifest = tmp_path / "m.yaml"
    manifest.write_text("defaults: {method.lr: fast}\nordr: sequential\n")
    errors = zo2("plan", manifest, code=2).stderr
    assert f"{manifest}:1:23: method.lr: expected a number" in errors
    assert f"{manifest}:2:1: unknown key 'ordr': did you mean 'order'?" in errors
    assert "hardware" in zo2("plan", QUICK, "-S", "engine.hardware=nowhere", code=2).stderr
