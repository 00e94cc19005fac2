"""zo2 eval: candidate scores against transformers' on tiny checkpoints, accuracy of a real model, and what is refused."""

import hashlib
import json

import pytest

pytest.importorskip("tokenizers")
from task_data.encoding import Sequence  # noqa: E402
from task_data.sampling import rows_sha256  # noqa: E402
from task_data.token_file import TokenFileWriter  # noqa: E402


def write_task(folder, examples, kind="candidates", vocab=512, answers=None):
    """A task folder with one split, eval. `examples`: ([(ids, label_begin)], right); labels go to the end."""
    folder.mkdir()
    writer = TokenFileWriter()
    for sequences, right in examples:
        writer.add([Sequence(ids, begin, len(ids)) for ids, begin in sequences], right)
    writer.save(folder / "eval.tokens")
    rows = list(range(len(examples)))
    split = {"from": "validation", "tokens_sha256": hashlib.sha256((folder / "eval.tokens").read_bytes()).hexdigest(),
             **writer.counts(), "rows": rows, "rows_sha256": rows_sha256(rows)}
    if answers is not None:
        text = "".join(json.dumps(answer) + "\n" for answer in answers)
        (folder / "eval.answers.jsonl").write_text(text)
        split["answers_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    manifest = {"format": 1, "task": "tiny", "kind": kind, "metric": "accuracy", "objective": "lm",
                "template": {"file": "tiny.yaml", "sha256": ""}, "tokenizer": {"sha256": "", "vocab_size": vocab},
                "first_token": None, "data_seed": 0, "max_length": 128, "demonstrations": 0, "rules": {},
                "inputs": {"validation": {"file": "", "sha256": "", "rows": len(rows)}}, "splits": {"eval": split}}
    (folder / "task.json").write_text(json.dumps(manifest))
    return folder


def evaluate(zo2, model, task, *flags):
    return json.loads(zo2("eval", "--model", model, "--task", task, "--device", "cpu", "--json", *flags).stdout)


@pytest.mark.parametrize("name", ["opt-preln", "opt-untied", "opt-postln", "opt-f16", "opt-sharded"])
@pytest.mark.parametrize("flags", [[], ["--offload"], ["--batch", "1"]], ids=["resident", "offload", "one by one"])
def test_candidate_scores_equal_those_of_transformers(zo2, shared, tmp_path, name, flags):
    folder = shared / "fixtures" / "hf" / name
    cases = json.loads((folder / "reference.json").read_text())["candidates"]
    task = write_task(tmp_path / "task", [
        ([(case["prompt_ids"] + candidate["ids"], len(case["prompt_ids"])) for candidate in case["candidates"]],
         [case["best_by_mean"]]) for case in cases])
    result = evaluate(zo2, folder, task, "--predictions", tmp_path / "predictions", *flags)
    lines = [json.loads(line) for line in (tmp_path / "predictions").read_text().splitlines()]
    for case, line in zip(cases, lines, strict=True):
        assert line["sums"] == pytest.approx([candidate["sum"] for candidate in case["candidates"]], abs=1e-4)
        assert line["means"] == pytest.approx([candidate["mean"] for candidate in case["candidates"]], abs=1e-4)
        assert line["predicted"] == case["best_by_mean"]
        assert max(range(3), key=line["sums"].__getitem__) == case["best_by_sum"]
    assert (result["right"], result["n"], result["accuracy"], result["standard_error"]) == (len(cases), len(cases), 1, 0)


def test_opt_mini_has_711_of_872_sentences_right_zero_shot(zo2, shared, script, tmp_path):
    model = shared / "models" / "opt-mini"
    script("prepare_task.py", "SST2", "--data", shared / "data" / "sst2", "--tokenizer", model, "--out", tmp_path / "task",
           "--train", 0, "--dev", 0)
    done = zo2("eval", "--model", model, "--task", tmp_path / "task", "--device", "cpu", "--json")
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert (result["right"], result["n"]) == (711, 872)
    assert result["standard_error"] == pytest.approx(0.01314, abs=1e-5)
    assert result["lm_loss"] == pytest.approx(0.99391, abs=2e-5)
    assert result["first_token"] == {"bos": "tokenizer", "id": 2}


