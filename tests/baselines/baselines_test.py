"""The baselines: arguments, what they print, MeZO's arithmetic, and the errors where something is missing.

mezo_hf.py runs as a whole where transformers is installed; the two others need a GPU and what users bring.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINES = ROOT / "baselines"
sys.path.insert(0, str(BASELINES))

import deepspeed_zero_infinity  # noqa: E402
import measure  # noqa: E402
import mezo_hf  # noqa: E402
import python_zo2  # noqa: E402

torch = pytest.importorskip("torch")
ZO2 = pathlib.Path(os.environ.get("ZO2_BINARY", ROOT / "build" / "zo2"))
SHAPE = ["--model", "opt-1.3b", "--batch", "2", "--seq", "16", "--dtype", "fp16", "--steps", "5", "--warmup", "2"]
METRICS = set(re.findall(r'Metric\{\s*"(\w+)"', (ROOT / "src/experiment/metrics.cpp").read_text()))


def run(script, *arguments, cwd=None, **environment):
    return subprocess.run([sys.executable, str(BASELINES / script), *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | environment, timeout=300, cwd=cwd)


def result_of(done):
    """The members of the one RESULT line."""
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


@pytest.mark.parametrize("script", [mezo_hf, python_zo2, deepspeed_zero_infinity])
def test_all_take_the_arguments_of_a_manifest(script):
    extra = ["--clone", "CLONE"] if script is python_zo2 else []
    options = script.parse([*SHAPE, *extra, "--untied", "--lr", "1e-5"])
    assert (options.model, options.batch, options.seq, options.dtype) == ("opt-1.3b", 2, 16, "fp16")
    assert (options.steps, options.warmup, options.untied, options.lr) == (5, 2, True, 1e-5)


@pytest.mark.parametrize("arguments, message", [
    (["--warmup", "5", "--steps", "5"], "--warmup must be at least 0 and less than --steps"),
    (["--batch", "0"], "expected a count of at least 1"),
    (["--model", "opt-2b"], "opt-2.7b"),
    (["--checkpoint", "."], "no config.json"),
    (["--checkpoint", ".", "--untied"], "--untied is for random weights")])
def test_bad_arguments_exit_with_2_and_the_reason(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        mezo_hf.parse(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_the_window_counts_tokens_after_warmup():
    options = mezo_hf.parse(SHAPE)
    metrics = measure.window_metrics(options, 0.5, [3.0, 2.5, 2.0, 1.5, 1.0], [1.0, 0.0, float("nan"), 2.0, 3.0])
    assert metrics == {"tokens_per_s": 2 * 16 * 3 / 0.5, "step_ms_mean": 0.5 / 3 * 1e3, "window_steps": 3,
                       "loss_first": 3.0, "loss_last": 1.0, "gradient_nonzero_fraction": 0.6}


def test_the_window_is_synchronised_at_its_two_ends_only():
    events = []
    measure.run_steps(lambda: events.append("step") or (None, None), mezo_hf.parse(SHAPE), lambda: events.append("sync"))
    assert events == ["step", "step", "sync", "step", "step", "step", "sync"]


def test_the_line_holds_metrics_of_our_table_and_nothing_else():
    metrics = measure.window_metrics(mezo_hf.parse(SHAPE), 1.0, [1.0], [1.0])
    assert "tokens_per_s" in METRICS and len(METRICS) > 30, "the table was not found"
    assert set(metrics) | {"parameters", "allocator_reserved_peak_bytes", "allocator_allocated_peak_bytes"} <= METRICS
    line = measure.result_line({"loss_first": float("nan"), "loss_last": float("-inf"), "tokens_per_s": 0.1})
    assert json.loads(line.removeprefix("RESULT ")) == {"loss_first": "nan", "loss_last": "-inf", "tokens_per_s": 0.1}


def test_out_of_device_memory_is_a_result(capsys):
    def measure_nothing(options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    assert measure.main(measure_nothing, None) == 1
    printed = capsys.readouterr()
    assert printed.out == 'RESULT {"state": "oom"}\n' and "Tried to allocate" in printed.err


class Quadratic(torch.nn.Module):
    """A loss whose slope is known."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.tensor([0.25, -0.5], dtype=torch.float64))

    def loss(self):
        return (self.weight**2).sum() + (self.bias**2).sum()


