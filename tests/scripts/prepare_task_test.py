"""scripts/prepare_task.py: the protocol's rules on the tasks whose data is there, and files that say what they hold."""

import hashlib
import json
import pathlib

import pytest

pytest.importorskip("tokenizers")
import prepare_task  # noqa: E402
from folders import InputError  # noqa: E402
from task_data import encoding, readers, sampling, template  # noqa: E402
from task_data.token_file import read_token_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPERGLUE = {"BoolQ": "BoolQ", "CB": "CB", "Copa": "COPA", "MultiRC": "MultiRC", "RTE": "RTE", "ReCoRD": "ReCoRD",
             "WSC": "WSC", "WIC": "WiC"}
GENERATION = {"SQuAD": "squad", "DROP": "drop"}


@pytest.fixture(scope="session")
def data(shared, tmp_path_factory):
    """A function from a task's name to a folder with its files under their published names."""
    source = shared / "data"
    if not source.is_dir():
        pytest.skip("skipped: no shared data")

    def folder(task):
        if task == "SST2":
            return source / "sst2"
        made = tmp_path_factory.mktemp(task)
        names = template.Template(ROOT / "experiments" / "tasks" / f"{task}.yaml").data["files"]
        file = source / GENERATION[task] / "sample.json" if task in GENERATION else source / "superglue-few" / f"{SUPERGLUE[task]}.jsonl"
        for name in ("train", "validation"):
            (made / names[name][0]).write_bytes(file.read_bytes())
        return made

    return folder


@pytest.fixture
def prepare(shared, tmp_path, capsys):
    """Prepares a task with opt-mini's tokenizer; returns the output folder, its manifest and what was printed."""
    counter = iter(range(100))

    def run(task, folder, *arguments, code=0, tokenizer=shared / "models" / "opt-mini"):
        out = tmp_path / f"out{next(counter)}"
        done = prepare_task.main([str(task), "--data", str(folder), "--tokenizer", str(tokenizer), "--out", str(out),
                                  *map(str, arguments)])
        printed = capsys.readouterr()
        assert done == code, printed.err
        if code != 0:
            assert sorted(path.name for path in tmp_path.glob("*out*") if path.name == out.name or path.name[0] == ".") == []
            return printed.err
        return out, json.loads((out / "task.json").read_text()), printed

    return run


def read_tokens(path):
    """[(sequences as (ids, label_begin, label_end), right)]"""
    return [([(sequence.ids, sequence.label_begin, sequence.label_end) for sequence in example.sequences], example.right)
            for example in read_token_file(path)]


def texts(path, tokenizer):
    """[(prompt and label text of each sequence, right)]"""
    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=False)  # noqa: E731
    return [([(decode(ids[:begin]), decode(ids[begin:end])) for ids, begin, end in members], right)
            for members, right in read_tokens(path)]


@pytest.fixture(scope="session")
def tokenizer(shared):
    return encoding.load_tokenizer(shared / "models" / "opt-mini")[0]


def test_sst2_at_seed_0_has_mezos_rows_and_the_published_sizes(prepare, data):
    out, manifest, _ = prepare("SST2", data("SST2"))
    splits = manifest["splits"]
    assert splits["train"]["rows"][:5] == [43787, 16159, 59015, 5108, 67052]
    assert [splits[name]["examples"] for name in ("train", "dev", "eval")] == [1000, 500, 872]
    assert splits["eval"]["rows"] == list(range(872))
    assert not set(splits["train"]["rows"]) & set(splits["dev"]["rows"])
    assert sampling.permutation(0, 67349)[1000:1500] == splits["dev"]["rows"]
    for name, claims in splits.items():
        assert claims["tokens_sha256"] == hashlib.sha256((out / f"{name}.tokens").read_bytes()).hexdigest()
        assert claims["rows_sha256"] == hashlib.sha256(",".join(map(str, claims["rows"])).encode()).hexdigest()


