"""train.stop_within ends a run early, at a write-back period, and leaves what a run of that many steps leaves."""

import json

import pytest

MANIFEST = """
defaults: {{model.path: "{model}", data.seq: 8, engine: {{dtype: bf16, device: cpu}}, method: {{lr: 1e-3, writeback_every: 2}}}}
matrix:
  train: [{{train: {{steps: {steps}, warmup: 1, stop_within: {within}}}}}]
  method.name: [zo2, mezo]
"""


@pytest.fixture
def model(shared):
    return shared / "fixtures" / "hf" / "opt-preln"


def run(zo2, model, folder, steps, within):
    folder.mkdir()
    (folder / "m.yaml").write_text(MANIFEST.format(model=model, steps=steps, within=within))
    zo2("run", folder / "m.yaml", "--out", folder / "out")
    records = {}
    for path in (folder / "out").glob("cells/*/r0/result.json"):
        method = json.loads((path.parent / "config.json").read_text())["config"]["method"]["name"]
        lines = [json.loads(line) for line in (path.parent / "samples.jsonl").read_text().splitlines()]
        records[method] = (json.loads(path.read_text()), lines)
    return records


def test_a_run_ends_where_the_mean_step_time_is_known(zo2, model, tmp_path):
    for method, (result, samples) in run(zo2, model, tmp_path / "early", 400, 1).items():
        metrics = result["metrics"]
        steps = metrics["steps"]
        assert 1 + 6 * 2 <= steps < 400 and (steps - 1) % 2 == 0, "six write-back periods or more, whole ones"
        assert [sample["step"] for sample in samples] == list(range(steps))
        assert metrics["window_steps"] == steps - 1
        assert 0 < metrics["step_ms_half_width"] <= 1
        assert not any("stop_within" in warning for warning in result["warnings"])
        # The same run with that many steps.
        full, full_samples = run(zo2, model, tmp_path / f"full-{method}", steps, 0)[method]
        assert full["hashes"] == result["hashes"]
        for key in ("loss_plus", "projected_gradient"):
            assert [sample[key] for sample in full_samples] == [sample[key] for sample in samples]


def test_a_bound_that_was_not_reached_is_warned_of(zo2, model, tmp_path):
    result, samples = run(zo2, model, tmp_path / "late", 14, 1e-9)["zo2"]
    assert len(samples) == result["metrics"]["steps"] == 14
    assert any("raise train.steps" in warning for warning in result["warnings"])


def test_too_few_steps_for_the_rule_are_refused(zo2, tmp_path):
    (tmp_path / "m.yaml").write_text(MANIFEST.format(model="absent", steps=12, within=0.01))
    errors = zo2("run", tmp_path / "m.yaml", "--out", tmp_path / "out", code=2).stderr
    assert "m.yaml:4:55: train.stop_within needs six write-back periods" in errors
