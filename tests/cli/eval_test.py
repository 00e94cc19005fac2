"""zo2 eval: candidate scores against transformers' on tiny checkpoints, accuracy of a real model, F1 of generated answers,
and what is refused."""

import collections
import json
import re
import statistics
import string

import pytest

pytest.importorskip("tokenizers")
from task_folder import write_task  # noqa: E402


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


def normalised(text):
    """MeZO's metrics.py, normalize_answer, from SQuAD's evaluation script."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1_of(prediction, answers):
    """The same file, f1, for answers that exist."""
    def one(answer):
        words, expected = normalised(prediction).split(), normalised(answer).split()
        same = sum((collections.Counter(words) & collections.Counter(expected)).values())
        return 2 * same / (len(words) + len(expected)) if same else 0.0
    return max(map(one, answers))


@pytest.mark.parametrize("task", ["SQuAD", "DROP"])
def test_answers_are_generated_and_scored_by_f1(zo2, shared, script, tmp_path, task):
    tokenizers = pytest.importorskip("tokenizers")
    model, data = shared / "models" / "opt-mini", tmp_path / "data"
    data.mkdir()
    file = {"SQuAD": "dev-v1.1.json", "DROP": "drop_dataset_dev.json"}[task]
    (data / file).write_bytes((shared / "data" / task.lower() / "sample.json").read_bytes())
    script("prepare_task.py", task, "--data", data, "--tokenizer", model, "--out", tmp_path / "task", "--train", 0,
           "--dev", 0, "--eval", 4)
    result = evaluate(zo2, model, tmp_path / "task", "--predictions", tmp_path / "predictions")
    lines = [json.loads(line) for line in (tmp_path / "predictions").read_text().splitlines()]
    given = [json.loads(line) for line in (tmp_path / "task" / "eval.answers.jsonl").read_text().splitlines()]
    assert [line["answers"] for line in lines] == given and len(given) == result["n"] == 4
    decode = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json")).decode
    for line in lines:
        assert line["text"] == decode(line["output_ids"]).strip()  # nothing for transformers to clean up
        assert 1 <= len(line["output_ids"]) <= 50 and "\n" not in line["text"]
        assert line["f1"] == pytest.approx(f1_of(line["text"], line["answers"]), abs=1e-12)
        assert line["exact_match"] == (normalised(line["text"]) in map(normalised, line["answers"]))
    scores = [line["f1"] for line in lines]
    assert result["f1"] == pytest.approx(statistics.mean(scores))
    assert result["standard_error"] == pytest.approx(statistics.stdev(scores) / 2)
    assert 0 < result["lm_loss"] < 15
    for flags in (["--offload"], ["--batch", 1]):
        again = evaluate(zo2, model, tmp_path / "task", "--predictions", tmp_path / "again", *flags)
        assert again["f1"] == result["f1"]
        assert (tmp_path / "again").read_text() == (tmp_path / "predictions").read_text()


def test_right_answers_have_f1_1_and_match(zo2, shared, tmp_path):
    folder = shared / "fixtures" / "hf" / "opt-preln"
    prompts = [[2, 9, 11], [2, 77], [2, 30, 31, 32]]

    def task(name, answers, **rule):
        examples = [([(prompt + [7], len(prompt)), (prompt, len(prompt))], [0]) for prompt in prompts]
        return write_task(tmp_path / name, examples, kind="generation", answers=answers, **rule)

    def lines_of(folder_of_task):
        result = evaluate(zo2, folder, folder_of_task, "--predictions", tmp_path / "p")
        return result, [json.loads(line) for line in (tmp_path / "p").read_text().splitlines()]

    _, said = lines_of(task("first", [["x"]] * 3))
    texts = [line["text"] for line in said]
    assert texts == [" ".join(map(str, line["output_ids"])) for line in said] and all(len(t.split()) == 5 for t in texts)
    words = texts[2].split()
    result, _ = lines_of(task("second", [["x", f"The {texts[0]}!"], [texts[1]], [" ".join(words[:-1])]]))
    assert (result["exact_match"], result["n"]) == (pytest.approx(2 / 3), 3)
    assert result["f1"] == pytest.approx((2 + f1_of(texts[2], [" ".join(words[:-1])])) / 3)
    printed = zo2("eval", "--model", folder, "--task", tmp_path / "second", "--device", "cpu").stdout
    assert f"F1 {100 * result['f1']:.2f} % +- {100 * result['standard_error']:.2f} (3), exact match 66.67 %" in printed
    ends = [said[0]["output_ids"][1]]
    _, ended = lines_of(task("third", [["x"]] * 3, ends=ends))
    assert ended[0]["output_ids"] == said[0]["output_ids"][:said[0]["output_ids"].index(ends[0]) + 1]


def test_what_a_generation_task_claims_is_checked(zo2, shared, tmp_path):
    folder = shared / "fixtures" / "hf" / "opt-preln"

    def refusal(name, change, **rule):
        task = write_task(tmp_path / name, [([([2, 5, 6], 2), ([2, 5], 2)], [0])], kind="generation", answers=[["a"]], **rule)
        change(task)
        return zo2("eval", "--model", folder, "--task", task, "--device", "cpu", code=2).stderr

    def without_generation(task):
        manifest = json.loads((task / "task.json").read_text())
        del manifest["generation"]
        (task / "task.json").write_text(json.dumps(manifest))

    assert "has no 'generation'" in refusal("none", without_generation)
    assert "was changed since" in refusal("vocabulary", lambda task: (task / "vocabulary.txt").write_text("00\n"))
    assert "id 512 is outside" in refusal("ends", lambda task: None, ends=[512])
    assert "new_tokens is 0" in refusal("tokens", lambda task: None, new_tokens=0)
    long = refusal("long", lambda task: None, new_tokens=128)
    assert "128 new tokens take 129 positions, model opt-preln has 128: prepare the task with --max-length 128" in long


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
    assert "has neither candidates nor answers" in refusal(text, "--predictions", tmp_path / "p")
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
