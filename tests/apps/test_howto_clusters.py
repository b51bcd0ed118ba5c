"""The job scripts, manifests and commands of the pages on clusters are run, or checked."""

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latentmix.apps.cli import cli
from latentmix.apps.launch import place as place_of

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("how-to-dask.md", "how-to-slurm.md", "how-to-kubernetes.md", "how-to-train-on-several.md")
# In place of SLURM's: all tasks of a step on this machine, two at most.
SRUN = """#!/bin/bash
"$@" & "$@" & wait
"""


def blocks(page, language):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands():
    """Return every latentmix command of the pages, as words."""
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
        # What YAML folds is one line.
        text = re.sub(r">-\n((?: +.*\n)+)(?=```)", lambda found: " ".join(found[1].split()), text)
        for line in re.findall(
            r"(?:^|`|- )(latentmix (?:run|predict) [^`\n]*)", text, re.MULTILINE
        ):
            yield pytest.param(shlex.split(line)[1:], id=f"{page}: {line[:40]}")


@pytest.mark.parametrize("words", [each for each in commands() if len(each.values[0]) > 2])
def test_every_command_is_one_that_is_understood(words):
    command = cli.commands[words[0]]
    given = command.make_context(words[0], words[1:]).params
    assert given["out"] or given.get("resume")


def test_there_are_such_commands():
    assert len(list(commands())) >= 9


@pytest.fixture
def place(run_folder, shapes, tmp_path):
    """Return a folder with a run and files, and what runs a script of SLURM's there."""
    (tmp_path / "RUN").symlink_to(run_folder)
    (tmp_path / "rows").mkdir()
    for number in range(3):
        np.save(tmp_path / "rows" / f"{number}.npy", shapes.X[40 * number :][:40].reshape(-1, 8, 8))
    tools = tmp_path / "bin"
    tools.mkdir()
    module = '#!/bin/sh\nexec "{}" -m {} "$@"\n'
    for name, content in {
        "srun": SRUN,
        "latentmix": module.format(sys.executable, "latentmix"),
        "dask": module.format(sys.executable, "dask"),
    }.items():
        (tools / name).write_text(content)
        (tools / name).chmod(stat.S_IRWXU)

    def run(script, **variables):
        # What is said by the workers is not looked at: they end with the script.
        script = script.replace("*.parquet", "*.npy").replace("$(hostname)", "127.0.0.1")
        found = {"PATH": f"{tools}:{os.environ['PATH']}", **variables}
        command = ["bash", "-c", script]
        environment = {**os.environ, **found}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return sorted(path.name for path in (tmp_path / "answers").glob("*.csv"))

    return run


def test_the_job_array_does_its_shares(place):
    array, *_ = blocks("how-to-slurm.md", "sh")
    assert place(array, SLURM_ARRAY_TASK_ID="2") == ["1.csv"]
    assert place(array, SLURM_ARRAY_TASK_ID="64") == ["1.csv"]
    for number in ("1", "3"):
        found = place(array, SLURM_ARRAY_TASK_ID=number)
    assert found == ["0.csv", "1.csv", "2.csv"]


def test_the_job_on_dask_answers_for_all_files(place):
    pytest.importorskip("distributed", reason="extra [dask]")
    _, job, _ = blocks("how-to-slurm.md", "sh")
    assert len(job.splitlines()) <= 12
    number = str(os.getpid())
    assert place(job, SLURM_JOB_ID=number) == ["0.csv", "1.csv", "2.csv"]


def test_the_manifests_are_yaml_of_kinds_that_go_together():
    yaml = pytest.importorskip("yaml", reason="extra [dask]")
    job, dask, train = blocks("how-to-kubernetes.md", "yaml")
    (job,) = yaml.safe_load_all(job)
    assert job["spec"]["completions"] == 64
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][0].endswith('/64"')
    service, scheduler, worker = yaml.safe_load_all(dask)
    assert [each["kind"] for each in (service, scheduler, worker)] == [
        *("Service", "Deployment", "Deployment")
    ]
    for each in (scheduler, worker):
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert each["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == scheduler["spec"]["selector"]["matchLabels"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert f"tcp://{service['metadata']['name']}:8786" in container["command"]
    service, job = yaml.safe_load_all(train)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    said = {each["name"]: each["value"] for each in container["env"]}
    there = place_of({**said, "JAX_PROCESS_ID": "3"})
    assert there.size == job["spec"]["completions"] == job["spec"]["parallelism"]
    # An indexed job's first pod is called so, within the service that is its subdomain.
    assert there.address == f"{job['metadata']['name']}-0.{pod['subdomain']}:1234"
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}


def test_srun_is_given_the_command_that_finds_the_others():
    *_, job = blocks("how-to-slurm.md", "sh")
    assert "--ntasks-per-node=1" in job
    assert "srun --kill-on-bad-exit latentmix run " in job
    assert place_of({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}) == (2, 4, None)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (DOCS / page).read_text(encoding="utf-8")):
        assert "://" in target or (DOCS / target).exists(), target
