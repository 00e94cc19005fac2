"""Fixtures for tests that drive the built program (build/zo2, or $ZO2_BINARY) and the scripts."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = pathlib.Path(os.environ.get("ZO2_BINARY", ROOT / "build" / "zo2"))
SHARED = pathlib.Path(os.environ.get("ZO2_SHARED", ROOT.parent / "shared"))

sys.path.insert(0, str(ROOT / "scripts"))  # tests of scripts/ import its modules


@pytest.fixture(scope="session")
def shared():
    if not (SHARED / "fixtures" / "hf").is_dir():
        pytest.skip("skipped: no shared fixtures (set ZO2_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def zo2():
    """Runs the program; returns the completed process. Fails the test when the exit code is not `code` (None: any)."""

    def run(*arguments, code=0, **options):
        done = subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=600, **options)
        assert code in (None, done.returncode), f"exit {done.returncode}, expected {code}: {done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"skipped: a small file system cannot be mounted here ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def script():
    """Runs scripts/NAME; returns the completed process. Fails the test when the exit code is not `code`."""

    def run(name, *arguments, code=0, **options):
        done = subprocess.run([sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)], capture_output=True,
                              text=True, timeout=300, **options)
        assert done.returncode == code, f"exit {done.returncode}, expected {code}: {done.stdout}{done.stderr}"
        return done

    return run
