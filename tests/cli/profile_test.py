"""`zo2 profile`: the steps it captures, the command lines it gives to Nsight, and our own trace where that is missing.

Nsight is replaced by recording stand-ins: programs of the same names that note their arguments, run the program that
they are given and leave an empty file where the real ones leave a report.
"""

import json
import os
import stat

import pytest
from conftest import BINARY

RECORDER = BINARY.parent / "tests" / "libnvtx_recorder.so"
MANIFEST = """\
name: profiled
defaults:
  model: {name: opt-125m}
  data: {seq: 8}
  train: {steps: 6, warmup: 2, eval_every: 1}
  engine: {device: cpu, dtype: bf16, threads: 2}
matrix:
  engine.slots: [3, 4]
"""
STANDIN = """\
#!/usr/bin/env python3
# A recording stand-in for Nsight: not a profiler.
import json, pathlib, subprocess, sys
arguments = sys.argv[1:]
program = arguments.index("PROGRAM")
pathlib.Path("RECORD").write_text(json.dumps(arguments))
code = subprocess.run(arguments[program:]).returncode
pathlib.Path("REPORT").touch()
sys.exit(code)
"""
SUFFIX = {"nsys": "nsys-rep", "ncu": "ncu-rep"}


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def standin(tmp_path):
    """Puts a stand-in on the path; returns the environment and the file that it records to."""

    def make(tool, report):
        folder = tmp_path / "standins"
        folder.mkdir()
        text = STANDIN.replace("PROGRAM", str(BINARY.resolve())).replace("RECORD", str(tmp_path / "arguments.json"))
        program = folder / tool
        program.write_text(text.replace("REPORT", str(report)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}, tmp_path / "arguments.json"

    return make


@pytest.fixture
def without_nsight(tmp_path):
    return os.environ | {"PATH": str(tmp_path)}


def test_nsight_systems_captures_by_our_range_to_the_end(zo2, manifest, standin, tmp_path):
    out = tmp_path / "out"
    environment, record = standin("nsys", out / "profile.nsys-rep")
    done = zo2("profile", manifest, "opt-125m-zo2-slots3", "--out", out, "--", "--gpu-metrics-devices=all",
               env=environment)
    arguments = json.loads(record.read_text())
    assert arguments[0] == "profile"
    assert {"--trace=cuda,nvtx", "--cuda-graph-trace=node", "--capture-range=nvtx", "--nvtx-capture=capture@zo2",
            "--capture-range-end=none", "--env-var=NSYS_NVTX_PROFILER_REGISTER_ONLY=0", f"--output={out}/profile"} <= set(arguments)
    program = arguments.index(str(BINARY.resolve()))
    assert arguments[program - 1] == "--gpu-metrics-devices=all", "what follows -- goes to the tool"
    assert arguments[program:] == [str(BINARY.resolve()), "cell", str(out), "--capture", "2:4"]
    assert f"{out}/profile.nsys-rep with nsys-ui" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("command: ")]
    assert line.split()[1:] == [str(tmp_path / "standins" / "nsys"), *arguments], "the exact command"


def test_nsight_compute_filters_kernels_by_our_range(zo2, manifest, standin, tmp_path):
    out = tmp_path / "out"
    environment, record = standin("ncu", out / "profile.ncu-rep")
    profile = ["profile", manifest, "opt-125m-zo2-slots4", "--tool", "ncu", "--steps", "1:2", "--out", out]
    done = zo2(*profile, "--json", "--", "--kernel-name", "regex:visit|head", env=environment)
    arguments = json.loads(record.read_text())
    at = arguments.index("--nvtx-include")
    assert "--nvtx" in arguments and arguments[at + 1] == "zo2@capture/"
    assert arguments[arguments.index("--export") + 1] == f"{out}/profile"
    cell = [str(BINARY.resolve()), "cell", str(out), "--capture", "1:2"]
    assert arguments[-7:] == ["--kernel-name", "regex:visit|head", *cell]
    result = json.loads(done.stdout)
    assert result["command"] == [str(tmp_path / "standins" / "ncu"), *arguments]
    assert result["tool"] == "ncu" and result["steps"] == [1, 2] and result["file"] == f"{out}/profile.ncu-rep"
    assert "'regex:visit|head'" in zo2(*profile, "--", "--kernel-name", "regex:visit|head", env=environment).stdout, (
        "the command can be pasted into a shell")


def test_the_range_lies_around_the_steps_and_the_run_ends_with_them(zo2, manifest, standin, tmp_path):
    if not RECORDER.exists():
        pytest.skip("skipped: the tests are not built, or without NVTX's headers")
    out = tmp_path / "out"
    environment, _ = standin("nsys", out / "profile.nsys-rep")
    environment |= {"NVTX_INJECTION64_PATH": str(RECORDER), "ZO2_NVTX_RECORD": str(tmp_path / "ranges")}
    zo2("profile", manifest, "opt-125m-zo2-slots3", "--steps", "2:4", "--out", out, "-S", "train.steps=8",
        "-S", "train.stop_within=0.5", env=environment)
    lines = [line.split("\t") for line in (tmp_path / "ranges").read_text().splitlines()]
    times = {(name, int(payload)): (int(begin), int(end)) for domain, name, payload, _, closed, begin, end in lines
             if domain == "zo2" and name in ("step", "capture") and closed == "closed"}
    assert set(times) == {("step", 0), ("step", 1), ("step", 2), ("step", 3), ("capture", 2)}
    begin, end = times["capture", 2]
    assert times["step", 1][1] <= begin <= times["step", 2][0], "no other step is under way when it opens"
    assert times["step", 3][1] <= end
    config = json.loads((out / "config.json").read_text())["config"]
    assert config["train"]["steps"] == 4 and config["train"]["eval_every"] == 0
    assert config["train"]["stop_within"] == 0, "nothing ends it before the steps"
    assert config["engine"]["slots"] == 3, "all else is the cell's"


