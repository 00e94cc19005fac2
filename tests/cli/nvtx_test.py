"""The NVTX ranges of `zo2 train`, as Nsight Systems would see them: recorded by tests/runtime/nvtx_recorder.cpp."""

import collections
import json
import math
import os

import pytest
from conftest import BINARY

RECORDER = BINARY.parent / "tests" / "libnvtx_recorder.so"
STEPS = 2
SLOTS = 4
# opt-125m in bf16: every matrix of a layer (at most 3,072 x 768) is one tile, and so are a layer's vectors and the final
# norm's. The table of 50,272 tokens is in tiles of 2,048 rows; that of positions folds every 64th step and is left out here.
LAYERS = 12
TILES = LAYERS * (6 + 1) + 1 + math.ceil(50272 / 2048)

Range = collections.namedtuple("Range", "name tile slot depth")


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def recorded(request, zo2, tmp_path_factory):
    """{name: ranges} of the domain zo2, and the names of lines that are no pair of a push and a pop."""
    if not RECORDER.exists():
        pytest.skip("skipped: the tests are not built, or without NVTX's headers")
    if request.param == "cuda":
        found = {line["check"]: line["found"] for line in json.loads(zo2("doctor", "--json", code=None).stdout)}
        if found["CUDA"] != "compiled in" or found["GPU"] == "none":
            pytest.skip("skipped: no GPU, or a build without CUDA")
    folder = tmp_path_factory.mktemp("nvtx")
    environment = {**os.environ, "NVTX_INJECTION64_PATH": str(RECORDER), "ZO2_NVTX_RECORD": str(folder / "ranges")}
    zo2("train", "--model", "opt-125m", "--seq", 8, "--steps", STEPS, "--dtype", "bf16", "--threads", 2, "--slots", SLOTS,
        "--device", request.param, env=environment)
    ranges = collections.defaultdict(list)
    unpaired = []
    for line in (folder / "ranges").read_text().splitlines():
        domain, name, payload, depth, end, *_ = line.split("\t")
        if domain != "zo2":
            continue
        if end != "closed":
            unpaired.append(line)
        if name == "step":
            ranges[name].append((int(payload), int(depth)))
        else:
            ranges[name].append(Range(name, (int(payload) >> 32) - 1, (int(payload) & 0xFFFFFFFF) - 1, int(depth)))
    return request.param, ranges, unpaired


def test_every_push_has_its_pop(recorded):
    _, ranges, unpaired = recorded
    assert ranges and not unpaired


def test_steps_and_operations_have_ranges(recorded):
    _, ranges, _ = recorded
    assert ranges["step"] == [(step, 0) for step in range(STEPS)]
    operations = {"upload", "download", "visit", "inputs", "gather", "layer_norm", "linear", "attention",
                  "select_rows", "head", "loss", "entry"}
    assert set(ranges) == {"step"} | operations
    # Two sides, W+ and W-, of each matrix of a layer.
    assert len(ranges["linear"]) == STEPS * LAYERS * 6 * 2
    assert len(ranges["attention"]) == STEPS * LAYERS * 2


def test_each_tile_is_uploaded_once_a_step(recorded):
    _, ranges, _ = recorded
    assert len(ranges["upload"]) == TILES * STEPS
    assert collections.Counter(upload.tile for upload in ranges["upload"]) == {tile: STEPS for tile in range(TILES)}


def test_payloads_name_tile_and_slot(recorded):
    _, ranges, _ = recorded
    for name in ("upload", "download", "visit"):
        assert all(0 <= range_.tile < TILES and 0 <= range_.slot < SLOTS for range_ in ranges[name]), name
    assert {range_.slot for range_ in ranges["upload"]} == set(range(SLOTS))
    for name in ("linear", "head"):  # they read what the visit wrote, not the slot
        assert all(0 <= range_.tile < TILES and range_.slot == -1 for range_ in ranges[name]), name
    for name in ("inputs", "attention", "entry"):
        assert all((range_.tile, range_.slot) == (-1, -1) for range_ in ranges[name]), name


def test_operations_of_the_compute_thread_lie_in_its_step(recorded):
    device, ranges, _ = recorded
    assert {range_.depth for name in ("visit", "linear", "attention", "entry") for range_ in ranges[name]} == {1}
    # On CUDA one thread enqueues everything; on the CPU the copies have threads of their own.
    depth = 1 if device == "cuda" else 0
    assert {range_.depth for name in ("upload", "download") for range_ in ranges[name]} == {depth}
