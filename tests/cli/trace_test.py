"""Traces: what `zo2 train --trace` and a traced cell write, and what `zo2 trace` says about it."""

import json

import pytest

TRAIN = ["train", "--model", "opt-125m", "--seq", 8, "--dtype", "bf16", "--threads", 2]
LANES = ["upload", "compute", "download"]


@pytest.fixture(scope="module")
def traced(zo2, tmp_path_factory):
    """The folder of a run of four steps whose last two were traced."""
    out = tmp_path_factory.mktemp("trace") / "out"
    zo2(*TRAIN, "--steps", 4, "--trace", 2, "--out", out)
    return out


def events_of(folder):
    return json.loads((folder / "trace.json").read_text())["traceEvents"]


def check_trace_event_format(trace):
    """What Chrome's trace event format asks of complete ("X") and metadata ("M") events, the only ones that we write."""
    assert set(trace) == {"displayTimeUnit", "traceEvents"} and trace["displayTimeUnit"] in ("ms", "ns")
    last = {}
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str) and isinstance(event["args"], dict)
        assert type(event["pid"]) is int and type(event["tid"]) is int
        if event["ph"] == "M":
            assert set(event) == {"name", "ph", "pid", "tid", "args"}
            assert event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
            assert not last, "names come before what they name"
            continue
        assert event["ph"] == "X" and set(event) == {"name", "ph", "pid", "tid", "ts", "dur", "args"}
        assert all(isinstance(event[key], (int, float)) and event[key] >= 0 for key in ("ts", "dur"))
        assert event["ts"] >= last.get(event["tid"], 0), "in order of their begin"
        last[event["tid"]] = event["ts"]


def test_the_file_is_a_chrome_trace_with_named_lanes(traced):
    check_trace_event_format(json.loads((traced / "trace.json").read_text()))
    events = events_of(traced)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names == dict(enumerate(LANES))
    assert [event["args"]["name"] for event in events if event["name"] == "process_name"] == ["zo2"]
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) + len(names) + 1 == len(events)
    assert {span["args"]["step"] for span in spans} == {2, 3}
    assert min(span["ts"] for span in spans) == 0
    for span in spans:
        assert isinstance(span["name"], str) and span["pid"] == 1 and span["tid"] in names
        assert span["ts"] >= 0 and span["dur"] >= 0
        lane = span["name"] if span["name"] in ("upload", "download") else "compute"
        assert names[span["tid"]] == lane
        assert ("bytes" in span["args"]) == (lane != "compute")
    assert {"visit", "linear", "attention", "upload", "download"} <= {span["name"] for span in spans}
    for lane in names:  # a thread runs one operation at a time; 1 ns for the rounding of microseconds
        row = sorted((span for span in spans if span["tid"] == lane), key=lambda span: span["ts"])
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-3 for a, b in zip(row, row[1:]))


def length(spans):
    """Of the union of the spans' times."""
    total, end = 0.0, 0.0
    for span in sorted(spans, key=lambda span: span["ts"]):
        total += max(0.0, span["ts"] + span["dur"] - max(end, span["ts"]))
        end = max(end, span["ts"] + span["dur"])
    return total


def test_the_figures_are_those_of_the_file(zo2, traced):
    figures = json.loads(zo2("trace", traced, "--json").stdout)
    spans = [event for event in events_of(traced) if event["ph"] == "X"]
    lane = {name: [span for span in spans if span["tid"] == tid] for tid, name in enumerate(LANES)}
    wall = max(span["ts"] + span["dur"] for span in spans)
    exposed = length(spans) - length(lane["compute"])
    transfer = length(lane["upload"] + lane["download"])
    assert figures["steps"] == 2 and figures["operations"] == len(spans)
    assert figures["wall_ms"] == pytest.approx(wall / 1e3)
    for name in LANES:
        assert figures[f"{name}_ms"] == pytest.approx(length(lane[name]) / 1e3)
    assert figures["exposed_ms"] == pytest.approx(exposed / 1e3, abs=1e-6)
    assert figures["exposed_transfer_fraction"] == pytest.approx(exposed / transfer, abs=1e-6)
    assert figures["busiest_stream_fraction"] == pytest.approx(max(map(length, lane.values())) / wall)


def test_the_file_can_be_named_itself_and_people_learn_where_to_open_it(zo2, traced):
    of_folder = zo2("trace", traced)
    assert zo2("trace", traced / "trace.json").stdout == of_folder.stdout
    for part in ("wall", "upload busy", "compute busy", "download busy", "exposed transfers", "busiest", "2 steps"):
        assert part in of_folder.stdout
    assert "https://ui.perfetto.dev" in of_folder.stderr
    assert zo2("trace", traced, "--json").stderr == ""


def test_what_is_no_trace_is_refused_by_name(zo2, traced, tmp_path):
    assert "no trace.json: train with --trace" in zo2("trace", tmp_path, code=2).stderr
    assert "none.json" in zo2("trace", tmp_path / "none.json", code=2).stderr
    (tmp_path / "torn.json").write_bytes((traced / "trace.json").read_bytes()[:-100])
    assert "torn.json is not valid JSON" in zo2("trace", tmp_path / "torn.json", code=2).stderr
    assert "result.json is no trace" in zo2("trace", traced / "result.json", code=2).stderr
    (tmp_path / "foreign.json").write_text('{"traceEvents": [{"name": "cudaMemcpy", "ph": "X", "tid": 1, "args": {"step": 1}}]}')
    assert "event 0: no operation is called 'cudaMemcpy'" in zo2("trace", tmp_path / "foreign.json", code=2).stderr


def test_a_trace_needs_a_folder_and_a_program(zo2, tmp_path):
    assert "--out" in zo2(*TRAIN, "--steps", 2, "--trace", 1, code=2).stderr
    out = tmp_path / "mezo"
    done = zo2(*TRAIN, "--steps", 2, "--trace", 1, "--method", "mezo", "--out", out)
    assert "no trace.json: method mezo" in done.stderr
    assert not (out / "trace.json").exists()


def test_a_run_resumed_past_the_window_says_that_nothing_was_traced(zo2, tmp_path):
    out = tmp_path / "out"
    zo2(*TRAIN, "--steps", 20, "--out", out)
    done = zo2(*TRAIN, "--steps", 22, "--trace", 2, "--out", out)
    assert "no trace.json: steps 13 to 14 were run before" in done.stderr


def test_a_traced_cell_has_the_file_and_the_figures(zo2, tmp_path):
    (tmp_path / "manifest.yaml").write_text("""\
name: traced
defaults:
  model: {name: opt-125m}
  data: {seq: 8}
  train: {steps: 4, warmup: 2}
  engine: {device: cpu, dtype: bf16, threads: 2, trace: 1}
""")
    out = tmp_path / "out"
    zo2("run", tmp_path / "manifest.yaml", "--out", out)
    (repeat,) = out.glob("cells/*/r*")
    assert {event["args"]["step"] for event in events_of(repeat) if event["ph"] == "X"} == {1}
    metrics = json.loads((repeat / "result.json").read_text())["metrics"]
    figures = json.loads(zo2("trace", repeat, "--json").stdout)
    for name in ("exposed_transfer_fraction", "busiest_stream_fraction"):
        assert metrics[name] == pytest.approx(figures[name]), name
    # The CPU has no link: nothing is said about it, rather than zero.
    assert not {"copies_only_ms", "roofline_efficiency"} & set(metrics)
