"""A training run killed with SIGKILL at random moments, also inside a snapshot or an evaluation, ends with the weights and
the choice of a run that was never killed. ZO2_KILLS sets how often each is killed (default 5)."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import BINARY

STEPS = 500
KILLS = int(os.environ.get("ZO2_KILLS", "5"))


def command(model, out, *flags):
    # Snapshots take much of the time, so many kills fall into one. The rate lets the evaluation's loss rise in the end.
    return [str(BINARY), "train", "--model", str(model), "--out", str(out), "--seq", "64", "--batch", "2", "--steps", str(STEPS),
            "--lr", "3e-3", "--weight-decay", "0.1", "--threads", "1", "--device", "cpu", "--snapshot-every", "3",
            "--eval-data", str(out.parent / "eval.jsonl"), "--eval-every", "20", "--select", "dev_loss", *flags]


def wait_for_a_random_moment(process, log, generator):
    """Some steps further on, or, one time in five, somewhere in the start; by the log's growth, so on any machine."""
    size = log.stat().st_size if log.exists() else 0
    if generator.random() < 0.8:
        size += 64 * generator.randrange(1, STEPS // 4)
        while process.poll() is None and (not log.exists() or log.stat().st_size < size):
            time.sleep(0.001)
        time.sleep(generator.random() * 0.02)
    else:
        time.sleep(generator.random() * 0.5)


@pytest.mark.parametrize("flags", [("--dtype", "bf16", "--writeback-every", "4", "--rounding", "stochastic"),
                                   ("--dtype", "fp32",)], ids=["bf16-k4-stochastic", "fp32-k1"])
def test_killed_and_resumed_runs_end_with_the_same_weights(zo2, shared, tmp_path, flags):
    model = shared / "fixtures" / "hf" / "opt-untied"
    (tmp_path / "eval.jsonl").write_text(json.dumps({"input_ids": list(range(2, 66))}) + "\n")
    subprocess.run(command(model, tmp_path / "whole", *flags), check=True, capture_output=True, timeout=600)
    whole = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert whole["selected_step"] < STEPS, "a rate is wanted at which the last weights are not the best"

    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    run = tmp_path / "killed"
    resumed_from, unfinished, results = [], 0, []
    kills = 0
    while kills < KILLS:
        before = set(run.glob("snapshot-*.tmp"))
        process = subprocess.Popen(command(model, run, *flags), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for_a_random_moment(process, run / "step.log", generator)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == 0:  # it was done before the kill: another one begins
            results.append(json.loads((run / "result.json").read_text()))
            subprocess.run(["rm", "-rf", str(run)], check=True)
            continue
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
        unfinished += any(folder not in before for folder in run.glob("snapshot-*.tmp"))
        if "resuming at step" in errors:
            resumed_from.append(int(errors.split("resuming at step")[1].split()[0]))
    done = subprocess.run(command(model, run, *flags), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    results.append(json.loads((run / "result.json").read_text()))
    hashes = {result["final_weights"] for result in results}
    print(f"{kills} kills, {unfinished} inside a snapshot, {len(results)} finished runs, final hashes: {hashes}")
    for key in ("final_weights", "selected_step", "selected_weights"):
        assert {result[key] for result in results} == {whole[key]}
    assert whole["final_weights"] != whole["initial_weights"]
    assert any(step > 0 for step in resumed_from), "no kill fell into the training itself"
    assert KILLS < 50 or unfinished > 0, "no kill fell into a snapshot"
    assert json.loads(zo2("replay", run, "--best", "--json").stdout)["verdict"] == "equal"

    def lines(folder, kind):
        found = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        return [(line["step"], *(line[key] for key in ("loss_plus", "projected_gradient", "loss") if key in line))
                for line in found if line["kind"] == kind]

    # A sample that was not written when its log entry was is missing; what is there is equal to the bit.
    for kind in ("step", "eval"):
        assert set(lines(run, kind)) <= set(lines(tmp_path / "whole", kind))
