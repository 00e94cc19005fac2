"""The figures, from small folders of records whose numbers are invented (SYNTHETIC in every name)."""

import gzip
import itertools
import json
import pathlib
import subprocess
import sys

import numpy
import pytest
from synthetic import MIB, ROOT, TASK, TESTED, add, results_of, step

from plots import __main__ as program
from plots import ablation, bars, forecast, intervals, loss, memory_table, overlap, series, style
from plots import text, throughput, waterfall
from plots.records import NothingToDraw, read_figures, read_records


def big(model, **config):
    """The shape of the published table."""
    return {"model.name": model, "model.tie_embeddings": False, "engine.dtype": "fp16", "data.seq": 2048} | config


@pytest.fixture
def sweep(tmp_path):
    """Records that allow every figure."""
    h100 = {"device": "cuda", "gpu": "NVIDIA H100 80GB HBM3"}
    for model, parameters, speed in (("opt-1.3b", 1.3e9, 30_000), ("opt-13b", 13e9, 3_000)):
        measured = {"tokens_per_s": speed, "nvml_step_peak_bytes": 1500 * MIB, "parameters": int(parameters),
                    "upload_bytes_per_step": int(2 * parameters), "resident_bytes": 0}
        add(tmp_path, big(model), metrics=measured, **h100)
        add(tmp_path, big(model, **{"engine.project": True}), state="projected",
            metrics={"tokens_per_s": speed * 1.1, "nvml_projected_bytes": 1600 * MIB})
    losses = [step(number, 11.0 - 0.1 * number, 11.1 - 0.1 * number) for number in range(3)]
    for method in ("mezo", "resident", "zo2"):
        add(tmp_path, {"method.name": method}, repeats=2, samples=losses,
            metrics={"tokens_per_s": [90, 91], "arena_bytes": 30 * MIB})
    add(tmp_path, {"engine.slots": 3}, metrics={"tokens_per_s": 80, "arena_bytes": 20 * MIB})
    path = add(tmp_path, {"engine.slots": 3, "engine.head": "full"},
               metrics={"tokens_per_s": 70, "arena_bytes": 60 * MIB})
    spans = [(0, "upload", 0, 50), (1, "visit", 50, 10), (1, "linear", 61, 30), (2, "download", 61, 40)]
    events = [{"ph": "M", "name": "thread_name", "pid": 1, "tid": 0, "args": {"name": "upload"}}]
    events += [{"ph": "X", "pid": 1, "tid": tid, "name": name, "ts": at + 200 * number, "dur": length + number,
                "args": {"step": number}} for number in range(2) for tid, name, at, length in spans]
    with gzip.open(path / "trace.json.gz", "wt") as stream:
        json.dump({"traceEvents": events}, stream)
    add(tmp_path, TASK, metrics=TESTED, samples=[{"kind": "eval", "step": 10, "loss": 0.4}])
    return tmp_path


