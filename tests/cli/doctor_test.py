"""zo2 doctor on a machine with a GPU: a stand-in for the driver's NVML library (tests/base/standin_nvml.cpp)."""

import json
import os
import subprocess

import pytest
from conftest import BINARY

STANDIN = BINARY.parent / "tests" / "libstandin_nvml.so"
GPU = """driver=580.1
0.name=Some GPU
0.total_bytes=2147483648
0.used_bytes=536870912
0.processes=
0.bus_id=00000000:C1:00.0
0.sm_clock_max_mhz=1980
0.link_generation=1
0.link_width=16
0.link_generation_max=5
0.link_width_max=16
"""


@pytest.fixture
def gpu_lines(tmp_path):
    """Runs doctor beside a GPU with the given values; {check: (found, advice)} of the lines about it."""
    if not STANDIN.exists():
        pytest.skip("skipped: the tests are not built")

    def run(values):
        (tmp_path / "values").write_text(values)
        environment = {**os.environ, "ZO2_NVML_LIBRARY": str(STANDIN), "ZO2_STANDIN_NVML": str(tmp_path / "values")}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        # The exit code depends on this machine too: lines about other things may have advice of their own.
        done = subprocess.run([BINARY, "doctor", "--json"], env=environment, capture_output=True, text=True)
        names = ("NVIDIA driver", "GPU", "GPU memory in use", "GPU clocks", "PCIe link")
        return {line["check"]: (line["found"], line["advice"]) for line in json.loads(done.stdout) if line["check"] in names}

    return run


def test_a_gpu_in_order_has_no_advice(gpu_lines):
    lines = gpu_lines(GPU)
    clocks, advice = lines.pop("GPU clocks")
    assert clocks.startswith("up to 1980 MHz; to hold them while measuring: sudo nvidia-smi -i 00000000:C1:00.0 --lock-gpu-")
    assert not advice
    assert lines == {
        "NVIDIA driver": ("580.1", ""),
        "GPU": ("Some GPU", ""),
        "GPU memory in use": ("512.00 MiB of 2.00 GiB", ""),
        "PCIe link": ("generation 1 x16 (best: 5 x16)", ""),
    }


def test_other_processes_and_a_narrow_link_are_advised_against(gpu_lines):
    lines = gpu_lines(GPU.replace("processes=", "processes=12:1 13:1").replace("link_width=16", "link_width=8"))
    assert lines["GPU memory in use"][1] == "2 processes on it: measure when it is free"
    assert lines["PCIe link"][0] == "generation 1 x8 (best: 5 x16)"
    assert "not all lanes work" in lines["PCIe link"][1]


def test_what_the_gpu_does_not_tell_is_left_out(gpu_lines):
    assert set(gpu_lines("driver=580.1\n0.name=Some GPU\n")) == {"NVIDIA driver", "GPU"}
