"""A sweep whose disk fills up says so, keeps what is recorded, and goes on when there is room."""

import json

import pytest

MANIFEST = """
name: full
defaults: {{data.seq: 8, engine.device: cpu, engine.dtype: fp32, engine.threads: 1, train.steps: 300, train.warmup: 1}}
matrix:
  case: [{{model.name: opt-125m, engine.project: true}}, {{model.path: {model}}}]
"""


def fill(folder, left):
    """Fills the disk but for `left` bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
        stream.truncate(stream.tell() - left)
    return filler


# Room for nothing; for the files of a repeat's start, but not for its samples; for all but the last samples.
@pytest.mark.parametrize("left", [0, 12 << 10, 32 << 10])
def test_a_full_disk_stops_the_sweep_and_loses_nothing(zo2, shared, small_disk, tmp_path, left):
    manifest = tmp_path / "full.yaml"
    manifest.write_text(MANIFEST.format(model=shared / "fixtures" / "hf" / "opt-untied"))
    arguments = ["run", manifest, "--out", small_disk / "out", "--json"]
    zo2(*arguments, "--only", "opt-125m-*")
    record, = small_disk.glob("out/cells/*/r0/result.json")
    before = record.read_bytes()

    filler = fill(small_disk, left)
    errors = zo2(*arguments, code=2).stderr
    assert "No space left on device" in errors or "is full" in errors
    assert "the same command goes on from there" in errors
    assert [path.read_bytes() for path in small_disk.glob("out/cells/*/r0/result.json")] == [before]

    filler.unlink()
    repeats = json.loads(zo2(*arguments).stdout)["repeats"]
    assert [(repeat["state"], repeat["reused"]) for repeat in repeats] == [("projected", True), ("ok", False)]
    samples, = small_disk.glob("out/cells/*/r0/samples.jsonl")
    assert [json.loads(line)["step"] for line in samples.read_text().splitlines()] == list(range(300))