def test_sst2_is_encoded_as_its_zero_shot_reference_was(prepare, data):
    out, manifest, _ = prepare("SST2", data("SST2"), "--train", 0, "--dev", 0)
    for members, right in read_tokens(out / "eval.tokens"):
        assert [ids[-1] for ids, _, _ in members] == [6587, 372]  # " terrible", " great"
        assert members[0][0][:-1] == members[1][0][:-1] and members[0][0][0] == 2
        assert all(len(ids) - 1 == begin and end == len(ids) for ids, begin, end in members)
        assert right in ([0], [1])
    assert manifest["first_token"] == {"bos": "tokenizer", "id": 2}
    assert list(manifest["splits"]) == ["eval"]


def test_bos_mezo_changes_the_first_token_only(prepare, data):
    plain, _, _ = prepare("SST2", data("SST2"), "--train", 0, "--dev", 0, "--eval", 20)
    mezo, manifest, _ = prepare("SST2", data("SST2"), "--train", 0, "--dev", 0, "--eval", 20, "--bos", "mezo")
    assert manifest["first_token"] == {"bos": "mezo", "id": 0}
    for (members, right), (others, other_right) in zip(read_tokens(plain / "eval.tokens"), read_tokens(mezo / "eval.tokens"), strict=True):
        assert right == other_right
        for (ids, *span), (other, *other_span) in zip(members, others, strict=True):
            assert other == [0, *ids[1:]] and span == other_span
    # 20 of 872 are a draw, not the first ones.
    assert manifest["splits"]["eval"]["rows"] == sampling.permutation(0, 872)[:20]


# The whole text of the first row for which each template's rules all matter, as the protocol's table has them.
EXPECTED = {
    "BoolQ": ("a 4 year college?\n", ["Yes", "No"]),
    "CB": ("\"? Yes, No, or Maybe?\n", ["Yes", "No", "Maybe"]),
    "Copa": ("I ran out of breath because", [" I climbed several flights of stairs.", " I read several chapters of the book."]),
    "MultiRC": ("\". Is that correct? Yes or No?\n", ["No", "Yes"]),
    "RTE": ("\" is true? Yes or No?\n", ["Yes", "No"]),
    "ReCoRD": ("\n-", None),
    "WSC": ("does the pronoun \"they\" refer to Pam's parents? Yes or No?\n", ["No", "Yes"]),
    "WIC": ("Does the word \"catch\" have the same meaning in these two sentences? Yes, No?\nCatch fire.\nCatch the mood.\n",
            ["No", "Yes"]),
}


@pytest.mark.parametrize("task", EXPECTED)
def test_one_real_example_of_each_candidate_task(prepare, data, tokenizer, task):
    out, manifest, printed = prepare(task, data(task), "--train", 20, "--dev", 5, "--eval", 10, "--show", 1)
    print(printed.out)
    prompt, candidates = EXPECTED[task]
    members, right = texts(out / "eval.tokens", tokenizer)[0]
    assert all(text.startswith("</s>") and text.endswith(prompt) for text, _ in members)
    if candidates is not None:
        assert [label for _, label in members] == candidates
    for text, label in members:
        assert f"{text}[[{label}]]" in printed.out
    assert right and manifest["kind"] == "candidates"


def test_record_puts_every_entity_into_the_query_and_counts_every_right_one(prepare, data, tokenizer):
    folder = data("ReCoRD")
    out, manifest, _ = prepare("ReCoRD", folder, "--train", 0, "--dev", 0, "--max-length", 2048)
    rows = readers.read_rows("superglue_record", folder / "val.jsonl", False)
    assert manifest["inputs"]["validation"]["rows"] == len(rows) >= 32
    for row, (members, right) in zip(rows, texts(out / "eval.tokens", tokenizer), strict=True):
        assert row["entities"] == sorted(set(row["entities"]))
        assert [label for _, label in members] == [" " + row["query"].replace("@placeholder", entity).rstrip(" ")
                                                   for entity in row["entities"]]
        assert [row["entities"][i] for i in right] == row["answers"]
        assert all("@highlight" not in text for text, _ in members)


