"""The installed CMake package: examples/custom_loop.cpp builds on it, outside the source tree, and learns."""

import re
import shutil
import subprocess

import pytest

from conftest import BINARY, ROOT

BUILD = BINARY.parent


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not (BUILD / "CMakeCache.txt").exists(), reason="no build tree beside the program")
def test_the_custom_loop_builds_on_the_installed_package_and_learns(tmp_path):
    prefix, project = tmp_path / "prefix", tmp_path / "project"
    run("cmake", "--install", BUILD, "--prefix", prefix)
    shutil.copytree(ROOT / "examples", project)
    run("cmake", "-G", "Ninja", "-S", project, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path / "build")
    sources = (tmp_path / "build" / "build.ninja").read_text()
    assert f"{ROOT}/src" not in sources, "the package leads back into the source tree"
    out = run(tmp_path / "build" / "custom_loop")
    before, after = (float(loss) for loss in re.findall(r"^loss \w+: (\S+)$", out, re.MULTILINE))
    # Chance is ln 32 = 3.47.
    assert before > 3.4 and after < 0.75 * before, out