def test_a_mezo_step_follows_the_slope_along_one_direction_and_decays_matrices_only():
    model = Quadratic()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    lr, decay, eps = 0.01, 0.1, 1e-3
    mezo = mezo_hf.Mezo(model.named_parameters(), eps=eps, lr=lr, weight_decay=decay, seed=7)
    loss, gradient = mezo.step(model.loss)
    seed = mezo_hf.random.Random(7).randrange(10**9)
    directions = {name: direction for name, _, direction in mezo.directions(seed)}
    # Of a quadratic the central difference is the slope, exactly: 2 w.z.
    slope = sum(2 * (before[name] * directions[name]).sum() for name in before)
    assert gradient == pytest.approx(slope.item(), rel=1e-9)
    squares = sum((values**2).sum() for values in before.values())
    spread = sum((direction**2).sum() for direction in directions.values())
    assert loss == pytest.approx((squares + eps**2 * spread).item(), rel=1e-12)
    for name, parameter in model.named_parameters():
        kept = before[name] * (1 - lr * decay) if name == "weight" else before[name]
        # Adding and taking away eps z three times leaves rounding errors of a few units in the last place.
        torch.testing.assert_close(parameter.detach(), kept - lr * gradient * directions[name], rtol=1e-13, atol=1e-14)


def test_each_mezo_step_has_a_direction_of_its_own():
    mezo = mezo_hf.Mezo(Quadratic().named_parameters(), eps=1e-3, lr=0, weight_decay=0, seed=1)
    seeds = [mezo.seeds.randrange(10**9) for _ in range(3)]
    first = [[direction for _, _, direction in mezo.directions(seed)][0] for seed in seeds]
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[1], first[2])


def test_mezo_trains_a_small_opt_on_cpu(tmp_path):
    transformers = pytest.importorskip("transformers", reason="skipped: transformers is not installed")
    config = transformers.OPTConfig(num_hidden_layers=2, num_attention_heads=2, hidden_size=32, ffn_dim=64,
                                    vocab_size=128, word_embed_proj_dim=32, max_position_embeddings=64)
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    result = result_of(run("mezo_hf.py", "--checkpoint", tmp_path, "--device", "cpu", "--dtype", "fp32", "--seq", 16,
                           "--steps", 6, "--warmup", 2, "--lr", 1e-4))
    assert set(result) <= METRICS | {"device"} and result["device"] == "cpu"
    assert result["window_steps"] == 4 and result["tokens_per_s"] > 0
    assert result["gradient_nonzero_fraction"] == 1.0
    assert 4 < result["loss_first"] < 6, "about log 128"
    assert result["parameters"] == sum(p.numel() for p in transformers.OPTForCausalLM(config).parameters())


def test_a_random_opt_has_our_parameter_count():
    transformers = pytest.importorskip("transformers", reason="skipped: transformers is not installed")
    if not ZO2.exists():
        pytest.skip("skipped: the program is not built")
    for model in measure.SHAPES:
        for tie in ([], ["--untied"]):
            done = subprocess.run([ZO2, "estimate", model, *tie, "--json"], capture_output=True, text=True)
            estimate = json.loads(done.stdout)
            expected = (estimate[0] if isinstance(estimate, list) else estimate)["parameters"]
            with torch.device("meta"):
                opt = transformers.OPTForCausalLM(measure.opt_config(mezo_hf.parse(["--model", model, *tie])))
                opt.tie_weights()  # transformers 5 leaves it out on the meta device
            assert sum(parameter.numel() for parameter in opt.parameters()) == expected, (model, tie)


def test_a_missing_clone_is_named_with_its_address(tmp_path):
    done = run("python_zo2.py", "--clone", tmp_path / "none")
    assert done.returncode == 2 and done.stdout == ""
    assert f"{tmp_path / 'none'} is no clone of Python ZO2" in done.stderr
    assert "git clone https://github.com/liangyuwang/zo2" in done.stderr


STANDIN_MODEL = """
import json, torch
class OPTForCausalLM(torch.nn.Module):  # logs what the driver does with it
    def __init__(self, config):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.calls = [["layers", config.num_hidden_layers], ["tied", config.tie_word_embeddings]]
    def zo_init(self, config):
        self.calls.append(["zo_init", config.zo2, config.eps])
        self.opt = type("Optimizer", (), {"projected_grad": 2.0})
    def zo_train(self):
        self.calls.append(["zo_train", str(self.weight.dtype)])
    def forward(self, input_ids, labels):
        self.calls.append(["forward", list(input_ids.shape), bool((input_ids == labels).all())])
        open("calls.json", "w").write(json.dumps([__name__] + self.calls))
        return 3.0
"""


def standins(folder, version):
    """A stand-in for a clone of Python ZO2, and one for transformers that has a configuration only."""
    models = folder / "clone" / "zo2" / "model" / "huggingface" / "opt" / "mezo_sgd"
    (folder / "clone" / "zo2" / "config").mkdir(parents=True)
    models.mkdir(parents=True)
    (folder / "clone" / "zo2" / "config" / "mezo_sgd.py").write_text(
        "class MeZOSGDConfig:\n    def __init__(self, **keys): self.__dict__.update(keys)\n")
    for name in ("zo", "zo2"):
        (models / f"{name}.py").write_text(STANDIN_MODEL)
    (folder / "transformers.py").write_text(
        f"__version__ = '{version}'\n"
        "class OPTConfig:\n    vocab_size = 50\n    def __init__(self, **keys): self.__dict__.update(keys)\n")


