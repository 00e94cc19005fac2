"""A training run whose disk fills stops with a clear message, leaves nothing half-written, and goes on when there is room."""

import json
import resource
import subprocess

from conftest import BINARY


def command(model, out, *flags):
    return [str(BINARY), "train", "--model", str(model), "--out", str(out), "--seq", "16", "--batch", "2", "--steps", "60",
            "--lr", "1e-3", "--dtype", "fp32", "--threads", "1", "--device", "cpu", *flags]


def final_weights(folder):
    return json.loads((folder / "result.json").read_text())["final_weights"]


def check_refused_and_resumed(done, model, tmp_path, flags, file):
    assert done.returncode == 2, done.stderr
    assert file in done.stderr and "the same command goes on" in done.stderr, done.stderr
    run = tmp_path / "run"
    assert not (run / "result.json").exists() and not list(run.rglob("*.tmp"))
    resumed = subprocess.run(command(model, run, *flags), capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    subprocess.run(command(model, tmp_path / "whole", *flags), check=True, capture_output=True, timeout=300)
    assert final_weights(run) == final_weights(tmp_path / "whole")
    return resumed.stderr


def limited(model, run, flags, file_bytes):
    # Ignored, the signal of a file that grows too large leaves an error of the write, as a full disk does.
    return subprocess.run(command(model, run, *flags), capture_output=True, text=True, timeout=300, restore_signals=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes)))


def test_samples_that_cannot_grow(shared, tmp_path):
    model = shared / "fixtures" / "hf" / "opt-untied"
    # The log's header takes about 1 KiB and a step 64 bytes; a sample takes about 200.
    done = limited(model, tmp_path / "run", (), 4 << 10)
    resumed = check_refused_and_resumed(done, model, tmp_path, (), "samples.jsonl")
    assert "resuming at step" in resumed
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    steps = [sample["step"] for sample in samples]
    assert steps == sorted(set(steps)) and steps[-1] == 59


def test_a_log_that_cannot_grow(shared, tmp_path):
    model = shared / "fixtures" / "hf" / "opt-untied"
    done = limited(model, tmp_path / "run", (), 512)  # not even its header fits, and nothing has begun
    assert done.returncode == 2 and "step.log" in done.stderr and "goes on" not in done.stderr
    assert not (tmp_path / "run" / "step.log").exists() and not list((tmp_path / "run").rglob("*.tmp"))


def test_a_snapshot_that_does_not_fit(shared, tmp_path):
    model = shared / "fixtures" / "hf" / "opt-untied"
    flags = ("--snapshot-every", "25")
    done = limited(model, tmp_path / "run", flags, 64 << 10)
    assert not list((tmp_path / "run").glob("snapshot-*"))
    resumed = check_refused_and_resumed(done, model, tmp_path, flags, "weights.safetensors")
    assert "resuming at step 25" in resumed


def test_a_full_disk(shared, small_disk, tmp_path):
    model = shared / "fixtures" / "hf" / "opt-untied"
    run = small_disk / "run"
    flags = ("--snapshot-every", "10")
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * (900 << 10))
    done = subprocess.run(command(model, run, *flags), capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "No space left on device" in done.stderr, done.stderr
    filler.unlink()
    resumed = subprocess.run(command(model, run), capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0 and "resuming at step" in resumed.stderr, resumed.stderr
    subprocess.run(command(model, tmp_path / "whole"), check=True, capture_output=True, timeout=300)
    assert final_weights(run) == final_weights(tmp_path / "whole")