def test_a_prepared_generation_task_opens_and_has_the_loss_of_its_first_answers(zo2, shared, script, tmp_path):
    model, data = shared / "models" / "opt-mini", tmp_path / "data"
    data.mkdir()
    (data / "dev-v1.1.json").write_bytes((shared / "data" / "squad" / "sample.json").read_bytes())
    script("prepare_task.py", "SQuAD", "--data", data, "--tokenizer", model, "--out", tmp_path / "task", "--train", 0,
           "--dev", 0)
    result = evaluate(zo2, model, tmp_path / "task", "--batch", 4)
    assert result["n"] >= 4 and 0 < result["lm_loss"] < 11


def test_any_right_candidate_counts_and_the_loss_takes_the_first(zo2, shared, tmp_path):
    folder = shared / "fixtures" / "hf" / "opt-preln"
    case = json.loads((folder / "reference.json").read_text())["candidates"][0]
    sequences = [(case["prompt_ids"] + candidate["ids"], len(case["prompt_ids"])) for candidate in case["candidates"]]
    best = case["best_by_mean"]
    others = [i for i in range(3) if i != best]
    results = [evaluate(zo2, folder, write_task(tmp_path / str(i), [(sequences, right)]))
               for i, right in enumerate([[best], others, sorted([best, others[0]])])]
    assert [result["accuracy"] for result in results] == [1, 0, 1]
    first = case["candidates"][min(best, others[0])]
    assert results[2]["lm_loss"] == pytest.approx(-first["mean"], abs=1e-5)


def test_texts_and_answers_have_the_loss_of_their_labels(zo2, shared, tmp_path):
    folder = shared / "fixtures" / "hf" / "opt-preln"
    cases = json.loads((folder / "reference.json").read_text())["sequences"]
    expected = sum(-sum(case["logprobs"]) for case in cases) / sum(case["tokens"] for case in cases)
    text = write_task(tmp_path / "text", [([(case["input_ids"], 1)], [0]) for case in cases], kind="text")
    result = evaluate(zo2, folder, text)
    assert result["lm_loss"] == pytest.approx(expected, abs=1e-5)
    assert "accuracy" not in result
    ids = cases[0]["input_ids"]
    answers = write_task(tmp_path / "answers", [([(ids, 1), (ids[:4], 4)], [0])], kind="generation", answers=[["a"]])
    result = evaluate(zo2, folder, answers)
    assert result["lm_loss"] == pytest.approx(cases[0]["loss"], abs=1e-5)


def test_what_does_not_fit_the_model_or_the_file_is_named(zo2, shared, tmp_path):
    folder = shared / "fixtures" / "hf" / "opt-preln"

    def refusal(task, *flags):
        done = zo2("eval", "--model", folder, "--task", task, "--device", "cpu", *flags, code=2)
        assert done.stdout == ""
        return done.stderr

    short = [([([2, 5], 1), ([2, 6], 1)], [0])]
    assert "a vocabulary of 50265" in refusal(write_task(tmp_path / "vocab", short, vocab=50265))
    long = write_task(tmp_path / "long", [([([2] * 129, 1)], [0])])
    assert "129 tokens, model opt-preln has 128 positions: prepare the task with --max-length 128" in refusal(long)
    good = write_task(tmp_path / "good", short)
    assert "no split 'dev'; it has eval" in refusal(good, "--split", "dev")
    assert "--batch 0" in refusal(good, "--batch", "0")
    text = write_task(tmp_path / "text", [([([2, 5], 1)], [0])], kind="text")
    assert "has no candidates" in refusal(text, "--predictions", tmp_path / "p")
    content = (good / "eval.tokens").read_bytes()
    (good / "eval.tokens").write_bytes(content[:-4])
    assert "was changed since" in refusal(good)
    assert "prepare_task.py" in refusal(tmp_path)


def test_a_task_of_another_tokenizer_is_warned_of(zo2, shared, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for file in (shared / "fixtures" / "hf" / "opt-preln").iterdir():
        if file.is_file():
            (model / file.name).write_bytes(file.read_bytes())
    (model / "tokenizer.json").write_text("{}")
    task = write_task(tmp_path / "task", [([([2, 5], 1), ([2, 6], 1)], [0])])
    done = zo2("eval", "--model", model, "--task", task, "--device", "cpu")
    assert "another tokenizer" in done.stderr
