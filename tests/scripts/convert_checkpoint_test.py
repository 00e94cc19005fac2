"""scripts/convert_checkpoint.py: a folder of pytorch_model*.bin becomes one that zo2 reads to the same bits."""

import json
import resource
import shutil

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
import convert_checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def mini(shared):
    folder = shared / "models" / "opt-mini"
    if not folder.is_dir():
        pytest.skip("skipped: no opt-mini")
    return folder


@pytest.fixture
def published(mini, tmp_path):
    """opt-mini as Meta published OPT: pickled, names without "model.", a head that is the token table."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(mini / name, folder / name)
    state = {name.removeprefix("model."): tensor for name, tensor in safetensors.load_file(mini / "model.safetensors").items()}
    assert all(name.startswith("decoder.") for name in state)
    state["decoder.version"] = torch.tensor([3.0])
    return folder, state


@pytest.fixture
def small(tmp_path):
    """As `published`, of 4 MB."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder, {f"decoder.{name}": torch.zeros(1 << 18) for name in ("embed_tokens.weight", "a", "b", "c")}


def write_single(folder, state):
    torch.save(state | {"lm_head.weight": state["decoder.embed_tokens.weight"]}, folder / "pytorch_model.bin")


def write_shards(folder, state, count=3):
    names = sorted(state)
    weight_map = {}
    for i in range(count):
        shard = f"pytorch_model-{i + 1:05}-of-{count:05}.bin"
        torch.save({name: state[name] for name in names[i::count]}, folder / shard)
        weight_map |= dict.fromkeys(names[i::count], shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def score(zo2, model, tmp_path):
    items = [{"input_ids": [2, 1620, 4505, 6, 884, 12520, 272, 34260]}, {"input_ids": [2, 243, 21, 372]}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    zo2("score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    return (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize("write", [write_single, write_shards])
def test_scores_are_equal_to_the_bit_and_the_tokenizer_comes_along(script, zo2, mini, published, tmp_path, write):
    folder, state = published
    write(folder, state)
    done = script("convert_checkpoint.py", folder, tmp_path / "out")
    assert done.stdout == ""
    assert score(zo2, tmp_path / "out", tmp_path) == score(zo2, mini, tmp_path)
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (mini / name).read_bytes()
    assert not list(tmp_path.glob(".out*"))


def test_a_head_that_is_the_token_table_is_left_out_and_said(script, published, tmp_path):
    write_single(*published)
    done = script("convert_checkpoint.py", published[0], tmp_path / "out")
    assert "'lm_head.weight' is 'decoder.embed_tokens.weight'" in done.stderr
    converted = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    assert converted.keys() == published[1].keys()
    assert all(torch.equal(tensor, published[1][name]) for name, tensor in converted.items())


def test_a_token_table_under_the_heads_name_alone_scores_the_same(script, zo2, mini, published, tmp_path):
    folder, state = published
    state["lm_head.weight"] = state.pop("decoder.embed_tokens.weight")
    torch.save(state, folder / "pytorch_model.bin")
    script("convert_checkpoint.py", folder, tmp_path / "out")
    assert score(zo2, tmp_path / "out", tmp_path) == score(zo2, mini, tmp_path)


def test_views_of_one_storage_are_written_in_full(script, tmp_path):
    folder = tmp_path / "views"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {"a": whole, "b": whole[1], "c": whole.t(), "lm_head.weight": whole[:2]}
    torch.save(state, folder / "pytorch_model.bin")
    script("convert_checkpoint.py", folder, tmp_path / "out")
    converted = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[name], state[name]) for name in state)


class Harmful:
    def __reduce__(self):
        return (open, ("harmful", "w"))



def break_config(folder, state):
    write_single(folder, state)
    (folder / "config.json").unlink()


def break_index(folder, state):
    write_shards(folder, state)
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": 3}')


def break_shard_name(folder, state):
    write_shards(folder, state)
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "../a.bin"}}')


def lose_shard(folder, state):
    write_shards(folder, state)
    (folder / "pytorch_model-00002-of-00003.bin").unlink()


def lose_tensor(folder, state):
    write_shards(folder, state)
    torch.save({}, folder / "pytorch_model-00003-of-00003.bin")


def cut_short(folder, state):
    write_single(folder, state)
    with open(folder / "pytorch_model.bin", "r+b") as file:
        file.truncate(1 << 20)


def pickle_code(folder, state):
    torch.save({"a": Harmful()}, folder / "pytorch_model.bin")


def nest(folder, state):
    torch.save({"model": state}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("spoil, said", [
    (break_config, "no config.json"),
    (break_index, "no weight_map"),
    (break_shard_name, "'../a.bin' is not the name of a file"),
    (lose_shard, "shard pytorch_model-00002-of-00003.bin is missing"),
    (lose_tensor, "should be in pytorch_model-00003-of-00003.bin"),
    (cut_short, "not a checkpoint that torch.load reads"),
    (pickle_code, "not a checkpoint that torch.load reads"),
    (nest, "not a dictionary of tensors"),
])
def test_bad_input_is_named_and_leaves_nothing(small, tmp_path, capsys, spoil, said):
    spoil(*small)
    assert convert_checkpoint.main([str(small[0]), str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["published"]


def test_a_full_disk_leaves_nothing(script, small, tmp_path):
    write_single(*small)

    def small_files_only():
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = script("convert_checkpoint.py", small[0], tmp_path / "out", code=2, preexec_fn=small_files_only)
    assert "convert_checkpoint: " in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["published"]


def test_an_existing_folder_is_not_touched(script, small, tmp_path):
    write_single(*small)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    done = script("convert_checkpoint.py", small[0], tmp_path / "out", code=2)
    assert "exists" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
