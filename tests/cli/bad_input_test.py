"""Bad input gives one clear line that names the thing, exit code 2, and nothing half-written."""

import json
import shutil
import struct

import pytest


@pytest.fixture
def model(shared, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(shared / "fixtures" / "hf" / "opt-preln", folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def score(zo2, tmp_path):
    def run(model, *items, flags=()):
        source = tmp_path / "in.jsonl"
        source.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))
        done = zo2("score", "--model", model, "--input", source, "--output", tmp_path / "out.jsonl", *flags, code=2)
        assert not (tmp_path / "out.jsonl").exists()
        assert not list(tmp_path.glob("*.tmp"))
        return done.stderr

    return run


ITEM = {"input_ids": [2, 5, 9]}


def edit_config(model, **changes):
    config = json.loads((model / "config.json").read_text())
    config.update(changes)
    (model / "config.json").write_text(json.dumps(config))


def edit_header(model, edit):
    path = model / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])


def test_truncated_checkpoint(score, model):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "model.safetensors" in score(model, ITEM)


def test_header_longer_than_the_file(score, model):
    path = model / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    assert "header" in score(model, ITEM)


def test_header_that_lies_about_a_shape(score, model):
    def lie(header):
        header["model.decoder.layers.0.fc1.weight"]["shape"] = [256, 65]

    edit_header(model, lie)
    assert "fc1.weight" in score(model, ITEM)


def test_missing_shard(score, shared, tmp_path):
    folder = tmp_path / "sharded"
    folder.mkdir()
    for path in (shared / "fixtures" / "hf" / "opt-sharded").iterdir():
        if "00003" not in path.name:
            shutil.copyfile(path, folder / path.name)
    assert "00003" in score(folder, ITEM)


def test_shapes_that_do_not_match_the_config(score, model):
    edit_config(model, ffn_dim=128)
    message = score(model, ITEM)
    assert "fc1" in message and "256" in message and "128" in message


def test_nan_weights(score, model):
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(bytes(data))
    assert "nan" in score(model, ITEM).lower()


def test_unknown_model(score):
    message = score("opt-1.4b", ITEM)
    assert "opt-1.4b" in message and "opt-1.3b" in message


def test_token_id_out_of_range(score, model):
    assert "512" in score(model, {"input_ids": [2, 512]})
    assert "-1" in score(model, {"input_ids": [2, -1]})


def test_sequence_longer_than_the_positions(score, model):
    message = score(model, {"input_ids": [2] * 129})
    assert "129" in message and "128" in message


def test_empty_input_and_ignored_labels(score, model):
    assert "no sequences" in score(model)
    assert "empty" in score(model, {"input_ids": []})
    assert "ignored" in score(model, {"input_ids": [2, 3], "labels": [2, -100]})
    assert ":2:" in score(model, ITEM, "{broken")


def test_unwritable_output(zo2, model, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(ITEM) + "\n")
    done = zo2("score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "none" / "out.jsonl", code=2)
    assert "none/out.jsonl" in done.stderr


def test_budget_too_small_names_the_smallest_that_fits(zo2, model):
    done = zo2("train", "--model", model, "--seq", 32, "--steps", 2, "--dtype", "fp32", "--gpu-memory", "1 kB", code=2)
    smallest = done.stderr.split("sequence is ")[1].split(" (")[0]
    value, unit = smallest.split()
    zo2("train", "--model", model, "--seq", 32, "--steps", 2, "--dtype", "fp32", "--gpu-memory",
        f"{float(value) + 0.01:.2f} {unit}")


def test_device_that_this_build_lacks(zo2, model):
    assert "cuda" in zo2("train", "--model", model, "--seq", 32, "--steps", 2, "--device", "cuda", code=2).stderr


def test_unknown_flag_value_names_the_known_ones(zo2, model):
    message = zo2("train", "--model", model, "--seq", 32, "--steps", 2, "--rounding", "up", code=2).stderr
    assert "nearest" in message and "stochastic" in message


def test_a_value_of_the_wrong_kind_is_said_with_its_key_once(zo2, model):
    message = zo2("train", "--model", model, "--lr", "abc", code=2).stderr
    assert "error: method.lr: expected a number" in message and message.count("method.lr") == 1
