"""Training on a task whose answers are generated: runs and cells end with F1 and exact match on the eval split."""

import json

import pytest

pytest.importorskip("tokenizers")
from task_folder import write_task  # noqa: E402


@pytest.fixture
def model(shared):
    return shared / "fixtures" / "hf" / "opt-preln"


@pytest.fixture
def task(zo2, model, tmp_path):
    """Three prompts and their answers, the first of which is what the model itself goes on with."""
    prompts = [[2, 9, 11], [2, 77, 5, 8], [2, 30]]
    examples = [([(prompt + [7, 12], len(prompt)), (prompt, len(prompt))], [0]) for prompt in prompts]
    (tmp_path / "in").write_text("".join(json.dumps({"input_ids": prompt}) + "\n" for prompt in prompts))
    zo2("generate", "--model", model, "--input", tmp_path / "in", "--output", tmp_path / "said", "--max-new", 6, "--stop", 3,
        "--device", "cpu")
    said = json.loads((tmp_path / "said").read_text().splitlines()[0])["output_ids"]
    answers = [[" ".join(map(str, said))], ["7 12"], [f"x {said[0]}"]]
    return write_task(tmp_path / "task", examples, kind="generation", answers=answers, new_tokens=6,
                      splits=("train", "dev", "eval"))


@pytest.mark.parametrize("method", ["zo2", "resident", "mezo"])
def test_a_run_ends_with_the_scores_of_the_weights_that_it_saves(zo2, model, task, tmp_path, method):
    saved = tmp_path / "saved"
    done = zo2("train", "--model", model, "--task", task, "--method", method, "--steps", 2, "--batch", 2, "--dtype", "fp32",
               "--lr", "1e-9", "--eval-every", 1, "--device", "cpu", "--out", tmp_path / "run", "--save", saved)
    assert ", F1 " in done.stdout and "exact match" in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    metrics = result["metrics"]
    assert result["config"]["train"]["objective"] == "lm"
    assert "test_accuracy" not in metrics
    evaluated = json.loads(zo2("eval", "--model", saved, "--task", task, "--device", "cpu", "--json").stdout)
    assert metrics["test_examples"] == evaluated["n"] == 3
    assert metrics["test_f1"] == pytest.approx(evaluated["f1"], abs=1e-12)
    assert metrics["test_f1_error"] == pytest.approx(evaluated["standard_error"], abs=1e-12)
    assert metrics["test_exact_match"] == evaluated["exact_match"] == pytest.approx(1 / 3)
    assert metrics["test_exact_match_error"] == evaluated["exact_match_standard_error"]
    assert metrics["test_loss"] == pytest.approx(evaluated["lm_loss"], abs=1e-4)
    lines = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    # Dev is judged by its loss.
    assert [set(line) for line in lines if line["kind"] == "eval"] == [{"kind", "step", "loss"}] * 2


def test_generating_at_the_end_takes_no_more_memory_than_the_steps(zo2, model, tmp_path):
    # Three caches of 32 positions do not fit the arena of three sequences of 3 tokens; one does.
    examples = [([([2, 9, id], 2), ([2, 9], 2)], [0]) for id in (5, 6, 7)]
    task = write_task(tmp_path / "task", examples, kind="generation", answers=[["x"]] * 3, new_tokens=31,
                      splits=("train", "eval"))

    def train(*flags, code=0):
        return zo2("train", "--model", model, "--task", task, "--steps", 1, "--batch", 3, "--dtype", "fp32", "--device", "cpu",
                   *flags, code=code)

    smallest = json.loads(train("--json").stdout)["arena_planned_bytes"]
    assert "too small" in train("--gpu-memory", smallest - 1, code=2).stderr
    assert ", F1 " in train("--gpu-memory", smallest).stdout


def test_a_plan_counts_the_cache_that_answers_take(zo2, model, tmp_path):
    # One cache of 104 positions does not fit the arena of one sequence of 3 tokens.
    task = write_task(tmp_path / "task", [([([2, 9, 5], 2), ([2, 9], 2)], [0])], kind="generation", answers=[["x"]],
                      new_tokens=100, splits=("train", "eval"))
    manifest = tmp_path / "manifest.yaml"

    def cell(memory):
        manifest.write_text(f"""
defaults:
  model: {{path: {model}}}
  data: {{kind: task, path: {task}, batch: 1}}
  train: {{steps: 1, warmup: 0, objective: lm}}
  engine: {{device: cpu, dtype: fp32, gpu_memory: {memory}}}
""")
        return json.loads(zo2("plan", manifest, "--json").stdout)["cells"][0]

    planned = cell("smallest")
    zo2("run", manifest, "--out", tmp_path / "out")
    metrics = json.loads(next((tmp_path / "out" / "cells").glob("*/r0/result.json")).read_text())["metrics"]
    assert metrics["arena_bytes"] == metrics["arena_planned_bytes"] == pytest.approx(planned["arena_bytes"], rel=0.02)
    assert cell(f"{int(0.95 * planned['arena_bytes'])} B")["verdict"] == "does not fit"


def test_a_cell_reports_f1(zo2, model, task, tmp_path):
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(f"""
name: answers
defaults:
  model: {{path: {model}}}
  data: {{kind: task, path: {task}, batch: 2}}
  method: {{name: zo2, lr: 1e-9}}
  train: {{steps: 1, warmup: 0, objective: lm}}
  engine: {{device: cpu, dtype: fp32}}
expect: [{{metric: test_f1, at_least: 0.3, source: one of three answers}}]
""")
    zo2("run", manifest, "--out", tmp_path / "out")
    metrics = json.loads(next((tmp_path / "out" / "cells").glob("*/r0/result.json")).read_text())["metrics"]
    assert 1 / 3 <= metrics["test_f1"] < 1 and metrics["test_examples"] == 3
    zo2("check", tmp_path / "out")
