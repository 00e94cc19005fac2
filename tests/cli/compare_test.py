"""zo2 compare on real runs of five repeats: equal ones, and one that had to share its only core."""

import contextlib
import functools
import json
import os
import subprocess
import sys

import numpy
import pytest

MANIFEST = """
name: compare
defaults:
  model: {{path: {model}}}
  data: {{seq: 64}}
  train: {{steps: 40, warmup: 10}}
  engine: {{device: cpu, dtype: fp32}}
repeats: {repeats}
"""


def write_tiny_opt(folder, hidden=256, layers=4, vocabulary=1024, positions=128):
    """A checkpoint with small random weights, in the format of safetensors: length of the header, header, data."""
    names = {"model.decoder.embed_tokens.weight": (vocabulary, hidden),
             "model.decoder.embed_positions.weight": (positions + 2, hidden)}
    norms = ["model.decoder.final_layer_norm"]
    for layer in range(layers):
        prefix = f"model.decoder.layers.{layer}."
        norms += [prefix + "self_attn_layer_norm", prefix + "final_layer_norm"]
        shapes = {f"self_attn.{name}_proj": (hidden, hidden) for name in ("q", "k", "v", "out")}
        for name, shape in (shapes | {"fc1": (4 * hidden, hidden), "fc2": (hidden, 4 * hidden)}).items():
            names[prefix + name + ".weight"] = shape
            names[prefix + name + ".bias"] = shape[:1]
    for norm in norms:
        names[norm + ".weight"] = names[norm + ".bias"] = (hidden,)
    random = numpy.random.default_rng(0)
    header, data = {}, b""
    for name, shape in names.items():
        values = (0.02 * random.standard_normal(shape)).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "opt", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 4,
        "ffn_dim": 4 * hidden, "vocab_size": vocabulary, "max_position_embeddings": positions,
        "word_embed_proj_dim": hidden, "do_layer_norm_before": True, "activation_function": "relu"}))


@contextlib.contextmanager
def busy_core(core):
    """Three programs that never rest on one core, and that core as the only one of this process's children."""
    cores = os.sched_getaffinity(0)
    pin = functools.partial(os.sched_setaffinity, 0, {core})
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=pin) for _ in range(3)]
    pin()
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        for program in busy:
            program.kill()
            program.wait()


@pytest.fixture(scope="module")
def runs(zo2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_tiny_opt(folder / "opt-tiny")
    manifest = folder / "compare.yaml"
    for repeats in range(1, 6):  # in turns, so that what else the machine does favours nobody
        manifest.write_text(MANIFEST.format(model=folder / "opt-tiny", repeats=repeats))
        for name in ("first", "second"):
            zo2("run", manifest, "--out", folder / name)
        with busy_core(min(os.sched_getaffinity(0))):
            zo2("run", manifest, "--out", folder / "slowed")
    return folder


def speed(done):
    comparison = json.loads(done.stdout)
    return comparison["cells"][0]["metrics"][0]


# A third is more than what other programs on the machine do to one side alone, and less than three programs on a core do.
def test_a_slowdown_is_found(zo2, runs):
    done = zo2("compare", runs / "first", runs / "slowed", "--threshold", "33%", "--json", code=1)
    assert speed(done)["metric"] == "tokens_per_s" and speed(done)["verdict"] == "worse"
    assert speed(done)["interval"][1] < 0.67 and len(speed(done)["right"]) == 5
    assert "worse" in zo2("compare", runs / "first", runs / "slowed", "--threshold", "0.33", code=1).stdout


def test_equal_runs_show_none(zo2, runs):
    done = zo2("compare", runs / "first", runs / "second", "--threshold", "33%", "--json")
    assert speed(done)["verdict"] in ("same", "unclear")
    assert done.stdout == zo2("compare", runs / "first", runs / "second", "--threshold", "33%", "--json").stdout
    memory = [metric for metric in json.loads(done.stdout)["cells"][0]["metrics"] if metric["metric"] == "arena_bytes"]
    assert memory[0]["interval"] == [1, 1] and memory[0]["verdict"] == "same"


def test_bad_usage_is_named(zo2, runs):
    assert "--threshold: expected a share" in zo2("compare", runs / "first", runs / "second", "--threshold", "many",
                                                  code=2).stderr
    assert "holds no records" in zo2("compare", runs / "first", runs, code=2).stderr
    assert "no cell 'x' in" in zo2("compare", f"{runs / 'first'}:x", runs / "second", code=2).stderr
