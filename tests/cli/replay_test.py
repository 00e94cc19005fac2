"""zo2 replay: weights made again from base and log, without data, are those that the run had; and what is refused."""

import json
import shutil

import pytest

FLAGS = {
    "fp32-k1": ("--dtype", "fp32"),
    "bf16-k4-stochastic": ("--dtype", "bf16", "--writeback-every", "4", "--rounding", "stochastic"),
    "fp16-pairs2-rademacher": ("--dtype", "fp16", "--perturbations", "2", "--noise", "rademacher", "--writeback-every", "3"),
}


def train(zo2, model, out, steps, *flags, lr="1e-3", code=0):
    """The result; with another exit code, what went to standard error."""
    done = zo2("train", "--model", model, "--out", out, "--seq", 16, "--batch", 2, "--steps", steps, "--lr", lr,
               "--weight-decay", "0.1", "--threads", 1, "--device", "cpu", "--json", *flags, code=code)
    return json.loads(done.stdout) if code == 0 else done.stderr


def replay(zo2, run, *flags, code=0):
    return json.loads(zo2("replay", run, "--json", *flags, code=code).stdout)


@pytest.fixture
def model(shared):
    return shared / "fixtures" / "hf" / "opt-untied"


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_the_log_alone_leads_to_the_weights_of_the_run(zo2, model, tmp_path, flags):
    sequences = tmp_path / "data.jsonl"
    sequences.write_text("".join(json.dumps({"input_ids": [2 + (i + j) % 300 for j in range(9)]}) + "\n" for i in range(7)))
    run = tmp_path / "run"
    result = train(zo2, model, run, 30, "--data", sequences, *flags)
    sequences.unlink()  # no data is read
    found = replay(zo2, run)
    assert (found["verdict"], found["step"], found["weights"]) == ("equal", 30, result["final_weights"])
    assert found["weights"] != found["base"] == result["initial_weights"]
    assert zo2("replay", run).stdout.endswith("equal to what the run recorded\n")

    # A shorter run's last weights are the longer one's at that step.
    sequences.write_text("".join(json.dumps({"input_ids": [2 + (i + j) % 300 for j in range(9)]}) + "\n" for i in range(7)))
    shorter = train(zo2, model, tmp_path / "shorter", 17, "--data", sequences, *flags)
    found = replay(zo2, run, "--step", 17)
    assert (found["verdict"], found["weights"]) == ("unknown", shorter["final_weights"])
    assert replay(zo2, run, "--step", 0)["weights"] == result["initial_weights"]


def test_a_shared_log_needs_only_the_base(zo2, model, tmp_path):
    result = train(zo2, model, tmp_path / "run", 12, "--dtype", "fp16")
    shutil.copytree(model, tmp_path / "elsewhere")
    (tmp_path / "shared").mkdir()
    shutil.copy(tmp_path / "run" / "step.log", tmp_path / "shared")
    assert str(model).encode() not in (tmp_path / "shared" / "step.log").read_bytes()
    assert "--model" in zo2("replay", tmp_path / "shared", code=2).stderr
    found = replay(zo2, tmp_path / "shared", "--model", tmp_path / "elsewhere")
    assert (found["verdict"], found["weights"]) == ("unknown", result["final_weights"])


def test_a_run_of_random_weights_is_replayed_from_its_seed(zo2, tmp_path):
    result = train(zo2, "opt-125m", tmp_path / "run", 2, "--dtype", "fp16", "--noise-seed", 7)
    assert "metrics" not in result, "nothing was tested"
    found = replay(zo2, tmp_path / "run")
    assert (found["verdict"], found["weights"]) == ("equal", result["final_weights"])


def test_the_best_weights_are_those_that_the_run_selected(zo2, model, tmp_path):
    data = tmp_path / "eval.jsonl"
    data.write_text(json.dumps({"input_ids": list(range(2, 20))}) + "\n")
    # The rate is so high that the loss rises after some steps.
    result = train(zo2, model, tmp_path / "run", 24, "--dtype", "fp32", "--eval-data", data, "--eval-every", 3,
                   "--select", "dev_loss", lr="1e-2")
    assert result["selected_step"] < 24, "choose a rate at which the last weights are not the best"
    found = replay(zo2, tmp_path / "run", "--best")
    assert (found["step"], found["weights"]) == (result["selected_step"], result["selected_weights"])
    assert found["verdict"] == "equal"


def test_other_weights_than_the_recorded_ones_are_a_failed_check(zo2, model, tmp_path):
    train(zo2, model, tmp_path / "run", 5)
    path = tmp_path / "run" / "result.json"
    result = json.loads(path.read_text())
    result["final_weights"] = result["initial_weights"]
    path.write_text(json.dumps(result))
    assert replay(zo2, tmp_path / "run", code=1)["verdict"] == "differs"