def test_another_transformers_is_refused(tmp_path):
    standins(tmp_path, "5.0.0")
    done = run("python_zo2.py", "--clone", tmp_path / "clone", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and "needs transformers 4.51.*, found 5.0.0" in done.stderr


@pytest.mark.parametrize("method, module, offload", [("zo2", "zo2", True), ("mezo", "zo", False)])
def test_the_clone_is_driven_as_its_own_speed_test_does(tmp_path, method, module, offload):
    standins(tmp_path, "4.51.3")
    done = run("python_zo2.py", "--clone", tmp_path / "clone", *SHAPE, "--untied", "--method", method, "--device", "cpu",
               cwd=tmp_path, PYTHONPATH=str(tmp_path))
    result = result_of(done)
    assert set(result) <= METRICS | {"device"} and result["device"] == "cpu"
    assert result["loss_first"] == pytest.approx(3.0 - 1e-3 * 2.0) and result["window_steps"] == 3
    name, *calls = json.loads((tmp_path / "calls.json").read_text())
    assert name == f"zo2.model.huggingface.opt.mezo_sgd.{module}"
    assert calls[:4] == [["layers", 24], ["tied", False], ["zo_init", offload, 1e-3], ["zo_train", "torch.float16"]]
    assert calls[4:] == [["forward", [2, 16], True]] * 5


def test_a_baseline_is_a_cell_of_a_manifest(tmp_path):
    """Through our runner, with the two stand-ins."""
    if not ZO2.exists():
        pytest.skip("skipped: the program is not built")
    standins(tmp_path, "4.51.3")
    (tmp_path / "manifest.yaml").write_text(f"""\
name: other
defaults:
  model: {{name: opt-1.3b, tie_embeddings: false}}
  data: {{batch: 2, seq: 16}}
  train: {{steps: 5, warmup: 2}}
  engine: {{device: cpu, dtype: fp16}}
  method:
    name: external
    command: [{sys.executable}, {BASELINES / "python_zo2.py"}, --clone, {tmp_path / "clone"}, --untied, --device, cpu,
              --model, "{{model}}", --dtype, "{{dtype}}", --batch, "{{batch}}", --seq, "{{seq}}",
              --steps, "{{steps}}", --warmup, "{{warmup}}"]
""")
    done = subprocess.run([ZO2, "run", tmp_path / "manifest.yaml", "--out", tmp_path / "out"], capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("cells/*/r0/result.json")
    result = json.loads(path.read_text())
    assert result["state"] == "ok" and "extra" not in result and result["warnings"] == []
    assert result["metrics"]["window_steps"] == 3 and result["metrics"]["tokens_per_s"] > 0


def test_the_second_loss_of_python_zo2_follows_from_its_gradient():
    plus, minus, eps = 3.0, 2.5, 1e-3
    assert python_zo2.mean_loss(plus, (plus - minus) / (2 * eps), eps) == pytest.approx((plus + minus) / 2)


def test_a_missing_package_is_named_with_how_to_get_it(tmp_path):
    """With a stand-in for deepspeed that fails to import, as a missing package does."""
    (tmp_path / "deepspeed.py").write_text("raise ImportError('not installed')\n")
    done = run("deepspeed_zero_infinity.py", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    assert "deepspeed cannot be imported" in done.stderr and "pip install deepspeed" in done.stderr


def test_zero_infinity_offloads_weights_and_optimizer_state():
    options = deepspeed_zero_infinity.parse([*SHAPE, "--zero", "stage3_max_live_parameters=1000", "--zero",
                                             "overlap_comm=false"])
    config = deepspeed_zero_infinity.deepspeed_config(options)
    zero = config["zero_optimization"]
    assert zero["stage"] == 3
    assert zero["offload_param"]["device"] == zero["offload_optimizer"]["device"] == "cpu"
    assert zero["stage3_max_live_parameters"] == 1000 and zero["overlap_comm"] is False
    assert config["fp16"] == {"enabled": True} and "bf16" not in config
    assert config["train_micro_batch_size_per_gpu"] == 2
    fp32 = deepspeed_zero_infinity.deepspeed_config(deepspeed_zero_infinity.parse(["--dtype", "fp32"]))
    assert "fp16" not in fp32 and "bf16" not in fp32


def test_a_setting_of_zero_without_a_value_is_refused(capsys):
    for wrong in ("stage", "stage=three"):
        with pytest.raises(SystemExit):
            deepspeed_zero_infinity.parse(["--zero", wrong])
        assert "--zero" in capsys.readouterr().err


def test_no_gpu_is_said(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("skipped: there is a GPU")
    done = run("mezo_hf.py", "--device", "cuda")
    assert done.returncode == 2 and "sees no GPU" in done.stderr