def test_every_figure_is_written_as_png_and_pdf_with_its_fonts(sweep, capsys):
    assert program.main([str(sweep)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    written = {pathlib.Path(line).name for line in printed.out.splitlines()}
    for name in ("memory_table", "throughput", "waterfall", "ablation_slots", "ablation_method", "overlap", "loss",
                 "forecast", "accuracy"):
        assert {f"{name}.png", f"{name}.pdf"} <= written
        assert (sweep / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        pdf = (sweep / "plots" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"/Type3" not in pdf, name


def test_equal_records_make_equal_files(sweep, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        assert program.main([str(sweep), "--out", str(out), "--only", "ablation", "--only", "memory_table"]) == 0
    files = sorted(path.name for path in first.iterdir())
    assert len(files) > 4
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)


def test_figures_fit_a_column_or_the_page(sweep):
    results = results_of(sweep)
    widths = {name: {figure.get_figwidth() for figure in module.draw(results).values()}
              for name, module in program.FIGURES.items()}
    assert set.union(*widths.values()) == {3.33, 7.0}
    assert widths["memory_table"] == widths["throughput"] == widths["ablation"] == {3.33}
    assert widths["overlap"] == widths["waterfall"] == {7.0}
    style.plt.close("all")


def test_what_the_records_do_not_allow_is_said_with_the_reason(tmp_path, capsys):
    add(tmp_path, metrics={"tokens_per_s": 1})
    assert program.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [f"no {name}" for name in program.FIGURES]
    assert any("engine.trace" in line for line in lines) and any("engine.project" in line for line in lines)
    assert program.main([str(tmp_path), "--only", "loss"]) == 1, "a figure that was asked for is missing"
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_bad_usage_and_input_are_clear_errors(sweep, tmp_path, capsys):
    def error_of(*arguments):
        done = subprocess.run([sys.executable, "-m", "plots", *map(str, arguments)], cwd=ROOT, capture_output=True,
                              text=True)
        assert done.returncode == 2
        return done.stderr

    assert "holds no records" in error_of(tmp_path / "none")
    assert "--out" in error_of(sweep, sweep)
    assert "memory_table" in error_of(sweep, "--only", "memory-table"), "the names that there are"
    record = next(sweep.glob("cells/*/r0/result.json"))
    record.write_text("{")
    assert "result.json is not valid JSON" in error_of(sweep)


def test_memory_table_matches_published_figures_by_shape_and_marks_projections(tmp_path):
    sizes = {"1.3b": 1440, "13b": 1680, "175b": 2830}
    for size, mib in sizes.items():
        add(tmp_path, big(f"opt-{size}", **{"engine.project": True}), state="projected",
            metrics={"nvml_projected_bytes": mib * MIB})
    add(tmp_path, big("opt-13b", **{"engine.head": "full"}), metrics={"nvml_step_peak_bytes": 1600 * MIB})
    add(tmp_path, big("opt-30b", **{"data.seq": 1024}), state="projected", metrics={"nvml_projected_bytes": 1})
    add(tmp_path, big("opt-13b"), metrics={"nvml_step_peak_bytes": 1700 * MIB})
    add(tmp_path, big("opt-13b", **{"engine.host": "staged"}), metrics={"nvml_step_peak_bytes": 1650 * MIB})
    add(tmp_path, big("opt-13b", **{"engine.gpu_memory": 4 * 2**30}), metrics={"nvml_step_peak_bytes": 4000 * MIB})
    rows = memory_table.rows(results_of(tmp_path))
    assert [row.size for row in rows] == ["1.3B", "13B", "175B"], "other shapes have no published figure"
    assert rows[2].published == pytest.approx(18.04e9), "GB is read as 10^9"
    assert rows[1].python == 5975 * MIB and rows[2].python is None
    assert [row.projected for row in rows] == [True, False, True], "measured beats projected"
    assert rows[1].ours == 1700 * MIB, "the first measured cell at the smallest arena"
    drawing = memory_table.draw(results_of(tmp_path))["memory_table"]
    assert any("PROJECTED" in label.get_text() for label in drawing.legends[0].get_texts())
    style.plt.close(drawing)


def test_only_the_last_runs_cells_are_read_in_its_order(sweep):
    cells = json.loads((sweep / "experiment.json").read_text())["cells"]
    chosen = [cells[3], cells[0]]
    (sweep / "experiment.json").write_text(json.dumps({"cells": chosen}))
    assert [record.config_hash for record in read_records(sweep)] == [cell["config_hash"] for cell in chosen]


def test_a_throttled_repeat_has_memory_but_no_speed_and_a_failed_one_nothing(tmp_path):
    metrics = {"tokens_per_s": 1, "arena_bytes": 2}
    add(tmp_path, {"engine.slots": 2}, state="throttled", metrics=metrics)
    add(tmp_path, {"engine.slots": 3}, state="oom", metrics=metrics)
    throttled, failed = results_of(tmp_path).cells
    assert throttled.values("arena_bytes") == [2] and throttled.values("tokens_per_s") == []
    assert failed.values("arena_bytes") == []


def test_a_first_repeat_that_failed_does_not_lose_the_cell(tmp_path):
    losses = [step(0, 11.0, 11.1)]
    for method in ("zo2", "mezo"):
        for model in ("opt-125m", "opt-1.3b"):
            path = add(tmp_path, {"method.name": method, "model.name": model}, repeats=2, samples=losses,
                       metrics={"tokens_per_s": 5, "parameters": 1})
            result = json.loads((path / "result.json").read_text())
            (path / "result.json").write_text(json.dumps(result | {"state": "crashed", "metrics": {}}))
    results = results_of(tmp_path)
    assert [cell.first.repeat for cell in results.cells] == [1] * 4
    (curves,) = throughput.series_by_shape(results).values()
    assert set(curves) == {"zo2, K = 1", "mezo"} and all(len(cells) == 2 for cells in curves.values())
    assert len(loss.groups(results)) == 2
    add(tmp_path, {"engine.slots": 9}, state="crashed")
    assert results_of(tmp_path).cells[-1].first.state == "crashed", "where all failed"


def test_figures_are_read_as_the_program_reads_them_and_mistakes_named_with_their_file(tmp_path):
    def write(value, more=""):
        (tmp_path / "r.yaml").write_text("common: {system: s, origin: published, model: m, metric: test_accuracy}\n"
                                         f"figures:\n  - {{value: {value}{more}}}\n")
        return read_figures(tmp_path)

    assert [write(value)[0].number for value in ("0.91", "91 %", "3.75 GB", "3.75GB", "1.5e3")] == pytest.approx(
        [0.91, 0.91, 3.75e9, 3.75e9, 1500])
    assert write("0.91", ", batch: 2")[0].shape == ("m", "", 2, 0, False)
    for value in ("many", "GB"):
        with pytest.raises(ValueError, match=f"r.yaml: value '{value}' is not a number"):
            write(value)
    for wrong, message in (("figures: [", "is not valid YAML"), ("figures: [{}]", "there is no 'value'"),
                           ("figures: 3", "not iterable"), ("", "not subscriptable")):
        (tmp_path / "r.yaml").write_text(wrong)
        with pytest.raises(ValueError, match=f"r.yaml.*{message}"):
            read_figures(tmp_path)
    path = add(tmp_path)
    (path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="r0/result.json: there is no 'config'"):
        read_records(tmp_path)


def test_nvml_readings_of_a_shared_gpu_are_left_out(tmp_path):
    add(tmp_path, metrics={"tokens_per_s": 1, "nvml_step_peak_bytes": 9, "arena_bytes": 2}, foreign_gpu_processes=1)
    (cell,) = results_of(tmp_path).cells
    assert cell.values("nvml_step_peak_bytes") == [] and bars.memory_metric([cell]) == "arena_bytes"


def test_ablations_are_the_keys_that_cells_differ_in_alone(tmp_path):
    def run(folder, config, speed):
        add(tmp_path / folder, config, metrics={"tokens_per_s": speed})

    run("a", {"engine.slots": 8}, 3)
    run("a", {"engine.slots": 4, "train.steps": 30, "engine.trace": 2}, 2)  # observed longer, not another thing
    run("a", {"engine.slots": 2, "engine.head": "full"}, 1)
    run("a", {"model.name": "opt-1.3b"}, 1)
    run("b", {"engine.slots": 16}, 9)
    found = ablation.groups_by_key(results_of(tmp_path / "a", tmp_path / "b"))
    assert list(found) == ["engine.slots"]
    (group,) = found["engine.slots"]
    assert [cell.first.get("engine.slots") for cell in group] == [4, 8], "of one sweep, in the order of the numbers"


def test_titles_of_an_ablation_tell_its_groups_apart(tmp_path):
    for host in ("registered", "staged"):
        for dtype in ("fp16", "bf16"):
            add(tmp_path, {"engine.host": host, "engine.dtype": dtype}, metrics={"tokens_per_s": 1})
    groups = ablation.groups_by_key(results_of(tmp_path))["engine.dtype"]
    assert ablation.titles_of("engine.dtype", groups) == [
        "OPT-125M, batch 1, sequence 128, host memory registered", "OPT-125M, batch 1, sequence 128, host memory staged"]


def test_below_five_repeats_all_values_are_shown_from_five_on_an_interval():
    assert intervals.interval([1.0, 2.0, 3.0, 4.0]) is None
    low, high = intervals.interval([10.0, 11.0, 12.0, 13.0, 50.0])
    assert 10 <= low < 12 < high <= 50
    assert intervals.interval([7.0] * 5) == (7.0, 7.0)
    _, axes = style.new_figure(1)
    intervals.draw(axes[0, 0], 3, [1.0, 2.0, 4.0])
    intervals.draw(axes[0, 0], 4, [1.0, 2.0, 3.0, 4.0, 5.0])
    intervals.draw(axes[0, 0], 5, [1.0])
    points, line = axes[0, 0].lines
    assert list(points.get_ydata()) == [1, 2, 4] and points.get_marker() == "."
    assert len(line.get_ydata()) == 2 and list(line.get_xdata()) == [4, 4]
    style.plt.close("all")


@pytest.mark.parametrize("values", [[10.0, 11.0, 12.0, 13.0, 50.0], [3.0, 1.0, 4.0, 1.5, 9.0]])
def test_intervals_are_those_of_zo2_compare(zo2, tmp_path, values):
    # Beside a side of ones the ratio of means is the mean.
    add(tmp_path / "ones", repeats=len(values), metrics={"tokens_per_s": 1.0})
    add(tmp_path / "values", repeats=len(values), metrics={"tokens_per_s": values})
    done = zo2("compare", tmp_path / "ones", tmp_path / "values", "--metric", "tokens_per_s", "--json", code=None)
    theirs = json.loads(done.stdout)["cells"][0]["metrics"][0]["interval"]
    ours = intervals.interval(values, numpy.mean)
    # Both draw 10,000 times, each with its own generator.
    assert ours == pytest.approx(theirs, rel=0.02)
    means = [sum(drawn) / len(values) for drawn in itertools.product(values, repeat=len(values))]
    plain = numpy.quantile(means, [0.025, 0.975])
    assert abs(plain[1] - ours[1]) > 0.05 * ours[1], "the plain percentiles are another interval"


def test_a_waterfall_is_a_row_of_cells_that_change_one_key_each(tmp_path):
    steps = [{"engine.slots": 3, "engine.head": "full"}, {"engine.slots": 4, "engine.head": "full"},
             {"engine.slots": 4, "engine.head": "chunked"}]
    for model in ("opt-125m", "opt-1.3b"):
        for number, config in enumerate(steps):
            add(tmp_path, config | {"model.name": model}, metrics={"tokens_per_s": number + 1, "arena_bytes": MIB})
    chains = waterfall.chains(results_of(tmp_path))
    assert [[cell.first.model for cell in chain] for chain in chains] == [["opt-125m"] * 3, ["opt-1.3b"] * 3]
    assert waterfall.labels(chains[0]) == ["start", "slots: 3 to 4", "head: full to chunked"]


def test_an_ablation_of_one_key_is_no_waterfall(tmp_path):
    for slots in (2, 4, 8):
        add(tmp_path, {"engine.slots": slots}, metrics={"tokens_per_s": 1, "arena_bytes": MIB})
    with pytest.raises(NothingToDraw):
        waterfall.draw(results_of(tmp_path))


def test_ablated_cells_are_no_points_of_the_system(tmp_path):
    for model in ("opt-125m", "opt-1.3b"):
        metrics = {"tokens_per_s": 5, "parameters": 1}
        add(tmp_path, {"model.name": model, "engine.slots": 2}, metrics=metrics | {"tokens_per_s": 9})
        add(tmp_path, {"model.name": model}, metrics=metrics)
    (curves,) = throughput.series_by_shape(results_of(tmp_path)).values()
    assert [cell.values("tokens_per_s") for cell in curves["zo2, K = 1"].values()] == [[5], [5]]


def test_bounds_follow_from_the_bytes_that_a_step_uploads(sweep):
    results = results_of(sweep)
    (shape,) = throughput.series_by_shape(results)
    assert shape == ("fp16", 1, 2048, False)
    records = [cell.first for cell in results.measured("tokens_per_s") if cell.first.device == "cuda"]
    hardware = throughput.hardware_of(results, records)
    bounds = throughput.rooflines(records, hardware)
    assert bounds["link"][13_000_000_000] == pytest.approx(2048 * hardware["upload_gbps"] * 1e9 / 26e9)
    # Two passes of two operations a weight.
    assert bounds["products"][13_000_000_000] == pytest.approx(hardware["gemm_tflops"] * 1e12 / (4 * 13e9))


def test_bounds_are_not_drawn_for_another_gpu_or_the_cpu(tmp_path):
    for gpu, device in (("NVIDIA A100-SXM4-80GB", "cuda"), (None, "cpu")):
        folder = tmp_path / device
        add(folder, metrics={"tokens_per_s": 1, "parameters": 1}, gpu=gpu, device=device)
        results = results_of(folder)
        assert throughput.hardware_of(results, results.records) is None


def test_series_are_told_apart_by_write_back_memory_and_host(tmp_path):
    for config in ({}, {"method.writeback_every": 8}, {"engine.gpu_memory": 2**30}, {"engine.host": "staged"},
                   {"method.name": "resident"}):
        add(tmp_path, config)
    records = read_records(tmp_path)
    assert [series.label(record) for record in records] == [
        "zo2, K = 1", "zo2, K = 8", "zo2, K = 1, more memory", "zo2, K = 1, staged", "resident"]
    assert len(set(series.looks(records).values())) == 5


def test_other_systems_are_series_of_their_own(tmp_path):
    external = {"method.name": "external"}
    add(tmp_path, external | {"method.command": ["python3", "baselines/mezo_hf.py", "--model", "{model}"]})
    add(tmp_path, external | {"method.command": ["/usr/bin/rival"]})
    add(tmp_path, external, imported={"system": "deepspeed"})
    records = read_records(tmp_path)
    assert [series.label(record) for record in records] == ["mezo_hf", "rival", "deepspeed"]
    assert len({colour for colour, _ in series.looks(records).values()}) == 3


def test_the_timeline_is_the_last_traced_step_from_its_first_operation(sweep):
    (record,) = [record for record in read_records(sweep) if record.trace_path()]
    spans = overlap.step_of(record.trace())
    assert len(spans) == 4
    assert spans[0] == (0, "upload", 0.0, pytest.approx(0.051))
    assert max(span[3] for span in spans) == pytest.approx(0.102)


def test_operations_that_no_eye_could_part_are_drawn_as_one():
    assert overlap.joined([(4.0, 5.0), (0.0, 1.0), (1.05, 2.0)], gap=0.1) == [(0.0, 2.0), (4.0, 1.0)]
    assert overlap.joined([(0.0, 3.0), (1.0, 2.0)], gap=0) == [(0.0, 3.0)]


def test_loss_is_the_mean_of_all_directions_and_a_torn_line_is_left_out(tmp_path):
    path = add(tmp_path, samples=[step(0, 2.0, 4.0), step(1, [1.0, 2.0], [3.0, 6.0]), step(2, "nan", 1.0),
                                  {"kind": "eval", "step": 2, "loss": 9.0}])
    with (path / "samples.jsonl").open("a") as stream:
        stream.write('{"kind":"step","st')
    steps, losses = loss.curve(read_records(tmp_path)[0])
    assert steps == [0, 1, 2]
    assert losses[:2] == [3.0, 3.0] and losses[2] != losses[2]


def test_samples_of_an_unpacked_archive_are_read(tmp_path):
    path = add(tmp_path, samples=[step(0, 2.0, 4.0)])
    samples = path / "samples.jsonl"
    with gzip.open(path / "samples.jsonl.gz", "wt") as stream:
        stream.write(samples.read_text())
    samples.unlink()
    assert loss.curve(read_records(tmp_path)[0]) == ([0], [3.0])


def test_loss_curves_belong_together_when_data_and_numbers_are_equal(tmp_path):
    add(tmp_path, {"method.name": "mezo"})
    add(tmp_path, {"method.writeback_every": 8})
    add(tmp_path, {"method.name": "resident", "data.seq": 64})  # other data
    for method in ("zo2", "resident"):  # meaningless losses
        add(tmp_path, {"method.name": method, "engine.host_weights": "aliased"})
    (group,) = loss.groups(results_of(tmp_path))
    assert set(group) == {"mezo", "zo2"}


def test_a_forecast_stands_beside_the_cell_that_was_run_on_a_gpu(sweep):
    add(sweep, big("opt-125m"), metrics={"tokens_per_s": 1}, device="cpu")
    add(sweep, big("opt-125m", **{"engine.project": True}), state="projected", metrics={"tokens_per_s": 9})
    found = forecast.pairs(results_of(sweep), "tokens_per_s", "tokens_per_s")
    assert [(record.model, measured) for record, _, measured in found] == [("opt-1.3b", 30_000), ("opt-13b", 3_000)]
    assert [measured / projected for _, projected, measured in found] == pytest.approx([1 / 1.1, 1 / 1.1])
    memory = forecast.pairs(results_of(sweep), "nvml_step_peak_bytes", "nvml_projected_bytes")
    assert memory[0][1:] == (1600 * MIB, 1500 * MIB)


def test_device_memory_is_nvmls_where_all_cells_have_it(tmp_path):
    add(tmp_path, {"engine.slots": 2}, metrics={"nvml_step_peak_bytes": 9, "arena_bytes": 1})
    add(tmp_path, {"engine.slots": 3}, metrics={"arena_bytes": 2})
    first, second = results_of(tmp_path).cells
    assert bars.memory_metric([first]) == "nvml_step_peak_bytes"
    assert bars.memory_metric([first, second]) == "arena_bytes"


def test_sizes_and_rates_are_written_with_three_digits():
    assert [text.size(mib * MIB) for mib in (28.31, 865, 1333, 18040)] == ["28.3 MiB", "865 MiB", "1.30 GiB", "17.6 GiB"]
    assert [text.rate(rate) for rate in (39646.2, 305, 17.72)] == ["39,646", "305", "17.7"]


def test_repeats_beyond_the_last_runs_and_excluded_cells_are_left_out(tmp_path):
    add(tmp_path, repeats=3, metrics={"tokens_per_s": [1, 2, 3]})
    add(tmp_path, {"method.name": "mezo"}, metrics={"tokens_per_s": 4})
    experiment = tmp_path / "experiment.json"
    asked = json.loads(experiment.read_text())
    asked["cells"][1]["skipped"] = "too slow"
    experiment.write_text(json.dumps(asked | {"repeats": 2}))
    assert [record.number("tokens_per_s") for record in read_records(tmp_path)] == [1, 2]
