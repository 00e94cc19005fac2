"""What zo2 run runs: --only, --exclude, --shard, --repeats, --timeout, --rerun, --retry-failed. Forecast cells, which are quick."""

import json
import subprocess

import pytest
from conftest import BINARY

MANIFEST = """
name: options
defaults: {engine.project: true, engine.dtype: fp16}
matrix: {model.name: [opt-125m, opt-350m], method.name: [zo2, resident]}
repeats: 2
"""


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(MANIFEST)
    return path


def records(out):
    """(slug, repeat) of each record."""
    configs = [json.loads((path.parent / "config.json").read_text()) for path in out.glob("cells/*/r*/result.json")]
    return sorted((config["slug"].removesuffix("-projected"), config["repeat"]) for config in configs)


def test_only_exclude_and_repeats_select(zo2, manifest, tmp_path):
    out = tmp_path / "out"
    zo2("run", manifest, "--out", out, "--only", "opt-125m-*", "--exclude", "method.name=resident", "--repeats", 2)
    assert records(out) == [("opt-125m-zo2", 0), ("opt-125m-zo2", 1)]
    assert "--only model.nam=x: unknown key" in zo2("run", manifest, "--out", out, "--only", "model.nam=x", code=2).stderr
    assert "none of the 4 cells" in zo2("run", manifest, "--out", out, "--only", "x*", code=2).stderr
    assert "expected i/n" in zo2("run", manifest, "--out", out, "--shard", "5/4", code=2).stderr


def test_shards_share_a_folder_at_the_same_time(manifest, tmp_path):
    out = tmp_path / "out"
    shards = [subprocess.Popen([BINARY, "run", manifest, "--out", out, "--shard", f"{i}/2", "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in (1, 2)]
    summaries = []
    for shard in shards:
        stdout, stderr = shard.communicate(timeout=120)
        assert shard.returncode == 0, stderr
        summaries.append(json.loads(stdout))
    assert [len(summary["repeats"]) for summary in summaries] == [4, 4]
    assert not any(repeat["reused"] for summary in summaries for repeat in summary["repeats"])
    assert records(out) == sorted((f"{model}-{method}", repeat) for model in ("opt-125m", "opt-350m")
                                  for method in ("zo2", "resident") for repeat in range(2))


def test_the_folder_tells_what_options_changed(zo2, manifest, tmp_path):
    out = tmp_path / "out"
    zo2("run", manifest, "--out", out, "--repeats", 1, "--timeout", 60)
    assert json.loads((out / "experiment.json").read_text())["over"] == {"repeats": 1, "timeout": 60}
    assert "zo2 run options.yaml --repeats 1 --timeout 60.0 --out DIR" in zo2("report", out, "--html").stdout
    # Shards that are started alike share the folder.
    zo2("run", manifest, "--out", out, "--repeats", 1, "--timeout", 60, "--shard", "1/2")
    zo2("run", manifest, "--out", out)
    assert "over" not in json.loads((out / "experiment.json").read_text())


def test_a_failure_stays_until_asked_to_retry(zo2, tmp_path):
    manifest = tmp_path / "slow.yaml"
    manifest.write_text("name: slow\ndefaults: {data.seq: 8, engine.device: cpu, engine.dtype: fp32, train.steps: 1000000}\n")
    arguments = ["run", manifest, "--out", tmp_path / "out", "--timeout", 0.5, "--json"]

    def run(*more):
        done = zo2(*arguments, *more, code=3)
        repeat, = json.loads(done.stdout)["repeats"]
        assert repeat["state"] == "timeout"
        return repeat["reused"], done.stderr

    assert run()[0] is False
    reused, stderr = run()
    assert reused is True
    assert "--retry-failed" in stderr
    assert run("--retry-failed")[0] is False


def test_rerun_runs_what_is_finished(zo2, manifest, tmp_path):
    out = tmp_path / "out"
    zo2("run", manifest, "--out", out, "--repeats", 1)
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/result.json")}
    summary = json.loads(zo2("run", manifest, "--out", out, "--repeats", 1, "--rerun", "--json").stdout)
    assert not any(repeat["reused"] for repeat in summary["repeats"])
    after = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/result.json")}
    assert before.keys() == after.keys()
    assert all(after[path] > before[path] for path in before)
