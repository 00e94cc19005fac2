"""zo2 run and zo2 report on the quick experiment's small variant."""

import base64
import csv
import html.parser
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import BINARY, ROOT

QUICK = ROOT / "experiments" / "quick.yaml"
FAST = ["--variant", "small", "-S", "train.steps=2", "-S", "train.warmup=1"]


def results(out):
    return {path.parts[-3].rsplit("-", 1)[0]: json.loads(path.read_text()) for path in out.glob("cells/*/*/result.json")}


@pytest.fixture(scope="module")
def finished(zo2, tmp_path_factory):
    out = tmp_path_factory.mktemp("quick") / "out"
    summary = json.loads(zo2("run", QUICK, "--out", out, *FAST, "--json").stdout)
    return out, summary


def test_a_sweep_leaves_complete_records(finished):
    out, summary = finished
    assert [repeat["state"] for repeat in summary["repeats"]] == ["ok"] * 3 + ["projected"] * 2
    for folder in (out / repeat["folder"] for repeat in summary["repeats"]):
        names = {path.name for path in folder.iterdir()}
        assert {"config.json", "env.json", "result.json", "stdout.log", "stderr.log"} <= names
        result = json.loads((folder / "result.json").read_text())
        assert result["metrics"]["host_rss_peak_bytes"] > 0
        assert result["config_hash"] == json.loads((folder / "config.json").read_text())["config_hash"]
        if result["state"] == "ok":
            samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
            assert [sample["step"] for sample in samples if sample["kind"] == "step"] == [0, 1]


def test_the_report_shows_measured_equal_and_projected(zo2, finished):
    out, _ = finished
    text = zo2("report", out).stdout
    for part in ("Measured", "opt-125m  zo2", "PASS", "zo2/resident", "projected NVML MiB", "18.04 GB", "Expectations"):
        assert part in text
    report = json.loads(zo2("report", out, "--json").stdout)
    assert report["equality"][0]["verdict"] == "PASS", report["equality"]
    assert {ratio["methods"] for ratio in report["ratios"]} == {"resident/mezo", "zo2/mezo", "zo2/resident"}
    published = [figure for figure in report["beside"] if figure["theirs"]["origin"] == "published"]
    assert [(figure["theirs"]["value"], figure["verdict"]) for figure in published] == [(3.75, "better"), (18.04, "better")]


def test_the_report_has_other_formats(zo2, finished):
    out, _ = finished
    assert json.loads(zo2("report", out, "--format", "json").stdout) == json.loads(zo2("report", out, "--json").stdout)
    assert "## Expectations\n\n| cell |" in zo2("report", out, "--format", "markdown").stdout
    rows = list(csv.DictReader(zo2("report", out, "--format", "csv", "--table", "expect").stdout.splitlines()))
    assert {row["verdict"] for row in rows} == {"PASS"} and rows[0]["cell"] == "opt-175b-zo2"
    blocks = zo2("report", out, "--format", "csv").stdout.split("\n\n")
    assert len(blocks) > 3 and all(block.startswith("# ") for block in blocks)
    assert "no table 'nothing'" in zo2("report", out, "--table", "nothing", code=2).stderr


class Outline(html.parser.HTMLParser):
    """Whether every element that is opened is closed, in order, and what the page refers to."""

    EMPTY = {"meta", "img"}

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.references = [], set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.references += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_stands_alone(zo2, finished):
    out, _ = finished
    subprocess.run([sys.executable, "-m", "plots", out, "--only", "memory_table"], check=True, cwd=ROOT)
    page = zo2("report", out, "--html").stdout
    assert page == zo2("report", out, "--format", "html").stdout
    outline = Outline(page)
    assert outline.open == []
    figures = [reference for reference in outline.references if reference.startswith("data:")]
    assert base64.b64decode(figures[0].split(",")[1]) == (out / "plots" / "memory_table.png").read_bytes()
    assert len(figures) == 1 and all(r[0] == "#" and r[1:] in outline.ids for r in outline.references if r not in figures)
    assert f"zo2 run experiments/quick.yaml {' '.join(FAST)} --out DIR" in page
    for part in ("opt-125m-zo2 r0: ok", "Expectations", "cpu_model", '<td class="pass">PASS</td>'):
        assert part in page
    shutil.rmtree(out / "plots")
    assert "python -m plots" in zo2("report", out, "--html").stderr


def test_check_prints_verdicts_and_fails_when_one_does(zo2, finished, tmp_path):
    out, _ = finished
    assert zo2("check", out, "--strict").stdout.endswith("0 FAIL, 0 NOT-COMPARABLE, 0 MISSING: holds\n")
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    result_file = next(copy.glob("cells/opt-125m-zo2-*/r0/result.json"))
    result = json.loads(result_file.read_text())
    result["metrics"]["gradient_nonzero_fraction"] = 0.5
    result["hashes"]["final_weights"] = "0" * 64
    result_file.write_text(json.dumps(result))
    verdicts = json.loads(zo2("check", copy, "--json", code=1).stdout)
    assert not verdicts["holds"] and verdicts["counts"]["FAIL"] == 2
    assert verdicts["equality"][0]["reason"] == "final_weights differ"
    shutil.rmtree(result_file.parent)
    footer = zo2("check", copy).stdout.splitlines()[-1]
    assert "no record yet of opt-125m-zo2" in footer and footer.endswith(": holds, with gaps that --strict refuses")
    assert zo2("check", copy, "--strict", code=1).stdout.endswith(": does not hold\n")
    assert "no records" in zo2("check", tmp_path, code=2).stderr


