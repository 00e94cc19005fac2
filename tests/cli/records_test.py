"""What goes in and out of a folder of records: zo2 import, export-records and pack."""

import csv
import json
import shutil
import subprocess

import pytest
from conftest import ROOT

REAL = ROOT / "results" / "h100-80gb-pcie5" / "memory_table"


def test_imported_runs_stand_beside_ours(zo2, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(REAL, out)
    lines = tmp_path / "theirs.jsonl"
    lines.write_text(json.dumps({"model.name": "opt-13b", "model.tie_embeddings": False, "engine.dtype": "fp16",
                                 "data.batch": 1, "data.seq": 2048, "method.name": "zo2", "tokens_per_s": 1000,
                                 "gpu": "NVIDIA H100 80GB", "link": "PCIe 5", "source": "invented"}) + "\n")
    assert "1 records" in zo2("import", lines, "--as", "their-system", "--out", out).stdout
    beside = json.loads(zo2("check", out, "--json").stdout)["beside"]
    assert [(figure["cell"], figure["verdict"]) for figure in beside] == [
        ("opt-13b-zo2-k8-registered", "better"), ("opt-13b-zo2-k8-staged", "better")]
    assert "their-system, imported: invented" in zo2("report", out).stdout
    assert "not measured here" in zo2("report", out / "imported" / "their-system").stdout
    rows = list(csv.DictReader(zo2("export-records", out).stdout.splitlines()))
    assert {row["origin"] for row in rows} == {"measured", "their-system"}
    assert float([row for row in rows if row["origin"] != "measured"][0]["tokens_per_s [tok/s]"]) == 1000
    lines.write_text("{}\n")
    assert "'data.seq' is needed" in zo2("import", lines, "--as", "their-system", "--out", out, code=2).stderr


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_pack_unpacks_checks_and_reports(zo2, tmp_path, suffix):
    if suffix == ".tar.zst" and not shutil.which("zstd"):
        pytest.skip("skipped: no zstd for tar")
    archive = tmp_path / ("records" + suffix)
    summary = json.loads(zo2("pack", REAL, archive, "--json").stdout)
    assert summary["warnings"] == [] and summary["archive_bytes"] == archive.stat().st_size
    subprocess.run(["tar", "xf", archive, "-C", tmp_path], check=True)
    unpacked = tmp_path / "memory_table"
    checked = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=unpacked, check=True,
                             capture_output=True, text=True).stdout
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert {line.rsplit(":", 1)[0] for line in checked.splitlines()} == names - {"SHA256SUMS"}
    assert len(names) == summary["files"] and not any(name.endswith("samples.jsonl") for name in names)
    assert zo2("report", unpacked).stdout == zo2("report", REAL).stdout