@pytest.mark.parametrize("task", GENERATION)
def test_one_real_example_of_each_generation_task(prepare, data, tokenizer, task):
    out, manifest, printed = prepare(task, data(task), "--train", 3, "--dev", 1, "--eval", 4, "--show", 1)
    print(printed.out)
    answers = [json.loads(line) for line in (out / "eval.answers.jsonl").read_text().splitlines()]
    examples = texts(out / "eval.tokens", tokenizer)
    assert len(answers) == len(examples) == 4
    assert manifest["max_length"] == 512 - 50
    for given, (((prompt, label), (alone, nothing)), right) in zip(answers, examples, strict=True):
        assert label == f" {given[0]}\n" and nothing == "" and right == [0]
        assert prompt == alone and prompt.endswith("\nAnswer:") and "\nQuestion: " in prompt
    first = {"SQuAD": "</s>Title: University_of_Notre_Dame\nContext: Architecturally", "DROP": "</s>Passage: "}[task]
    assert examples[0][0][0][0].startswith(first) or manifest["splits"]["eval"]["rows"][0] != 0


@pytest.mark.parametrize("task", GENERATION)
def test_generation_tasks_say_where_answers_end_and_what_ids_spell(prepare, data, tokenizer, task):
    out, manifest, _ = prepare(task, data(task), "--train", 0, "--dev", 0, "--eval", 1)
    claims = manifest["generation"]
    assert claims["new_tokens"] == 50
    assert claims["ends"] == [tokenizer.encode("\n", add_special_tokens=False).ids[0], 2]
    vocabulary = (out / "vocabulary.txt").read_bytes()
    assert claims["vocabulary_sha256"] == hashlib.sha256(vocabulary).hexdigest()
    spelt = [bytes.fromhex(line) for line in vocabulary.decode().split("\n")[:-1]]
    assert len(spelt) == manifest["tokenizer"]["vocab_size"] and spelt[:3] == [b"<s>", b"", b""]  # 2 is the first token
    for text in ("A naïve café, 北京 — \U0001F600\tok\n", "\x00\x7f\xa0\xad  two  spaces", " don't"):
        ids = tokenizer.encode(text).ids
        assert ids[0] == 2 and b"".join(spelt[id] for id in ids).decode() == text
    assert b"\xe5" in spelt  # a part of a character
    assert all(spelt[id].decode("utf-8", "replace") == tokenizer.decode([id]) for id in range(0, len(spelt), 97))
    out, _, _ = prepare(task, data(task), "--train", 0, "--dev", 0, "--eval", 1, "--bos", "mezo")
    assert (out / "vocabulary.txt").read_text().startswith("\n\n\n")  # <s> is, and </s> stays special


def test_what_cannot_be_generated_is_refused(prepare, data, tmp_path):
    text = (ROOT / "experiments" / "tasks" / "SQuAD.yaml").read_text()
    endless = tmp_path / "endless.yaml"
    endless.write_text(text.replace("new_tokens: 50\n", ""))
    assert "says how many" in prepare(endless, data("SQuAD"), code=2)


def test_drop_answers_are_numbers_dates_or_spans_in_one_list(tmp_path):
    empty = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": []}
    number, spans = {**empty, "number": "3"}, {**empty, "spans": ["a b", "c"]}
    date = {**empty, "date": {"day": "4", "month": "July", "year": ""}}
    both = {**number, "spans": ["x"]}
    questions = [{"question": "q", "answer": answer, **extra} for answer, extra in
                 [(number, {}), (date, {}), (spans, {}), (empty, {}), (both, {}), (number, {"validated_answers": [date, spans]})]]
    file = tmp_path / "drop.json"
    file.write_text(json.dumps({"p": {"passage": "text", "qa_pairs": questions}}))
    answers = lambda training: [row["answers"] for row in readers.read_rows("drop", file, training)]  # noqa: E731
    assert answers(True) == [["3"], ["4 July"], ["a b", "c"], ["3"]]
    assert answers(False) == [["3"], ["4 July"], ["a b", "c"], ["4 July", "a b", "c"]]