@pytest.mark.parametrize(("state", "expected", "code"), [("oom", False, 0), ("interrupted", False, 0), ("crashed", False, 1),
                                                          ("oom", True, 1), ("interrupted", True, 0)])
def test_a_run_without_the_memory_or_without_an_end_breaks_no_promise_of_others(zo2, finished, tmp_path, state, expected,
                                                                               code):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    result_file = next(copy.glob("cells/opt-125m-resident-*/r0/result.json"))
    result = json.loads(result_file.read_text())
    result_file.write_text(json.dumps(result | {"state": state, "error": "invented", "metrics": {}}))
    experiment = json.loads((copy / "experiment.json").read_text())
    experiment["expect"] = [{"where": {"method.name": ["resident"]}, "metric": "tokens_per_s", "written": "at least 1",
                             "at_least": 1, "source": "us"}] * expected
    (copy / "experiment.json").write_text(json.dumps(experiment))
    verdicts = json.loads(zo2("check", copy, "--json", code=code).stdout)
    assert verdicts["holds"] == (code == 0) and verdicts["counts"]["MISSING"] == 1 + expected
    zo2("check", copy, "--strict", code=1)


def test_finished_repeats_are_reused(zo2, finished):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/result.json")}
    summary = json.loads(zo2("run", QUICK, "--out", out, *FAST, "--json").stdout)
    assert all(repeat["reused"] for repeat in summary["repeats"])
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/result.json")}


def test_every_mistake_of_a_manifest_is_named_with_its_place(zo2, tmp_path):
    manifest = tmp_path / "bad.yaml"
    manifest.write_text("name: bad\ndefaults:\n  method: {learning_rate: 1, eps: -1}\n  data: {seq: many}\nmatriks: {}\n")
    errors = zo2("run", manifest, "--out", tmp_path / "out", code=2).stderr
    assert f"{manifest}:3:12: unknown key 'method.learning_rate': did you mean 'method.lr'?" in errors
    assert f"{manifest}:3:35: method.eps: expected a number" in errors
    assert f"{manifest}:4:15: data.seq: expected an integer" in errors
    assert f"{manifest}:5:1: unknown key 'matriks': did you mean 'matrix'?" in errors
    assert not (tmp_path / "out").exists()
    assert "cannot read" in zo2("run", tmp_path / "absent.yaml", "--out", tmp_path / "out", code=2).stderr
    assert "no variant 'tiny'" in zo2("run", QUICK, "--out", tmp_path / "out", "--variant", "tiny", code=2).stderr
    assert "no records" in zo2("report", tmp_path, code=2).stderr


def test_a_folder_of_figures_that_is_not_there_is_refused(zo2, finished, tmp_path):
    out, _ = finished
    assert f"no folder {tmp_path / 'absent'}" in zo2("report", out, "--reference", tmp_path / "absent", code=2).stderr
    assert "Beside" not in zo2("report", out, "--reference", tmp_path).stdout, "an empty one has no figures"


def test_an_output_that_cannot_be_written_is_an_error(zo2, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot make the folder" in zo2("run", QUICK, "--out", tmp_path / "file" / "out", *FAST, code=2).stderr


def start_long_run(out):
    """A run that would take long, once its first cell has begun; returns the runner and that cell's process."""
    runner = subprocess.Popen([BINARY, "run", QUICK, "--out", out, "--variant", "small", "-S", "train.steps=100000"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
                command = (stat.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == runner.pid and b"cell" in command and any(out.glob("cells/*/*/samples.jsonl")):
                return runner, int(stat.parent.name)
        time.sleep(0.02)
    runner.kill()
    raise AssertionError(f"no cell has begun: {runner.communicate()}")


def test_an_interruption_finishes_the_record(tmp_path):
    runner, _ = start_long_run(tmp_path / "out")
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=60)
    assert runner.returncode == 130
    states = [result["state"] for result in results(tmp_path / "out").values()]
    assert states == ["interrupted"]


def test_a_killed_runner_takes_its_cell_with_it(tmp_path):
    runner, cell = start_long_run(tmp_path / "out")
    runner.kill()
    runner.communicate()
    for _ in range(500):
        try:
            state = pathlib.Path(f"/proc/{cell}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.02)
    else:
        os.kill(cell, signal.SIGKILL)
        raise AssertionError("the cell outlived its runner")
    assert not results(tmp_path / "out"), "no record is half-written"
