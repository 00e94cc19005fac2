"""The figures, from a small folder of records whose numbers are invented (SYNTHETIC in every name)."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from plots import __main__ as program  # noqa: E402
from plots import memory_table, quick_throughput, style  # noqa: E402
from plots.records import read_figures, read_records  # noqa: E402

REFERENCE = ROOT / "experiments" / "reference"
MIB = 2**20


def add(folder, slug, *, state="ok", repeat=0, model="opt-125m", method="zo2", dtype="bf16", seq=128, tied=None,
        metrics=None):
    path = folder / "cells" / f"{slug}-00000000" / f"r{repeat}"
    path.mkdir(parents=True)
    config = {"model": {"name": model, "path": None, "tie_embeddings": tied}, "data": {"batch": 1, "seq": seq},
              "method": {"name": method}, "engine": {"dtype": dtype}}
    (path / "config.json").write_text(json.dumps({"schema": 1, "experiment": "SYNTHETIC", "slug": slug,
                                                  "repeat": repeat, "config_hash": slug, "config": config}))
    (path / "result.json").write_text(json.dumps({"schema": 1, "state": state, "config_hash": "0" * 64,
                                                  "metrics": metrics or {}}))
    return path


@pytest.fixture
def synthetic(tmp_path):
    for method, speed in {"mezo": 90, "resident": 260, "zo2": 245}.items():
        for repeat in range(2):
            add(tmp_path, f"SYNTHETIC-opt-125m-{method}", method=method, repeat=repeat,
                metrics={"tokens_per_s": speed + repeat})
    for method, speed in {"resident": 20.5, "zo2": 19.25}.items():
        add(tmp_path, f"SYNTHETIC-opt-1.3b-{method}", model="opt-1.3b", method=method, seq=32,
            metrics={"tokens_per_s": speed})
    sizes = ["1.3b", "2.7b", "6.7b", "13b", "30b", "66b", "175b"]
    for size, mib in zip(sizes, [1440, 1470, 1560, 1680, 1850, 2220, 2830]):
        add(tmp_path, f"SYNTHETIC-opt-{size}-projected", model=f"opt-{size}", dtype="fp16", seq=2048, tied=False,
            state="projected", metrics={"nvml_projected_bytes": mib * MIB, "tokens_per_s": 1.0})
    return tmp_path


def test_every_figure_is_written_as_png_and_pdf(synthetic):
    assert program.main([str(synthetic)]) == 0
    for name in program.FIGURES:
        assert (synthetic / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (synthetic / "plots" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_memory_table_matches_published_figures_by_shape_and_says_projected(synthetic):
    records, figures = read_records(synthetic), read_figures(REFERENCE)
    rows = memory_table._rows(records, figures)
    assert [row[0] for row in rows] == ["1.3B", "2.7B", "6.7B", "13B", "30B", "66B", "175B"]
    published = {row[0]: row[1] for row in rows}
    assert published["175B"] == pytest.approx(18.04e9)
    drawing = memory_table.draw(records, figures)
    assert any("PROJECTED" in text.get_text() for text in drawing.axes[0].get_legend().get_texts())
    style.plt.close(drawing)


def test_a_measured_figure_replaces_a_projection(synthetic):
    add(synthetic, "SYNTHETIC-opt-13b-measured", model="opt-13b", dtype="fp16", seq=2048, tied=False,
        metrics={"nvml_step_peak_bytes": 1700 * MIB})
    rows = {row[0]: row for row in memory_table._rows(read_records(synthetic), read_figures(REFERENCE))}
    assert rows["13B"][2:] == (1700 * MIB, False)
    assert rows["30B"][3] is True


def test_other_shapes_are_not_put_beside_published_figures(tmp_path):
    add(tmp_path, "SYNTHETIC-short", model="opt-13b", dtype="fp16", seq=1024, tied=False, state="projected",
        metrics={"nvml_projected_bytes": 1})
    assert memory_table.draw(read_records(tmp_path), read_figures(REFERENCE)) is None


def test_throughput_keeps_all_repeats_and_leaves_out_failures(synthetic):
    add(synthetic, "SYNTHETIC-failed", state="oom", metrics={"tokens_per_s": 1})
    groups = quick_throughput._groups(read_records(synthetic))
    assert groups["opt-125m", "bf16", 1, 128] == {"mezo": [90, 91], "resident": [260, 261], "zo2": [245, 246]}
    assert len(groups) == 2, "projected records are not measured ones"


def test_only_the_last_runs_cells_are_read_in_its_order(synthetic):
    slugs = ["SYNTHETIC-opt-6.7b-projected", "SYNTHETIC-opt-1.3b-zo2"]
    (synthetic / "experiment.json").write_text(json.dumps({"cells": [{"config_hash": slug} for slug in slugs]}))
    assert [record.slug for record in read_records(synthetic)] == slugs


def test_an_empty_or_missing_folder_is_a_clear_error(tmp_path):
    result = subprocess.run([sys.executable, "-m", "plots", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "holds no records" in result.stderr
    (tmp_path / "cells").mkdir()
    assert program.main([str(tmp_path)]) == 0, "nothing to draw is not an error"
