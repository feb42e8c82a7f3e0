"""The files that start a cluster: Ray's schema, and what Slurm's scripts ask for."""

import json
import os
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

CLUSTER = Path(__file__).parents[2] / "docs" / "cluster"
MOCK_COMMANDS = {
    # Slow, so that a script that stops reading after one line always fails.
    "scontrol": "echo one; sleep 0.2; echo two",
    "hostname": "echo 10.0.0.1 fe80::1",
    # a machine is there once its start was heard of
    "ray": 'if [ "$1" = status ]; then grep "^ray start" LOG | sed "s/.*/ 1 node_a/"; fi',
    "srun": 'while [[ "$1" == --* ]]; do shift; done; [ "$SRUN_CPUS_PER_TASK" = 16 ] && "$@"',
    "cifarlab": ":",
    "torchrun": ":",
}


@pytest.fixture
def job(tmp_path: Path):
    """Run a script of ours in a job of two machines; every command that it gave, in words."""
    tools, log = tmp_path / "bin", tmp_path / "log"
    tools.mkdir()
    for name, script in MOCK_COMMANDS.items():
        file = tools / name
        file.write_text(
            f'#!/bin/bash\necho "{name} $*" >> {log}\n{script.replace("LOG", str(log))}\n'
        )
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def run(script: str, *words: str) -> list[str]:
        log.unlink(missing_ok=True)
        settings = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NODELIST": "one,two",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "16",
        }
        command = ["bash", str(CLUSTER / script), *words]
        subprocess.run(command, env=settings, cwd=tmp_path, check=True, timeout=60)
        return log.read_text().splitlines()

    return run


def test_the_ray_cluster_is_one_by_ray_s_schema() -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    cluster_file = yaml.safe_load((CLUSTER / "ray.yaml").read_text())
    jsonschema.validate(cluster_file, json.loads(schema.read_text()))
    assert cluster_file["provider"]["type"] == "local"


def test_a_slurm_job_searches_on_all_its_machines(job) -> None:
    commands = job("search.slurm", "quickstart", "--trials", "4")
    assert commands[-1] == "cifarlab search quickstart --trials 4 --cluster 10.0.0.1:23456 --resume"
    starts = [line for line in commands if line.startswith("ray start")]
    assert len(starts) == 2
    assert "--head --node-ip-address=10.0.0.1 --port=23456" in "".join(starts)
    assert "ray start --address 10.0.0.1:23456 --num-cpus 16 --block" in starts
    assert all("--num-cpus 16" in line for line in starts)


def test_a_slurm_job_trains_on_all_its_machines_and_goes_on(job, tmp_path: Path) -> None:
    commands = job("train.slurm", "runs/a", "quickstart", "seed=3")
    assert commands[-1].endswith("-m -- cifarlab train quickstart seed=3 --run runs/a")
    assert "--nnodes 2" in commands[-1] and "--rdzv-endpoint one:23456" in commands[-1]
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "recipe.yaml").touch()
    assert job("train.slurm", "runs/a", "quickstart")[-1].endswith("--run runs/a --resume")