def test_a_run_goes_on_where_base_and_data_were_moved_to(zo2, model, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"input_ids": [2, 5 + i, 9 + i]}) + "\n" for i in range(8)))
    whole = train(zo2, model, tmp_path / "whole", 9, "--data", data)
    train(zo2, model, tmp_path / "run", 4, "--data", data)
    shutil.copytree(model, tmp_path / "moved")
    data.rename(tmp_path / "moved.jsonl")
    result = train(zo2, tmp_path / "moved", tmp_path / "run", 9, "--data", tmp_path / "moved.jsonl")
    assert (result["first_step"], result["final_weights"]) == (4, whole["final_weights"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["model"]["path"] == str(tmp_path / "moved")
    # Other data under the same name is another run, and what the folder says of itself stays.
    (tmp_path / "moved.jsonl").write_text('{"input_ids": [2, 3, 4]}\n')
    refusal = train(zo2, model, tmp_path / "run", 9, "--data", tmp_path / "moved.jsonl", code=2)
    assert "belongs to another run" in refusal and "data.sha256" in refusal
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"] == config


def test_what_cannot_be_replayed_is_named(zo2, shared, model, tmp_path):
    train(zo2, model, tmp_path / "run", 3)
    refused = lambda *flags: zo2("replay", tmp_path / "run", *flags, code=2).stderr  # noqa: E731
    assert "other parameters than opt-preln" in refused("--model", shared / "fixtures" / "hf" / "opt-preln")
    changed = tmp_path / "changed"
    shutil.copytree(model, changed)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    assert "is not the base of" in refused("--model", changed)
    assert "the log of" in refused("--step", 4) and "has 3 steps" in refused("--step", 4)
    assert "--select dev_loss" in refused("--best")
    assert "not a folder that `zo2 train --out` wrote" in zo2("replay", tmp_path, code=2).stderr
    config = tmp_path / "run" / "config.json"
    config.write_text('{"config": {}}')
    assert "config.json" in refused()
    config.unlink()
    assert "name the base checkpoint with --model" in refused()


RECORD = """
name: record
defaults:
  model.path: {model}
  data: {{batch: 2, seq: 12}}
  method: {{lr: 1e-3, weight_decay: 0.1, writeback_every: 4, rounding: stochastic, perturbations: 2}}
  train: {{steps: 20, warmup: 4, schedule: linear}}
  engine: {{device: cpu, dtype: bf16, threads: 1}}
"""


def test_a_cells_record_replays_from_its_samples(zo2, model, tmp_path):
    manifest = tmp_path / "record.yaml"
    manifest.write_text(RECORD.format(model=model))
    zo2("run", manifest, "--out", tmp_path / "out")
    (record,) = (tmp_path / "out" / "cells").glob("*/r0")
    hashes = json.loads((record / "result.json").read_text())["hashes"]
    found = replay(zo2, record)
    assert (found["verdict"], found["weights"], found["step"]) == ("equal", hashes["final_weights"], 20)
    assert replay(zo2, record, "--step", 7)["verdict"] == "unknown"
    # Thinned samples, and methods whose weights are no function of a log.
    samples = record / "samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(lines[:5] + lines[6:]))
    assert "after step 4 comes step 6" in zo2("replay", record, code=2).stderr
    samples.write_text("".join(lines))
    config = json.loads((record / "config.json").read_text())
    config["config"]["method"]["name"] = "mezo"
    (record / "config.json").write_text(json.dumps(config))
    assert "method mezo are no function of a log" in zo2("replay", record, code=2).stderr


def test_rounding_to_16_bits_loses_small_updates_unless_it_is_stochastic(zo2, model, tmp_path):
    update = {}
    for name, flags in {"fp32": ("--dtype", "fp32"), "nearest": ("--dtype", "bf16"),
                        "stochastic": ("--dtype", "bf16", "--rounding", "stochastic")}.items():
        train(zo2, model, tmp_path / name, 20, *flags, lr="1e-6")
        found = replay(zo2, tmp_path / name, "--update")
        assert found["verdict"] == "equal"
        update[name] = found["update"]
    assert update["fp32"]["kept"] == pytest.approx(1, abs=1e-3)
    assert update["fp32"]["applied_norm"] == pytest.approx(update["fp32"]["asked_norm"], rel=1e-3)
    # Updates of 1e-6 times a gradient of tens are far below half of bf16's unit for weights near 0.02 (6e-5).
    assert update["nearest"]["kept"] < 0.5
    assert 0.5 < update["stochastic"]["kept"] < 1.5, "nothing is lost on average, though each element is noisy"
    assert update["stochastic"]["applied_norm"] > 2 * update["stochastic"]["asked_norm"]
    text = zo2("replay", tmp_path / "nearest", "--update").stdout
    assert f"{100 * update['nearest']['kept']:.2f}% of what was asked for" in text