@pytest.mark.parametrize("text, span, index, repaired", [
    ("They saw the dog run.", "The dog", 2, "the dog"),
    ("Dogs ran home.", "dogs", 0, "Dogs"),
    ("He left the house", "the house.", 2, "the house"),
    ("A large red ball", "large\nred", 1, "large red"),
    ("He left the house", "the house", 2, "the house"),
    ("Kamenev and also Zinoviev", "Kamenev and Zinoviev", 0, "Kamenev and Zinoviev"),
])
def test_wsc_spans_are_repaired_as_wsc_fixed_does(text, span, index, repaired):
    assert readers.repaired_span(text, span, index) == repaired


def test_demonstrations_are_other_ones_for_each_example_and_end_with_an_empty_line(prepare, data, tokenizer):
    assert sampling.demonstration_seeds(5) == [2732, 9845, 3264, 4859, 9225]
    out, manifest, _ = prepare("SST2", data("SST2"), "--train", 0, "--dev", 0, "--icl", 2)
    plain, _, _ = prepare("SST2", data("SST2"), "--train", 0, "--dev", 0)
    rows = readers.read_rows("glue_tsv", data("SST2") / "train.tsv", True)
    words = {"0": "terrible", "1": "great"}
    zipped = zip(texts(out / "eval.tokens", tokenizer), texts(plain / "eval.tokens", tokenizer))
    for i, ((members, right), (alone, same)) in zip(range(5), zipped):
        chosen = [rows[row] for row in sampling.permutation(sampling.demonstration_seeds(872)[i], len(rows))[:2]]
        before = "".join(f"{row['sentence'].strip()} It was {words[row['label']]}\n\n" for row in chosen)
        assert right == same
        for (prompt, label), (alone_prompt, alone_label) in zip(members, alone, strict=True):
            assert prompt == "</s>" + before + alone_prompt.removeprefix("</s>") and label == alone_label
    assert manifest["demonstrations"] == 2


def test_long_inputs_lose_tokens_on_the_left_after_the_first_one(prepare, data, tokenizer):
    whole, _, _ = prepare("MultiRC", data("MultiRC"), "--train", 0, "--dev", 0, "--max-length", 2048)
    cut, manifest, _ = prepare("MultiRC", data("MultiRC"), "--train", 0, "--dev", 0, "--max-length", 100)
    long = 0
    for (members, _), (others, _) in zip(read_tokens(whole / "eval.tokens"), read_tokens(cut / "eval.tokens"), strict=True):
        for (ids, begin, end), (short, short_begin, short_end) in zip(members, others, strict=True):
            assert short == (ids if len(ids) <= 100 else ids[:1] + ids[-99:])
            assert short[short_begin:short_end] == ids[begin:end]
            long += len(ids) > 100
    assert manifest["splits"]["eval"]["truncated"] == long > 0
    assert manifest["splits"]["eval"]["longest"] == 100


