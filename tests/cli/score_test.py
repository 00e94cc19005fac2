"""zo2 score against the reference results of tiny Hugging Face checkpoints (computed by transformers)."""

import json

import pytest

OPT_MODELS = ["opt-preln", "opt-untied", "opt-postln", "opt-f16", "opt-sharded"]


def score(zo2, tmp_path, model, items, *flags, code=0):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    done = zo2("score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl", *flags,
               code=code)
    if code != 0:
        assert not (tmp_path / "out.jsonl").exists()
        return done
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", OPT_MODELS)
def test_losses_and_log_probabilities_equal_the_reference(zo2, shared, tmp_path, name):
    folder = shared / "fixtures" / "hf" / name
    reference = json.loads((folder / "reference.json").read_text())
    cases = reference["sequences"] + reference["labelled"]
    items = [{key: case[key] for key in ("input_ids", "labels") if key in case} for case in cases]
    results = score(zo2, tmp_path, folder, items)
    for case, result in zip(cases, results, strict=True):
        assert result["tokens"] == case["tokens"]
        assert result["loss"] == pytest.approx(case["loss"], abs=1e-5)
        assert result["logprobs"] == pytest.approx(case["logprobs"], abs=2e-5)
        assert result["loss"] == pytest.approx(case["float64"]["loss"], abs=1e-5)
        assert result["logprobs"] == pytest.approx(case["float64"]["logprobs"], abs=2e-5)
    assert score(zo2, tmp_path, folder, items, "--offload") == results  # to the bit: JSON numbers read back exactly


def test_opt_mini_equals_its_float64_losses(zo2, shared, tmp_path):
    folder = shared / "models" / "opt-mini"
    reference = json.loads((folder / "reference.json").read_text())
    cases = reference["sequences"] if "sequences" in reference else reference
    items = [{"input_ids": case["input_ids"]} for case in cases]
    results = score(zo2, tmp_path, folder, items)
    for case, result in zip(cases, results, strict=True):
        assert result["loss"] == pytest.approx(case["loss_float64"], abs=2e-5)
    assert score(zo2, tmp_path, folder, items, "--offload") == results


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_sixteen_bit_scores_are_near_and_offloading_changes_nothing(zo2, shared, tmp_path, dtype):
    folder = shared / "fixtures" / "hf" / "opt-preln"
    case = json.loads((folder / "reference.json").read_text())["sequences"][3]
    items = [{"input_ids": case["input_ids"]}]
    results = score(zo2, tmp_path, folder, items, "--dtype", dtype)
    # 8 (11) bits of mantissa: a logit of about 2 is off by up to 2^-8 (2^-11) per rounding, over a dozen roundings.
    assert results[0]["loss"] == pytest.approx(case["loss"], abs=0.02 if dtype == "bf16" else 0.003)
    assert score(zo2, tmp_path, folder, items, "--dtype", dtype, "--offload") == results
