"""A training run killed with SIGKILL at random moments ends with the same weights as one that was never killed."""

import json
import random
import signal
import subprocess
import time

import pytest

from conftest import BINARY

KILLS = 20


def command(model, out, *flags):
    return [str(BINARY), "train", "--model", str(model), "--out", str(out), "--seq", "64", "--batch", "2", "--steps", "1200",
            "--lr", "1e-4", "--weight-decay", "0.1", "--threads", "1", "--snapshot-every", "50", *flags]


@pytest.mark.parametrize("flags", [("--dtype", "bf16", "--writeback-every", "4", "--rounding", "stochastic"),
                                   ("--dtype", "fp32",)], ids=["bf16-k4-stochastic", "fp32-k1"])
def test_killed_and_resumed_runs_end_with_the_same_weights(shared, tmp_path, flags):
    model = shared / "fixtures" / "hf" / "opt-untied"
    start = time.monotonic()
    subprocess.run(command(model, tmp_path / "whole", *flags), check=True, capture_output=True, timeout=300)
    lasts = time.monotonic() - start
    whole = json.loads((tmp_path / "whole" / "result.json").read_text())

    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    kills = 0
    resumed_from = []
    while kills < KILLS // 2:
        process = subprocess.Popen(command(model, tmp_path / "killed", *flags), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(0.2 + generator.random() * lasts / 4)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == 0:  # it was done before the kill
            if kills + 1 < KILLS // 2:
                subprocess.run(["rm", "-rf", str(tmp_path / "killed")], check=True)
            continue
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
        if "resuming at step" in errors:
            resumed_from.append(int(errors.split("resuming at step")[1].split()[0]))
    done = subprocess.run(command(model, tmp_path / "killed", *flags), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    killed = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert killed["final_weights"] == whole["final_weights"]
    assert killed["final_weights"] != whole["initial_weights"]
    assert any(step > 0 for step in resumed_from), "no kill fell into the training itself"

    def steps(folder):
        lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss_plus"], line["projected_gradient"]) for line in lines]

    # A sample that was not written when its log entry was is missing; what is there is equal to the bit.
    assert set(steps(tmp_path / "killed")) <= set(steps(tmp_path / "whole"))
