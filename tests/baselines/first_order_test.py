"""baselines/first_order.py: it scores as `zo2 eval` does, trains on both losses, keeps the best weights, and names what is wrong.

What runs a model is skipped where transformers is not installed.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "baselines"))

import first_order  # noqa: E402

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
from task_data.prepared import open_task  # noqa: E402

METRICS = set(re.findall(r'Metric\{\s*"(\w+)"', (ROOT / "src/experiment/metrics.cpp").read_text()))


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="skipped: transformers is not installed")


@pytest.fixture(scope="module")
def task(script, shared, tmp_path_factory):
    """A few SST-2 sentences."""
    folder = tmp_path_factory.mktemp("task") / "sst2"
    script("prepare_task.py", "SST2", "--data", shared / "data" / "sst2", "--tokenizer", shared / "models" / "opt-mini",
           "--train", 24, "--dev", 16, "--eval", 60, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def copa(script, shared, tmp_path_factory):
    """Candidates of several tokens, of which the means count."""
    data = tmp_path_factory.mktemp("copa")
    for name in ("train", "val"):
        (data / f"{name}.jsonl").write_bytes((shared / "data" / "superglue-few" / "COPA.jsonl").read_bytes())
    script("prepare_task.py", "Copa", "--data", data, "--tokenizer", shared / "models" / "opt-mini", "--train", 24, "--dev", 8,
           "--eval", 32, "--out", data / "copa")
    return data / "copa"


@pytest.fixture(scope="module")
def small_opt(transformers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    config = transformers.OPTConfig(num_hidden_layers=2, num_attention_heads=2, hidden_size=32, ffn_dim=64, vocab_size=50272,
                                    word_embed_proj_dim=32, max_position_embeddings=128)
    transformers.OPTForCausalLM(config).save_pretrained(folder)
    return folder


def run(*arguments, code=0, **environment):
    done = subprocess.run([sys.executable, str(ROOT / "baselines" / "first_order.py"), "--device", "cpu", *map(str, arguments)],
                          capture_output=True, text=True, env=os.environ | environment, timeout=300)
    assert done.returncode == code, done.stderr
    if code != 0:
        assert done.stdout == ""
        return done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line.removeprefix("RESULT "))


@pytest.mark.parametrize("name, objective, key", [("task", "candidates", "candidate_loss"), ("copa", "candidates", "candidate_loss"),
                                                  ("copa", "lm", "lm_loss")])
def test_an_untrained_checkpoint_scores_as_zo2_eval_says(zo2, shared, transformers, request, name, objective, key):
    model, task = shared / "models" / "opt-mini", request.getfixturevalue(name)
    theirs = run("--model", model, "--task", task, "--steps", 0, "--objective", objective)
    ours = json.loads(zo2("eval", "--model", model, "--task", task, "--dtype", "fp32", "--device", "cpu", "--json").stdout)
    assert 0 < ours["right"] < ours["n"]
    assert (theirs["test_accuracy"], theirs["test_examples"]) == (ours["accuracy"], ours["n"])
    assert theirs["test_accuracy_error"] == pytest.approx(ours["standard_error"], rel=1e-12)
    # float32 log-probabilities of other kernels differ by some 1e-5.
    assert theirs["test_loss"] == pytest.approx(ours[key], abs=1e-4)
    assert set(theirs) <= METRICS | {"device"}


@pytest.mark.parametrize("objective", ["candidates", "lm"])
def test_the_loss_of_a_training_batch_is_the_loss_of_an_evaluation(transformers, copa, small_opt, objective):
    """Over one batch: the mean over examples, and over the tokens of all, which the two count in different places."""
    examples = open_task(copa).splits["train"]
    model = transformers.OPTForCausalLM.from_pretrained(small_opt).eval()
    with torch.no_grad():
        loss = first_order.batch_loss(model, examples, objective).item()
    found = first_order.evaluate(model, examples, candidates=True, objective=objective)
    assert loss == pytest.approx(found.loss, rel=1e-5)


@pytest.mark.parametrize("objective", ["candidates", "lm"])
def test_training_lowers_the_loss(task, small_opt, objective):
    result = run("--model", small_opt, "--task", task, "--objective", objective, "--steps", 24, "--batch", 8, "--lr", 1e-2,
                 "--select", "last")
    assert result["loss_last"] < 0.8 * result["loss_first"]
    assert result["steps"] == result["selected_step"] == 24
    assert set(result) <= METRICS | {"device"}


def test_the_weights_with_the_lowest_dev_loss_are_evaluated(task, small_opt):
    common = ["--model", small_opt, "--task", task, "--batch", 8, "--lr", 1e-2, "--schedule", "constant"]
    best = run(*common, "--steps", 16, "--eval-every", 1)
    assert 1 < best["selected_step"] < 16, "a rate is wanted at which the last weights are not the best"
    same = run(*common, "--steps", best["selected_step"], "--select", "last")
    assert same["test_loss"] == best["test_loss"]


def test_adam_steps_by_a_rate_that_falls_linearly(transformers, task, small_opt):
    """Adam's first step moves each weight by the learning rate, whatever its gradient; the rates after it fall."""
    examples = open_task(task).splits["train"]

    def moved(steps, schedule):
        model = transformers.OPTForCausalLM.from_pretrained(small_opt)
        before = model.model.decoder.layers[0].fc1.weight.detach().clone()
        options = first_order.parse(["--model", str(small_opt), "--task", str(task), "--steps", str(steps), "--lr", "1e-3",
                                     "--schedule", schedule, "--select", "last"])
        torch.manual_seed(0)
        first_order.train(model, examples, options, None)
        return (model.model.decoder.layers[0].fc1.weight.detach() - before).abs().max().item()

    assert moved(1, "linear") == pytest.approx(1e-3, rel=1e-2)
    # Rates of 1e-3 and 5e-4 against twice 1e-3.
    assert moved(2, "linear") < 1.51e-3 < moved(2, "constant") <= 2.01e-3


