"""zo2 status and zo2 show on a sweep with a good, a failed, a running and a waiting repeat."""

import json
import signal
import subprocess
import time

import pytest
from conftest import BINARY

MANIFEST = """
name: mixed
defaults: {{method.name: external, data.seq: 8, method.lr: 0.5}}
matrix:
  case:
    - {{method.command: [sh, {folder}/good.sh]}}
    - {{method.command: [sh, {folder}/bad.sh]}}
    - {{method.command: [sh, {folder}/slow.sh]}}
    - {{method.command: [sh, {folder}/later.sh]}}
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep in its third cell, whose process has written two samples."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "good.sh").write_text('echo \'RESULT {"tokens_per_s": 12345, "arena_bytes": 1048576, "colour": "red"}\'')
    (folder / "bad.sh").write_text("echo first >&2; echo 'no such luck' >&2; exit 7")
    (folder / "slow.sh").write_text(f"touch {folder}/begun; exec sleep 120")
    (folder / "later.sh").write_text("true")
    (folder / "m.yaml").write_text(MANIFEST.format(folder=folder))
    runner = subprocess.Popen([BINARY, "run", folder / "m.yaml", "--out", folder / "out"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    for _ in range(1000):
        if (folder / "begun").exists():
            break
        time.sleep(0.02)
    samples, = (path / "samples.jsonl" for path in folder.glob("out/cells/*/new-r0"))
    samples.write_text("{}\n{}\n")
    yield folder / "out", runner
    runner.kill()
    runner.wait()


def test_status_tells_done_running_failed_and_left(zo2, sweep):
    out, _ = sweep
    status = json.loads(zo2("status", out, "--json").stdout)
    assert (status["name"], status["total"], status["counts"]) == ("mixed", 4, {"ok": 1, "crashed": 1})
    running, = status["running"]
    assert (running["cell"], running["step"], running["steps"]) == ("opt-125m-external-slow", 2, 30)
    assert 0 < running["age_s"] < 120
    failed, = status["failed"]
    assert (failed["state"], failed["error"], failed["last_words"]) == ("crashed", "ended with exit code 7", "no such luck")
    assert (out / failed["folder"] / "result.json").exists()
    assert [left["cell"] for left in status["left"]] == ["opt-125m-external-later"]

    text = zo2("status", out).stdout
    assert text.startswith("mixed: 4 repeats: 1 ok, 1 crashed, 1 running, 1 left\n")
    for part in ("opt-125m-external-slow r0", "2/30", "no such luck", "Left: opt-125m-external-later r0"):
        assert part in text


def test_what_crashed_neither_holds_nor_compares_as_equal(zo2, sweep, tmp_path):
    out, _ = sweep
    good, bad = (f"{out}:*-external-{name}" for name in ("good", "bad"))
    done = zo2("compare", good, bad, code=1).stdout
    assert "FAILED in every repeat" in done and "MISSING" in done and "B: crashed" in done
    assert json.loads(zo2("compare", good, bad, "--json", code=1).stdout)["failed"] is True
    zo2("compare", good, good)
    check = json.loads(zo2("check", out, "--json", code=1).stdout)
    assert not check["holds"] and check["failed"] == ["opt-125m-external-bad (1 crashed)"]
    footer = zo2("check", out, code=1).stdout.splitlines()[-1]
    assert "every repeat failed of opt-125m-external-bad (1 crashed)" in footer and footer.endswith(": does not hold")


def test_show_prints_a_record_in_full(zo2, sweep):
    out, _ = sweep
    text = zo2("show", out, "*-good").stdout
    assert text.startswith("opt-125m-external-good r0: ok\n")
    for part in ("method.lr", "0.5", "12,345 tok/s", "1.00 MiB", "colour", "warning: ", "binary_sha256"):
        assert part in text
    assert "data.batch" not in text, "it is the default"

    record = json.loads(zo2("show", out, "opt-125m-external-bad", "--json").stdout)
    assert record["result"]["stderr_tail"] == "first\nno such luck"
    assert record["changed"]["data.seq"] == 8
    assert json.loads(zo2("show", record["folder"], "--json").stdout) == record, "by path"
    config_hash = record["request"]["config_hash"]
    assert json.loads(zo2("show", out, config_hash[:8], "--json").stdout) == record, "by hash"
    text = zo2("show", record["folder"]).stdout
    assert "error: ended with exit code 7" in text
    assert "  no such luck" in text


def test_what_cannot_be_shown_is_refused(zo2, sweep, tmp_path):
    out, _ = sweep
    assert "means 2 cells" in zo2("show", out, "*", code=2).stderr
    assert "no cell 'x'" in zo2("show", out, "x", code=2).stderr
    assert "no repeat 3 that has ended; it has 0" in zo2("show", out, "*-good", "--repeat", 3, code=2).stderr
    assert "name a cell" in zo2("show", out, code=2).stderr
    assert "not a folder of `zo2 run`" in zo2("status", tmp_path, code=2).stderr


def test_a_killed_runner_leaves_nothing_running(zo2, sweep):
    out, runner = sweep
    runner.kill()
    runner.wait()
    for _ in range(100):  # its cell is killed with it, and lets go of nothing: the runner held the lock
        status = json.loads(zo2("status", out, "--json").stdout)
        if not status["running"]:
            break
        time.sleep(0.05)
    assert [left["cell"] for left in status["left"]] == ["opt-125m-external-slow", "opt-125m-external-later"]


def test_counts_of_an_interrupted_sweep_add_up(zo2, tmp_path):
    (tmp_path / "slow.sh").write_text(f"touch {tmp_path}/begun; exec sleep 120")
    manifest = tmp_path / "m.yaml"
    manifest.write_text("name: slow\nrepeats: 2\ndefaults: {method.name: external, data.seq: 8, "
                        f"method.command: [sh, {tmp_path}/slow.sh]}}\n")
    runner = subprocess.Popen([BINARY, "run", manifest, "--out", tmp_path / "out"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    for _ in range(1000):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.02)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(timeout=60) == 130
    status = json.loads(zo2("status", tmp_path / "out", "--json").stdout)
    assert status["total"] == 2 == sum(status["counts"].values()) + len(status["running"]) + len(status["left"])
    assert [left.get("state") for left in status["left"]] == ["interrupted", None]
    assert zo2("status", tmp_path / "out").stdout.startswith("slow: 2 repeats: 0 running, 2 left (1 interrupted)\n")