def test_without_nsight_our_own_trace_has_the_same_steps(zo2, manifest, without_nsight, tmp_path):
    out = tmp_path / "out"
    done = zo2("profile", manifest, "opt-125m-zo2-slots3", "--steps", "1:3", "--out", out, env=without_nsight)
    assert "nsys is not on the path: our own trace" in done.stderr
    events = json.loads((out / "trace.json").read_text())["traceEvents"]
    assert {event["args"]["step"] for event in events if event["ph"] == "X"} == {1, 2}
    assert "https://ui.perfetto.dev" in done.stdout and f"zo2 trace {out}" in done.stdout
    assert "is not on the path" in zo2("profile", manifest, "opt-125m-zo2-slots3", "--tool", "ncu", "--out", out, "--",
                                       "--launch-count", 3, code=2, env=without_nsight).stderr


def test_a_cell_that_was_run_is_profiled_as_it_was(zo2, manifest, tmp_path):
    records = tmp_path / "records"
    zo2("run", manifest, "--out", records, "-S", "train.steps=2", "-S", "train.warmup=1", "-S", "method.eps=2e-3")
    (folder,) = records.glob("cells/opt-125m-zo2-slots4-*")
    request = json.loads((folder / "r0" / "config.json").read_text())
    before = (folder / "r0" / "result.json").read_bytes()
    # A record that is older than a key has its default.
    del request["config"]["engine"]["overlap"]
    (folder / "r0" / "config.json").write_text(json.dumps(request))
    for name in (request["slug"], folder.name, "*-slots4", request["config_hash"][:12]):
        out = tmp_path / "out"
        zo2("profile", records, name, "--tool", "trace", "--steps", "0:1", "--out", out)
        config = json.loads((out / "config.json").read_text())["config"]
        assert config["method"]["eps"] == 2e-3 and config["engine"]["slots"] == 4 and config["engine"]["overlap"] is True
    assert (folder / "r0" / "result.json").read_bytes() == before, "the record stays"
    (folder / "r0").rename(folder / "r1")
    zo2("profile", records, request["slug"], "--tool", "trace", "--steps", "0:1", "--out", tmp_path / "out")


def test_a_failed_run_is_said_with_where_to_look(zo2, manifest, standin, tmp_path):
    out = tmp_path / "out"
    environment, _ = standin("nsys", tmp_path / "elsewhere")  # leaves no report
    done = zo2("profile", manifest, "opt-125m-zo2-slots3", "--steps", "0:1", "--out", out, code=3, env=environment)
    assert "no " in done.stderr and "profile.nsys-rep" in done.stderr and "stderr.log" in done.stderr


def test_a_cell_that_selects_and_tests_runs_its_steps_only(zo2, manifest, without_nsight, tmp_path):
    pytest.importorskip("tokenizers")
    from task_folder import write_task

    task = write_task(tmp_path / "task", [([([2, 5, 7, 9], 2), ([2, 5, 8], 2)], [0])] * 3,
                      splits=("train", "dev", "eval"))
    manifest.write_text(MANIFEST.replace("{seq: 8}", f"{{kind: task, path: {task}}}").replace(
        "eval_every: 1", "eval_every: 1, select: dev_loss, objective: candidates"))
    out = tmp_path / "out"
    zo2("profile", manifest, "opt-125m-zo2-slots3", "--steps", "0:2", "--out", out, env=without_nsight)
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sample["kind"] for sample in samples] == ["step", "step"], "no evaluations"
    assert "accuracy" not in (out / "reported.json").read_text(), "no test"


@pytest.mark.parametrize("arguments, message", [
    (["opt-125m-zo2"], "opt-125m-zo2-slots3"),  # names those that there are
    (["opt-125m-zo2-slots3", "--steps", "3:3"], "FIRST:END with 0 <= FIRST < END"),
    (["opt-125m-zo2-slots3", "--steps", "3"], "FIRST:END"),
    (["opt-125m-zo2-slots3", "--tool", "perf"], "nsys"),
    (["opt-125m-mezo-slots3", "-S", "method.name=mezo", "--tool", "trace"], "method mezo runs no program"),
    (["opt-125m-zo2-slots3", "-S", "engine.project=true"], "is a forecast"),
    (["opt-125m-external-slots3", "-S", "method.name=external", "-S", 'method.command=["true"]'], "another program")])
def test_bad_usage_is_refused(zo2, manifest, tmp_path, arguments, message):
    done = zo2("profile", manifest, *arguments, "--out", tmp_path / "out", code=2)
    assert message in done.stderr
    assert not (tmp_path / "out").exists(), "nothing half-made"