def test_completions_train_on_the_completion_and_texts_on_everything_once(prepare, tmp_path, tokenizer):
    source = tmp_path / "own"
    source.mkdir()
    pairs = [{"prompt": f"Question {i}: ", "completion": f"answer {i}"} for i in range(5)]
    for name in ("train", "val"):
        (source / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    out, manifest, _ = prepare("completions", source, "--dev", 2)
    assert [manifest["splits"][name]["examples"] for name in ("train", "dev", "eval")] == [3, 2, 5]
    assert texts(out / "eval.tokens", tokenizer) == [([(f"</s>Question {i}:", f" answer {i}")], [0]) for i in range(5)]

    text = "  First line\n" + " ".join(f"word{i}" for i in range(50)) + "\n"
    (source / "val.jsonl").write_text(json.dumps({"text": text}) + "\n")
    out, manifest, _ = prepare("text", source, "--train", 0, "--max-length", 20)
    pieces = [members[0] for members, _ in read_tokens(out / "eval.tokens")]
    assert len(pieces) > 2 and all(len(ids) == 20 for ids, _, _ in pieces[:-1])
    assert all(ids[0] == 2 and (begin, end) == (1, len(ids)) for ids, begin, end in pieces)
    assert tokenizer.decode([i for ids, _, _ in pieces for i in ids[1:]]) == text
    assert manifest["splits"]["eval"]["rows"] == [0]


def test_vocab_and_merges_give_the_ids_of_tokenizer_json(shared, tmp_path, tokenizer):
    saved = json.loads((shared / "models" / "opt-mini" / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(saved["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in saved["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "opt", "max_position_embeddings": 512}))
    other, _ = encoding.load_tokenizer(tmp_path)
    for text in ("", "it was great", " It wasn't\n\nbad</s> naïve  日本語\t!"):
        assert other.encode(text).ids == tokenizer.encode(text).ids


@pytest.mark.parametrize("arguments, said", [
    (["SST3"], "no task 'SST3': known are BoolQ"),
    (["SST2", "--train", 67000, "--dev", 500], "the training file has 67349 rows"),
    (["RTE"], "no train.jsonl, which RTE reads (SuperGLUE rte)"),
    (["SST2", "--train", 0, "--dev", 0, "--eval", 0], "no split is left"),
    (["SST2", "--max-length", 1], "too small"),
])
def test_what_cannot_be_done_is_said_and_leaves_nothing(prepare, data, arguments, said):
    assert said in prepare(arguments[0], data("SST2"), *arguments[1:], code=2)


@pytest.mark.parametrize("content, said", [
    ("sentence\tlabel\nfine\t2\n", "row 0: field 'label' is '2', known are ['0', '1']"),
    ("sentence\tlabel\nfine\n", "dev.tsv:2: 1 fields, the header has 2"),
    ("text\tlabel\nfine\t1\n", "'sentence' is undefined"),
    ("sentence\tlabel\n", "dev.tsv has no rows"),
    ("", "dev.tsv is empty"),
])
def test_bad_rows_are_named(prepare, tmp_path, content, said):
    (tmp_path / "dev.tsv").write_text(content)
    assert said in prepare("SST2", tmp_path, "--train", 0, "--dev", 0, code=2)


@pytest.mark.parametrize("change, said", [
    (lambda data: data.pop("whole"), "no 'whole'"),
    (lambda data: data.update(candidate=1), "unknown key 'candidate'"),
    (lambda data: data.update(kind="quiz"), "kind is 'quiz'"),
    (lambda data: data.update(candidates=["{{ 1", "2"]), "unexpected end of template"),
    (lambda data: data.update(candidates=[False, True]), "False is not a string (quote it)"),
    (lambda data: data["right"].update(values=["0", "1", "2"]), "right.values has not one value for each candidate"),
    (lambda data: data.update(form="csv"), "form 'csv', known are glue_tsv"),
])
def test_bad_templates_are_named(prepare, data, tmp_path, change, said):
    import yaml
    content = yaml.safe_load((ROOT / "experiments" / "tasks" / "SST2.yaml").read_text())
    change(content)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert said in prepare(tmp_path / "mine.yaml", data("SST2"), code=2)


def test_tokenizers_that_cannot_be_used_are_named(prepare, data, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "neither tokenizer.json nor vocab.json" in prepare("SST2", data("SST2"), code=2, tokenizer=tmp_path / "empty")
    (tmp_path / "empty" / "tokenizer.json").write_text("{}")
    assert "no tokenizer that can be read" in prepare("SST2", data("SST2"), code=2, tokenizer=tmp_path / "empty")


def test_an_existing_folder_is_not_touched(shared, data, tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert prepare_task.main(["SST2", "--data", str(data("SST2")), "--tokenizer", str(shared / "models" / "opt-mini"),
                              "--out", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("spoil, said", [
    (lambda content: b"ZO3TOKEN" + content[8:], "is no token file"),
    (lambda content: content[:40], "is no token file"),
    (lambda content: content[:8] + b"\2" + content[9:], "has version 2"),
    (lambda content: content[:-4], "its header asks for")])
def test_a_spoiled_token_file_is_refused(prepare, data, tmp_path, spoil, said):
    out, _, _ = prepare("SST2", data("SST2"), "--train", 0, "--dev", 0, "--eval", 3)
    (tmp_path / "spoiled").write_bytes(spoil((out / "eval.tokens").read_bytes()))
    with pytest.raises(InputError, match=said):
        read_token_file(tmp_path / "spoiled")
