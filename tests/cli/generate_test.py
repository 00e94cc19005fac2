"""zo2 generate: greedy tokens with a cache of keys and values, against none, against offloading, and against transformers."""

import json
import random

import pytest


@pytest.fixture
def generate(zo2, tmp_path):
    """A function from prompts and flags to the new tokens of each and what it took."""
    def run(model, prompts, *flags):
        source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        source.write_text("".join(json.dumps({"input_ids": prompt}) + "\n" for prompt in prompts))
        done = zo2("generate", "--model", model, "--input", source, "--output", out, "--device", "cpu", "--json", *flags)
        return [json.loads(line)["output_ids"] for line in out.read_text().splitlines()], json.loads(done.stdout)

    return run


def prompts_of(vocab, lengths, seed=1):
    draw = random.Random(seed)
    return [[2] + [draw.randrange(4, vocab) for _ in range(length - 1)] for length in lengths]


@pytest.mark.parametrize("name", ["opt-preln", "opt-postln", "opt-untied", "opt-sharded", "opt-f16"])
def test_cache_offload_and_batch_change_no_token(generate, shared, name):
    model = shared / "fixtures" / "hf" / name
    prompts = prompts_of(512, [7, 1, 30, 12, 30])
    expected, took = generate(model, prompts, "--max-new", 20)
    assert [len(ids) for ids in expected] == [20] * 5 and len(set(sum(expected, []))) > 10
    assert (took["prompts"], took["tokens"], took["passes"]) == (5, 100, 20)
    assert generate(model, prompts, "--max-new", 20, "--offload")[0] == expected
    assert generate(model, prompts, "--max-new", 20, "--no-cache")[0] == expected
    alone, took = generate(model, prompts, "--max-new", 20, "--batch", 1)
    assert alone == expected and took["passes"] == 100


def test_a_sequence_ends_with_a_stop_token(generate, shared):
    model = shared / "fixtures" / "hf" / "opt-preln"
    prompts = prompts_of(512, [7, 3, 12])
    free = generate(model, prompts, "--max-new", 12)[0]
    stops = [free[0][3], free[1][0]]
    ended, took = generate(model, prompts, "--max-new", 12, "--stop", *stops)
    for ids, whole in zip(ended, free, strict=True):
        length = min([whole.index(stop) + 1 for stop in stops if stop in whole], default=12)
        assert ids == whole[:length]
    assert len(ended[1]) == 1 and took["passes"] == max(map(len, ended))


def test_every_position_of_the_model_can_be_used_and_none_more(generate, zo2, shared, tmp_path):
    model = shared / "fixtures" / "hf" / "opt-preln"
    prompts = prompts_of(512, [127, 119])
    longest, _ = generate(model, prompts, "--max-new", 2)
    assert [len(ids) for ids in longest] == [2, 2]
    assert generate(model, prompts, "--max-new", 2, "--no-cache")[0] == longest
    for flags in ([], ["--no-cache"]):
        done = zo2("generate", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "none",
                   "--max-new", 3, "--device", "cpu", *flags, code=2)
        assert "129" in done.stderr and "128" in done.stderr
        assert not (tmp_path / "none").exists()


def test_what_cannot_be_continued_is_named(zo2, shared, tmp_path):
    source = tmp_path / "in.jsonl"

    def refusal(text, *flags):
        source.write_text(text)
        return zo2("generate", "--model", shared / "fixtures" / "hf" / "opt-preln", "--input", source, "--output",
                   tmp_path / "out.jsonl", "--device", "cpu", *flags, code=2).stderr

    assert "has no prompts" in refusal("")
    assert "in.jsonl:2: input_ids is empty" in refusal('{"input_ids": [1]}\n{"input_ids": []}\n')
    assert "token id 512 is outside the vocabulary of 512" in refusal('{"input_ids": [512]}\n')
    assert "--max-new 0" in refusal('{"input_ids": [1]}\n', "--max-new", 0)
    assert "--batch 0" in refusal('{"input_ids": [1]}\n', "--batch", 0)
    assert not (tmp_path / "out.jsonl").exists()


def test_opt_mini_says_what_transformers_says(generate, shared):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = shared / "models" / "opt-mini"
    prompts = prompts_of(50265, [6, 17, 40, 9, 100])
    new, _ = generate(folder, prompts, "--max-new", 50, "--stop", 2, "--offload")
    model = transformers.OPTForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt, ids in zip(prompts, new, strict=True):
        ids_of_prompt = torch.tensor([prompt])
        said = model.generate(ids_of_prompt, attention_mask=torch.ones_like(ids_of_prompt), do_sample=False, num_beams=1,
                              max_new_tokens=50, eos_token_id=2)
        assert ids == said[0, len(prompt):].tolist()
