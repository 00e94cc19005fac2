"""zo2 slurm: the script's array tasks run here as separate processes; a recording stand-in takes sbatch's place."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT

MANIFEST = """
name: array
defaults: {method.name: external, data.seq: 8}
matrix:
  case: [{method.command: [sh, one.sh]}, {method.command: [sh, two.sh]}]
repeats: 3
"""


@pytest.fixture
def script(zo2, tmp_path):
    """The script of a sweep of six repeats in four shards, in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "m.yaml").write_text(MANIFEST)
    for name in ("one.sh", "two.sh"):
        (folder / name).write_text('echo \'RESULT {"tokens_per_s": 1}\'')
    done = zo2("slurm", "m.yaml", "--out", "out", "--shards", 4, "--time", "1:00:00", "--gres", "gpu:1",
               "--sbatch=--partition=big", "-S", "method.marker=RESULT ", cwd=folder)
    path = folder / "sweep.sh"
    path.write_text(done.stdout)
    return path


def environment(**more):
    return {**os.environ, "ZO2_EXPERIMENTS": str(ROOT / "experiments"), **more}


def test_the_tasks_run_every_repeat_once_and_the_collect_job_reports(script, tmp_path):
    tasks = [subprocess.Popen(["bash", script], env=environment(SLURM_ARRAY_TASK_ID=str(i)), cwd=tmp_path,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in (1, 2, 3, 4)]
    for task in tasks:
        _, errors = task.communicate(timeout=120)
        assert task.returncode == 0, errors
    out = script.parent / "out"
    assert len(list(out.glob("cells/*/r*/result.json"))) == 6
    collect = subprocess.run(["bash", script, "collect"], env=environment(SLURM_ARRAY_TASK_ID="1"), cwd=tmp_path,
                             capture_output=True, text=True)
    assert collect.returncode == 0, collect.stderr
    assert "array: 6 repeats: 6 ok, 0 running, 0 left" in collect.stdout
    assert "Measured" in collect.stdout


def test_submitting_makes_an_array_and_a_job_after_it(script, tmp_path):
    stand_in = tmp_path / "bin" / "sbatch"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{tmp_path}/calls"; echo -- >> "{tmp_path}/calls"; echo "77;cluster"\n')
    stand_in.chmod(0o755)
    subprocess.run(["bash", script], env=environment(PATH=f"{stand_in.parent}:{os.environ['PATH']}"), check=True,
                   capture_output=True, timeout=60)
    array, collect, _ = (tmp_path / "calls").read_text().split("--\n")
    out = script.parent / "out"
    assert array.splitlines() == ["--parsable", f"--output={out}/slurm-%A_%a.log", str(script)]
    assert collect.splitlines() == ["--dependency=afterany:77", "--array=1", "--gres=none",
                                    f"--output={out}/slurm-collect.log", str(script), "collect"]
    assert out.is_dir(), "sbatch makes no folder for its logs"


def test_the_head_is_what_sbatch_reads(script):
    head = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert head == ["#SBATCH --job-name=zo2-array", "#SBATCH --array=1-4", "#SBATCH --time=1:00:00", "#SBATCH --gres=gpu:1",
                    "#SBATCH --partition=big"]


def test_the_script_is_clean(script):
    if not shutil.which("shellcheck"):
        pytest.skip("skipped: no shellcheck")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_mistakes_are_refused_before_anything_is_queued(zo2, tmp_path):
    (tmp_path / "m.yaml").write_text(MANIFEST)
    assert "none of the 2 cells" in zo2("slurm", "m.yaml", "--out", "out", "--only", "x", code=2, cwd=tmp_path).stderr
    assert "unknown key" in zo2("slurm", "m.yaml", "--out", "out", "-S", "a.b=1", code=2, cwd=tmp_path).stderr
    done = zo2("slurm", "m.yaml", "--out", "out", "--shards", 100, cwd=tmp_path)
    assert "#SBATCH --array=1-6\n" in done.stdout, "never more tasks than repeats"
    assert not (tmp_path / "out").exists()
