"""The noise has the same bits under every compiler, optimisation level and instruction set.

golden_main.cpp is built with src/noise alone and checks the golden hashes at each SIMD level of this machine;
device_main.cu is compiled by nvcc, and run where there is a GPU.
"""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "noise"
NOISE = ROOT / "src" / "noise"
SOURCES = [TESTS / "golden_main.cpp", NOISE / "noise.cpp", *sorted(NOISE.glob("kernels_*.cpp"))]
# No arithmetic: compiled once.
OTHER_SOURCES = [NOISE / "simd.cpp", ROOT / "src" / "base" / "sha256.cpp", ROOT / "src" / "base" / "file.cpp"]
FLOOR = ["-mavx2", "-mfma", "-mf16c"]  # cmake/Options.cmake
# Every width is run by golden_main itself; -march=native also lets the compiler vectorise the scalar code with AVX-512,
# and without any flag fmaf is a call into libm.
FLAGS = {
    "O0": ["-O0", *FLOOR],
    "O3": ["-O3", *FLOOR],
    "O3 native": ["-O3", "-march=native"],
    "O1 baseline": ["-O1"],
}
X86 = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip() == "x86_64"


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"skipped: no {name}")
    return path


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def other_objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    for source in OTHER_SOURCES:
        run([tool("g++"), "-std=c++20", f"-I{ROOT / 'src'}", "-c", source, "-o", folder / f"{source.stem}.o"])
    return sorted(folder.glob("*.o"))


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_golden_hashes(compiler, flags, tmp_path, other_objects):
    compiler = tool(compiler)
    options = [option for option in FLAGS[flags] if X86 or option not in FLOOR]
    program = tmp_path / "golden"
    run([compiler, "-std=c++20", "-ffp-contract=off", *options, f"-I{ROOT / 'src'}", f"-I{TESTS}", *SOURCES,
         *other_objects, "-o", program, "-lfmt", "-lcrypto"])
    printed = run([program])
    assert "scalar gaussian:" in printed and "WRONG" not in printed


def test_nvcc_compiles_the_core_to_rounded_operations(tmp_path):
    ptx = tmp_path / "device.ptx"
    run([tool("nvcc"), "-std=c++20", "-arch=sm_90", "-fmad=false", f"-I{ROOT / 'src'}", "-ptx",
         TESTS / "device_main.cu", "-o", ptx])
    text = ptx.read_text()
    for operation in ("fma.rn.f32", "mul.rn.f32", "cvt.rn.f32.s32"):
        assert operation in text
    # A root begins with the hardware's approximation, which a Newton step makes exact (exact::square_root).
    text = text.replace("rsqrt.approx.ftz.f32", "")
    assert not re.search(r"\.approx|\.ftz|\.f64", text)


def test_device_equals_cpu(tmp_path):
    nvcc = tool("nvcc")
    if shutil.which("nvidia-smi") is None or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode != 0:
        pytest.skip("skipped: no GPU")
    program = tmp_path / "device"
    run([nvcc, "-std=c++20", "-arch=native", "-O3", "-fmad=false", "-Xcompiler", "-ffp-contract=off,-mfma",
         f"-I{ROOT / 'src'}", TESTS / "device_main.cu", "-o", program])
    print(run([program]))
