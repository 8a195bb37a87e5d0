"""The examples for clusters: what they start is what the scripts take, and slurm.sh goes on."""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import ROOT

from nglkeras.executors import NAMES

FOLDER = ROOT / "reproduce" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sh"))

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def manifests():
    yaml = pytest.importorskip("yaml")
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text())}


def commands():
    """Every command line of the examples: a script, and its options."""
    texts = [path.read_text() for path in (*SCRIPTS, FOLDER / "README.md")]
    # Over several lines in YAML, up to the next key.
    manifest = (FOLDER / "kuberay.yaml").read_text()
    texts.append(re.sub(r"\s+", " ", re.search(r"entrypoint: >-(.*?)\n  #", manifest, re.S)[1]))
    pattern = r"(?:python \S*reproduce/|slurm\S*\.sh |set -- )(\w+)\.py\b *([^\n#`|&]*)"
    found = [match for text in texts for match in re.findall(pattern, text)]
    return sorted(set(found))


@needs_bash
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_them(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck")
def test_shellcheck_finds_nothing():
    run = subprocess.run(["shellcheck", "-x", *SCRIPTS], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == ""


def test_there_are_commands():
    assert {name for name, _ in commands()} >= {"table2", "search", "status"}


@pytest.mark.parametrize(("name", "options"), commands())
def test_scripts_take_these_options(name, options, script, monkeypatch):
    parse_args = argparse.ArgumentParser.parse_args

    def parse_only(parser, *args):
        parsed = parse_args(parser, *args)
        assert getattr(parsed, "executor", "local") in NAMES
        assert getattr(parsed, "scale", "demo") in ("demo", "reduced", "paper")
        raise SystemExit(0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    code, _, err = script(name, *shlex.split(options))
    assert (code, err) == (0, "")


class TestKubeRay:
    def test_the_head_trains_nothing_and_gpus_come_and_go(self):
        cluster = manifests()["RayJob"]["spec"]["rayClusterSpec"]
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["authOptions"] == {"mode": "token"}
        head, (gpus,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
        assert head["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
        (container,) = gpus["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert gpus["minReplicas"] <= gpus["replicas"] <= gpus["maxReplicas"]
        # An executor that counts GPUs before the first is there begins with one worker.
        entrypoint = manifests()["RayJob"]["spec"]["entrypoint"]
        assert f"--workers {gpus['maxReplicas']} " in entrypoint

    def test_all_pods_have_the_volume_and_one_image(self):
        claim = manifests()["PersistentVolumeClaim"]
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        cluster = manifests()["RayJob"]["spec"]["rayClusterSpec"]
        images = set()
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            spec = group["template"]["spec"]
            (volume,) = spec["volumes"]
            assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
            for container in (*spec.get("initContainers", ()), *spec["containers"]):
                images.add(container["image"])
                assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
        assert len(images) == 1

    def test_image_and_manifest_are_of_one_ray(self):
        version = manifests()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"]
        assert f"FROM rayproject/ray:{version}-" in (FOLDER / "Dockerfile").read_text()

    @needs_bash
    def test_a_driver_waits_for_a_fresh_lock_only(self, tmp_path):
        head = manifests()["RayJob"]["spec"]["rayClusterSpec"]["headGroupSpec"]
        (container,) = head["template"]["spec"]["initContainers"]
        command = [part.replace("/data/", f"{tmp_path}/") for part in container["command"]]

        def waits():
            try:
                subprocess.run(command, stderr=subprocess.DEVNULL, timeout=1, check=True)
            except subprocess.TimeoutExpired:
                return True
            return False

        assert not waits()
        lock = tmp_path / "results" / "table2" / "paper" / "journal.jsonl.lock"
        lock.parent.mkdir(parents=True)
        lock.touch()
        assert not waits()
        lock.write_text("{}")
        assert waits()
        os.utime(lock, (time.time() - 200,) * 2)
        assert not waits()


# What SLURM has of these: `srun` runs a step, here, and `scontrol` names nodes and requeues.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_CPUS_ON_NODE=1
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then tr , '\\n' <<<"$3"; exit; fi
echo "$*" >>"$(dirname "$0")/requeued"
kill -KILL "$PPID"
"""
# A script that waits for a signal, or ends at once with a code.
STAND_IN = """
import sys, time
print(*sys.argv[1:], flush=True)
if "--code" in sys.argv:
    sys.exit(3)
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def sbatch(tmp_path):
    """Starts a script of SLURM as a job of two nodes, both of them this machine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f"PATH={programs}:{Path(sys.executable).parent}:$PATH\n")
    reproduce = tmp_path / "reproduce"
    reproduce.mkdir()
    (reproduce / "cluster").symlink_to(FOLDER)
    (reproduce / "table2.py").symlink_to(ROOT / "reproduce" / "table2.py")
    (reproduce / "stand_in.py").write_text(STAND_IN)
    # Sockets lie there, whose paths must be short.
    ray_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": ray_folder,
        "SLURM_CPUS_ON_NODE": "4",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "localhost,localhost",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "VENV": str(tmp_path),
    }
    environment.pop("SLURM_GPUS_ON_NODE", None)
    jobs = []

    def start(name, *arguments):
        job = subprocess.Popen(
            ["bash", FOLDER / name, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        if job.poll() is None:
            job.terminate()
            job.communicate(timeout=60)
    shutil.rmtree(ray_folder, ignore_errors=True)


@needs_bash
class TestSlurm:
    def test_the_exit_code_is_the_scripts(self, sbatch):
        job = sbatch("slurm_node.sh", "stand_in.py", "--code", "two words")
        output, _ = job.communicate(timeout=30)
        assert output == "--executor processes --workers 2 --code two words\n"
        assert job.returncode == 3

    def test_ahead_of_the_time_limit_the_job_goes_back_to_the_queue(self, sbatch, tmp_path):
        job = sbatch("slurm_node.sh", "stand_in.py")
        job.stdout.readline()
        job.send_signal(signal.SIGUSR1)
        output, _ = job.communicate(timeout=30)
        assert "the same command goes on" in output
        assert (tmp_path / "bin" / "requeued").read_text() == "requeue 1\n"

    def test_a_job_that_is_cancelled_does_not(self, sbatch, tmp_path):
        job = sbatch("slurm_node.sh", "stand_in.py")
        job.stdout.readline()
        job.terminate()
        job.communicate(timeout=30)
        assert job.returncode == 130
        assert not (tmp_path / "bin" / "requeued").exists()

    def test_on_a_cluster_of_two_nodes(self, sbatch, tmp_path):
        pytest.importorskip("ray")
        out = tmp_path / "out"
        job = sbatch(
            "slurm.sh", "table2.py", "--losses", "CE", "NGL", "--models", "head", "--runs", "1",
            "--epochs", "1", "--train-images", "64", "--evaluation-images", "32", "--out", out,
        )  # fmt: skip
        output, _ = job.communicate(timeout=300)
        log = (tmp_path / "slurm-1-ray.out").read_text()
        assert job.returncode == 0, output + log
        assert "Ray on 2 nodes" in output
        assert (out / "journal.jsonl").read_text().count("\n") == 2
        assert (out / "journal.jsonl.lock").read_text() == ""
        assert "authentication is disabled" not in output + log
