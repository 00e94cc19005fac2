"""zo2 export: a run's weights as a folder that our loader and transformers read."""

import json
import shutil

import pytest

from replay_test import train


@pytest.fixture
def run(zo2, shared, tmp_path):
    """Eleven steps from a copy of a checkpoint that has a tokenizer; and that copy."""
    base = tmp_path / "base"
    shutil.copytree(shared / "fixtures" / "hf" / "opt-untied", base)
    (base / "tokenizer.json").write_text('{"version": "1.0"}')
    train(zo2, base, tmp_path / "run", 11, "--dtype", "fp32", "--writeback-every", 4, "--snapshot-every", 4, "--save",
          tmp_path / "saved")
    return tmp_path / "run", base


def test_the_export_has_the_weights_that_training_would_have_saved(zo2, run, tmp_path):
    folder, base = run
    for out, flags in (("exported", ()), ("after", ("--step", "11"))):
        found = json.loads(zo2("export", folder, "--out", tmp_path / out, "--json", *flags).stdout)
        assert found["step"] == 11
        assert found["weights"] == json.loads((folder / "result.json").read_text())["final_weights"]
        for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
            assert (tmp_path / out / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
    assert (tmp_path / "exported" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert not (tmp_path / "exported" / "step.log").exists()


def test_snapshots_shorten_the_way_and_change_nothing(zo2, run, tmp_path):
    folder, base = run
    hashes = {}
    for step in (2, 8, 10):  # snapshots of steps 8 and 11 are there
        found = json.loads(zo2("export", folder, "--out", tmp_path / f"at{step}", "--step", step, "--json").stdout)
        hashes[step] = found["weights"]
        assert hashes[step] == json.loads(zo2("replay", folder, "--step", step, "--json").stdout)["weights"]
    assert len(set(hashes.values())) == 3
    # From the snapshot the base's weights are not needed, only its shape.
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    found = json.loads(zo2("export", folder, "--out", tmp_path / "again", "--step", 10, "--json").stdout)
    assert found["weights"] == hashes[10]
    assert "is not the base of" in zo2("export", folder, "--out", tmp_path / "none", "--step", 2, code=2).stderr
    assert not (tmp_path / "none").exists()


def test_an_export_overwrites_no_weights_and_no_run(zo2, run, tmp_path):
    folder, base = run
    before = (base / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes()
    assert "choose another folder" in zo2("export", folder, "--out", base, code=2).stderr
    assert "a folder of their own" in zo2("export", folder, "--out", folder, code=2).stderr
    assert ((base / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes()) == before
    done = zo2("train", "--model", base, "--out", tmp_path / "new", "--save", tmp_path / "new", code=2)
    assert "a folder of their own" in done.stderr


def test_transformers_gives_an_export_the_same_log_probabilities(zo2, run, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder, _ = run
    zo2("export", folder, "--out", tmp_path / "exported")
    ids = [2, 17, 250, 3, 99, 41, 7, 300, 12]
    (tmp_path / "in.jsonl").write_text(json.dumps({"input_ids": ids}) + "\n")
    zo2("score", "--model", tmp_path / "exported", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl",
        "--device", "cpu")
    ours = json.loads((tmp_path / "out.jsonl").read_text())["logprobs"]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported").float().eval()
    with torch.no_grad():
        logits = loaded(torch.tensor([ids])).logits[0, :-1].double()
    theirs = torch.log_softmax(logits, -1)[range(len(ids) - 1), ids[1:]].tolist()
    assert ours == pytest.approx(theirs, abs=2e-5)