def test_batches_take_each_example_once_an_epoch_in_an_order_of_its_own():
    source = first_order.batches(list(range(10)), 4, seed=3)
    epochs = [[next(source) for _ in range(3)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(sum(epoch, [])) == list(range(10))
    assert epochs[0] != epochs[1]


def test_a_rate_that_is_too_high_is_a_state(task, small_opt):
    result = run("--model", small_opt, "--task", task, "--steps", 20, "--lr", 1e30, "--select", "last")
    assert result["state"] == "diverged" and "the loss is" in result["error"]
    assert "test_accuracy" not in result


def test_without_transformers_it_says_what_to_install(task, shared, tmp_path):
    (tmp_path / "transformers.py").write_text("raise ImportError('not here')\n")
    said = run("--model", shared / "models" / "opt-mini", "--task", task, "--steps", 0, code=2, PYTHONPATH=str(tmp_path))
    assert "transformers cannot be imported (not here): pip install" in said


@pytest.mark.parametrize("arguments, said", [
    (["--steps", "4"], "--select dev_loss needs evaluations"),
    (["--steps", "-1"], "expected a count of at least 0"),
    (["--batch", "0"], "expected a count of at least 1"),
    (["--objective", "error_rate"], "invalid choice"),
    (["--model", "/nowhere", "--select", "last"], "is no Hugging Face folder")])
def test_bad_arguments_are_named(shared, arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        first_order.parse(["--model", str(shared / "models" / "opt-mini"), "--task", "sst2", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def change_manifest(folder, change):
    manifest = json.loads((folder / "task.json").read_text())
    change(manifest)
    (folder / "task.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("spoil, said", [
    (lambda folder: (folder / "task.json").unlink(), "has no task.json"),
    (lambda folder: (folder / "task.json").write_text("[]"), "is no manifest of a prepared task"),
    (lambda folder: change_manifest(folder, lambda manifest: manifest.update(format=2)), "has format 2"),
    (lambda folder: change_manifest(folder, lambda manifest: manifest["splits"].pop("dev")), "has no split dev, only train, eval"),
    (lambda folder: change_manifest(folder, lambda manifest: manifest.update(kind="generation")), "its objective is lm"),
    (lambda folder: (folder / "dev.tokens").write_bytes(b""), "dev.tokens is not the file that"),
    (lambda folder: (folder / "dev.tokens").unlink(), "No such file"),
    (lambda folder: change_manifest(folder, lambda manifest: manifest["splits"]["eval"].update(longest=600)), "512 positions"),
    (lambda folder: change_manifest(folder, lambda manifest: manifest["tokenizer"].update(vocab_size=60000)), "60000 entries")])
def test_tasks_that_cannot_be_used_are_named(shared, transformers, task, tmp_path, spoil, said):
    for file in task.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    assert said in run("--model", shared / "models" / "opt-mini", "--task", tmp_path, "--steps", 1, "--eval-every", 1, code=2)
