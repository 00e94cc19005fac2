"""Sweeps whose runner and cells are killed at random moments end with the records of an undisturbed one.

ZO2_KILLS: how many kills (default 12).
"""

import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
from conftest import BINARY

KILLS = int(os.environ.get("ZO2_KILLS", "12"))

MANIFEST = """
name: killed
defaults:
  model.path: {model}
  data: {{batch: 2, seq: 64}}
  method: {{lr: 1.0e-4, writeback_every: 2}}
  train: {{steps: 150, warmup: 10}}
  engine: {{device: cpu, dtype: fp32, threads: 1}}
matrix: {{method.name: [zo2, resident, mezo]}}
repeats: 2
"""


def run(manifest, out, *more):
    return subprocess.Popen([BINARY, "run", manifest, "--out", out, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def finish(manifest, out, *more):
    process = run(manifest, out, *more)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def records(out):
    """The complete records, by slug and repeat. One that is being replaced has another name for a moment; when the new
    one is in its place, what is left of it is being removed."""
    found = {}
    replaced = [path for path in out.glob("cells/*/old-r*/result.json")
                if not path.parent.with_name(path.parent.name.removeprefix("old-")).exists()]
    for path in replaced + sorted(out.glob("cells/*/r*/result.json")):
        config, result = (json.loads((path.parent / name).read_text()) for name in ("config.json", "result.json"))
        key = config["slug"], config["repeat"]
        assert path.parent.name.removeprefix("old-") == f"r{key[1]}"
        assert result["config_hash"] == config["config_hash"]
        assert {"exit_code", "started_utc"} <= result.keys(), "half a result"
        assert (path.parent / "env.json").exists()
        found[key] = path.parent, result
    return found


def outcome(folder, result):
    """What must not depend on disturbances."""
    steps = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return result["hashes"], [(step["step"], step["seed"], step["loss_plus"], step["projected_gradient"]) for step in steps]


def test_no_record_is_lost_doubled_or_half_written(shared, tmp_path):
    manifest = tmp_path / "killed.yaml"
    manifest.write_text(MANIFEST.format(model=shared / "fixtures" / "hf" / "opt-untied"))
    start = time.monotonic()
    finish(manifest, tmp_path / "whole")
    lasts = time.monotonic() - start
    whole = {key: outcome(*record) for key, record in records(tmp_path / "whole").items()}
    assert len(whole) == 6

    seed = int(os.environ.get("ZO2_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}")
    generator = random.Random(seed)
    out = tmp_path / "killed"
    tally = collections.Counter()
    ended = set()
    again = "--retry-failed"
    while tally["runner"] + tally["cell"] < KILLS:
        process = run(manifest, out, again)
        while process.poll() is None and tally["runner"] + tally["cell"] < KILLS:
            time.sleep(generator.random() * 3 * lasts / len(whole))
            target = generator.choice(["runner", "cell"])
            victims = [process.pid] if target == "runner" else children(process.pid)
            if process.poll() is None and victims:
                try:
                    os.kill(victims[0], signal.SIGKILL)
                    tally[target] += 1
                except ProcessLookupError:
                    pass
        _, errors = process.communicate(timeout=600)
        assert process.returncode in (0, 3, -signal.SIGKILL), errors
        # A killed runner leaves its cell to the kernel, which kills it: what follows must find the repeat free.
        found = records(out)
        assert ended <= found.keys(), "a record was lost"
        ended = set(found)
        for key, (folder, result) in found.items():
            assert result["state"] in ("ok", "crashed")
            if result["state"] == "ok":
                assert outcome(folder, result) == whole[key]
            else:
                assert result["signal"] == "SIGKILL"
                tally["crashed records"] += 1
        # Once all is done, records are replaced, which must not lose them either.
        done = len(found) == len(whole) and all(result["state"] == "ok" for _, result in found.values())
        again = "--rerun" if done else "--retry-failed"
        tally["sweeps finished"] += done
    finish(manifest, out, "--retry-failed")
    print(f"{KILLS} kills: {dict(tally)}")
    assert tally["runner"] and tally["cell"]
    assert {key: outcome(*record) for key, record in records(out).items()} == whole
    folders = sorted(path.name for path in out.glob("cells/*/*") if path.is_dir())
    assert folders == ["r0", "r0", "r0", "r1", "r1", "r1"], "nothing else is left, and nothing twice"
