"""Another program measured beside ours: a PyTorch script that times a layer's matrix products, forward only."""

import json
import sys

SCRIPT = '''
"""Times the four matrix products of one OPT-125M layer on this CPU: no training, and no model around them."""
import argparse, json, time
import torch

parser = argparse.ArgumentParser()
for name in ("batch", "seq", "steps", "warmup"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--dtype")
arguments = parser.parse_args()
torch.set_num_threads(1)
dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
tokens = arguments.batch * arguments.seq
weights = [torch.randn(rows, columns, dtype=dtype) for rows, columns in ((2304, 768), (768, 768), (3072, 768), (768, 3072))]
inputs = [torch.randn(tokens, weight.shape[1], dtype=dtype) for weight in weights]
for step in range(arguments.steps):
    if step == arguments.warmup:
        start = time.perf_counter()
    for x, weight in zip(inputs, weights):
        torch.nn.functional.linear(x, weight)
window = arguments.steps - arguments.warmup
print("loaded")
print("RESULT " + json.dumps({"tokens_per_s": tokens * window / (time.perf_counter() - start), "window_steps": window,
                              "device": "cpu", "layers": 1}))
'''

MANIFEST = """
name: beside
defaults:
  data: {{batch: 2, seq: 16}}
  train: {{steps: 6, warmup: 2}}
  engine: {{device: cpu, dtype: fp32, threads: 1}}
matrix:
  system:
    - {{model.path: {model}, method.name: zo2}}
    - method.name: external
      method.command: [{python}, {script}, --batch, "{{batch}}", --seq, "{{seq}}", --dtype, "{{dtype}}",
                       --steps, "{{steps}}", --warmup, "{{warmup}}"]
"""


def test_another_program_is_measured_beside_ours(zo2, shared, tmp_path):
    script = tmp_path / "layer_products.py"
    script.write_text(SCRIPT)
    manifest = tmp_path / "beside.yaml"
    manifest.write_text(MANIFEST.format(model=shared / "fixtures" / "hf" / "opt-untied", python=sys.executable, script=script))
    out = tmp_path / "out"
    summary = json.loads(zo2("run", manifest, "--out", out, "--json").stdout)
    assert [repeat["state"] for repeat in summary["repeats"]] == ["ok", "ok"]
    ours, other = (json.loads((out / repeat["folder"] / "result.json").read_text()) for repeat in summary["repeats"])
    assert other["metrics"]["tokens_per_s"] > 0
    assert other["metrics"]["window_steps"] == ours["metrics"]["window_steps"] == 4
    assert other["metrics"]["host_rss_peak_bytes"] > 100 << 20, "PyTorch's own: seen by the runner, like ours"
    assert other["metrics"]["wall_s"] > 0
    assert other["extra"] == {"layers": 1}
    assert "layers" in other["warnings"][0]
    report = zo2("report", out).stdout
    assert "external" in report
    assert "FAIL" not in report, "it takes no part in equality"


def test_a_plan_says_that_it_does_not_know(zo2, tmp_path):
    manifest = tmp_path / "other.yaml"
    manifest.write_text("name: other\ndefaults: {method.name: external, method.command: [other-program]}\n")
    cell, = json.loads(zo2("plan", manifest, "--json").stdout)["cells"]
    assert cell["verdict"] == "may fit"
    assert "not known before it runs" in cell["reason"]
    assert "arena_bytes" not in cell
