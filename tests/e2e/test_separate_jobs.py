"""The workflow of `.github/workflows/demo.yml`, from its file: each job on a machine of its own, with an engine of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.github import Job, Repository, Run
from support.machine import ROOT, TOWPATH, copy_example, second_machine

from pipeline.record import artifacts, runs
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from support.machine import Machine

    from pipeline.record.replay import Run as Recorded

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("embedded"), pytest.mark.timeout(900)]

WORKFLOW = ".github/workflows/demo.yml"
PEOPLE = """
people:
  ada: {emails: [ada@example.com]}
  grace: {emails: [grace@example.com]}
  owner: {emails: [test@example.com], logins: [fork-owner]}
signers: allowed_signers
"""


@dataclass
class Fork:
    """A fork whose owner has added a gate, as docs/how-to/github-actions.md says, and the people who may open it."""

    repository: Repository
    folder: Path

    def decide(self, run: Run, person: str, decision: str = "approve") -> str:
        """Do as the summary of the waiting job says, on a machine without an engine. Gives what is to be handed in."""
        machine = self.folder / f"{person}s-machine-{run.id}"
        machine.mkdir()
        with tarfile.open(run.artifacts / "record/record.tar") as tar:
            tar.extractall(machine, filter="data")
        argv = [TOWPATH, decision, "latest", "deploy-production", "--store", "store", "--reason", "seen on staging"]
        environment = {
            "PATH": os.environ["PATH"],
            "TOWPATH_TRUST": str(self.folder / "trust"),
            "HOME": str(machine),
            "DOCKER_HOST": f"unix://{machine}/there-is-none",
        }
        done = subprocess.run(
            [*argv, "--sign-with", str(self.folder / person), "--json"],
            cwd=machine,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        document: str = json.loads(done.stdout)["document"]
        return (machine / document).read_text()

    def record(self, run: Run) -> tuple[Path, Recorded]:
        """Unpack the record that a run has left."""
        place = self.folder / f"record-{run.id}-{len(list(self.folder.glob('record-*')))}"
        with tarfile.open(run.artifacts / "record/record.tar") as tar:
            tar.extractall(place, filter="data")
        store = open_store(place / "store", create=False)
        return place / "store", runs.load(store, runs.find(store, "latest"))

    def production_answers(self, run: Run, recorded: Recorded) -> Any:
        """Ask production itself, where nothing but the embedded AWS's state has ever been."""
        done = recorded.done("deploy-production")
        assert done is not None
        place = self.folder / "asking"
        place.mkdir()
        with tarfile.open(run.artifacts / "embedded-aws/embedded-aws.tar") as tar:
            tar.extractall(place, filter="data")
        with second_machine(place) as machine:
            machine.variables["TOWPATH_EMBEDDED_HOME"] = str(place / "embedded-aws")
            machine.towpath("embedded", "start")
            return machine.get(done.facts["endpoints"]["HolaWorldApi"])


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Fork:
    folder = tmp_path_factory.mktemp("fork")
    origin = copy_repository(folder, base_image)
    for key in ("ada", "grace", "builder", "gate"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", folder / key], check=True)
    public = {key: (folder / f"{key}.pub").read_text() for key in ("ada", "grace", "builder", "gate")}
    (origin / "allowed_signers").write_text(
        "".join(f'{key} namespaces="towpath-approval" {public[key]}' for key in ("ada", "grace"))
    )
    pipeline, environments = origin / "pipeline.yaml", origin / "pipeline.d/environments.yaml"
    pipeline.write_text(pipeline.read_text() + PEOPLE)
    before, production = environments.read_text().split("\nproduction:")
    gated = production.replace("approvals: none", "approvals: {people: 2, from: [ada, grace]}", 1)
    environments.write_text(f"{before}\nproduction:{gated}")
    commit(origin, "A gate before production")
    trust = f'builder namespaces="towpath" {" ".join(public["builder"].split()[:2])}\n'
    trust += f'builder,gate namespaces="towpath" {" ".join(public["gate"].split()[:2])}\n'
    (folder / "trust").write_text(trust)
    repository = Repository(
        origin,
        folder,
        WORKFLOW,
        secrets={"TOWPATH_KEY": (folder / "builder").read_text()},
        environments={name: {"TOWPATH_KEY": (folder / "gate").read_text()} for name in ("staging", "production")},
        variables={"TOWPATH_TRUST": trust},
        prepare={"build": load_base_image},
    )
    return Fork(repository, folder)


def copy_repository(folder: Path, base_image: str) -> Path:
    """Give the repository as a fork has it, but for the base image, which cannot be pulled here."""
    origin = folder / "origin"
    copy_example(origin, "2001", own_registry=True)
    shutil.copytree(ROOT / ".github", origin / ".github")
    shutil.copy(ROOT / ".gitignore", origin)
    pipeline = origin / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("public.ecr.aws/lambda/python:3.12", base_image))
    commit(origin, "Another base image")
    return origin


def commit(origin: Path, message: str) -> None:
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-C", str(origin)]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", message], check=True)


def load_base_image(machine: Machine) -> None:
    """On GitHub it is pulled."""
    subprocess.run(
        [ROOT / "scripts/base-image"], env={**os.environ, **machine.variables, "HOME": os.environ["HOME"]}, check=True
    )


@pytest.fixture(scope="module")
def waiting(fork: Fork) -> Run:
    """A run of the workflow as a push starts it, which ends before production."""
    return fork.repository.run()


STAGES = ["build", "scan", "package", "deploy-staging", "smoke", "propose-production"]


def test_from_a_push_to_production(fork: Fork, waiting: Run) -> None:
    assert waiting.results == {
        **dict.fromkeys(STAGES, "success"),
        "receive-decisions": "skipped",
        "apply-production": "skipped",
        "audit": "success",
    }, waiting.failures
    engines = {job.engine for job in waiting.jobs.values() if job.engine}
    assert len(engines) == len(STAGES) + 1
    assert not any(Path(engine.removeprefix("unix://")).exists() for engine in engines)
    proposing = waiting.jobs["propose-production"]
    assert proposing.outputs == {"gate": "waiting"}
    for told in ("nothing is deployed", "ada, grace", "towpath approve", f"continue={waiting.id}", "Add  HelloWorld"):
        assert told in proposing.summary
    forced = fork.repository.start()
    shutil.copytree(waiting.artifacts, forced.artifacts, dirs_exist_ok=True)
    forced.jobs["propose-production"] = Job("success", {"gate": "open"})
    assert fork.repository.job(forced, "apply-production").step("stage apply").code == 75
    assert fork.record(forced)[1].done("deploy-production") is None

    one = fork.repository.run(**{"continue": waiting.id, "decisions": fork.decide(waiting, "ada")})
    assert one.results["apply-production"] == "skipped"
    assert "1 of 2 approved" in one.jobs["receive-decisions"].summary

    two = fork.repository.run(**{"continue": one.id, "decisions": fork.decide(one, "grace")})
    assert two.results == {
        **dict.fromkeys(STAGES, "skipped"),
        "receive-decisions": "success",
        "apply-production": "success",
        "audit": "success",
    }, two.failures
    root, recorded = fork.record(two)
    assert images(recorded, "deploy-production") == images(recorded, "deploy-staging") == released(root, recorded)
    assert fork.production_answers(two, recorded) == {"message": "hola mundo"}
    verify = [TOWPATH, "audit", "verify", "latest", "--store", str(root), "--trust", str(fork.folder / "trust")]
    subprocess.run(verify, check=True)
    assert "authentic" in two.jobs["audit"].step("Does the record hold?").said


def test_a_fork_as_it_is_deploys_at_once_and_its_record_is_nobodys(tmp_path: Path, base_image: str) -> None:
    """No secret, no variable, no people: nobody need approve, and every job has a key of its own."""
    origin = copy_repository(tmp_path, base_image)
    run = Repository(origin, tmp_path, WORKFLOW, prepare={"build": load_base_image}).run()
    done = [*STAGES, "apply-production", "audit"]
    assert run.results == {**dict.fromkeys(done, "success"), "receive-decisions": "skipped"}, run.failures
    assert "consistent, not authenticated" in run.jobs["audit"].step("Does the record hold?").said
    assert "waits for approval" not in run.jobs["propose-production"].summary
    recorded = Fork(Repository(origin, tmp_path, WORKFLOW), tmp_path).record(run)[1]
    assert images(recorded, "deploy-production") == images(recorded, "deploy-staging")


def images(recorded: Recorded, stage: str) -> dict[str, str]:
    done = recorded.done(stage)
    assert done is not None
    return {name: each["image"] for name, each in done.facts["functions"].items()}


def released(root: Path, recorded: Recorded) -> dict[str, str]:
    """Give the images that the release pins."""
    done = recorded.done("package")
    assert done is not None
    artifacts.materialise(open_store(root, create=False), done.outputs["release"], root.parent / "release")
    release: dict[str, Any] = json.loads((root.parent / "release/release.json").read_text())
    return {name: each["image"] for name, each in release["functions"].items()}


def test_a_record_that_was_changed_between_two_jobs_is_refused(fork: Fork, waiting: Run) -> None:
    run = fork.repository.start()
    run.jobs = {name: waiting.jobs[name] for name in ("build",)}
    root, recorded = fork.record(waiting)
    event = root / f"runs/{recorded.id}/build.1/00000002.json"
    event.chmod(0o644)
    event.write_bytes(event.read_bytes().replace(b'"outcome":"succeeded"', b'"outcome":"succeedeD"'))
    (run.artifacts / "record").mkdir()
    with tarfile.open(run.artifacts / "record/record.tar", "w") as tar:
        tar.add(root, "store")
    refused = fork.repository.job(run, "scan")
    assert refused.result == "failure"
    assert refused.step("stage run scan").code == 4
    assert "build.1" in refused.step("stage run scan").said


def test_decisions_are_refused_on_a_record_that_other_keys_have_sealed(fork: Fork, waiting: Run) -> None:
    line = " ".join((fork.folder / "ada.pub").read_text().split()[:2])
    trust = {"TOWPATH_TRUST": f'builder,gate namespaces="towpath" {line}'}
    repository = replace(fork.repository, variables=trust, count=500)
    refused = repository.job(repository.start(**{"continue": waiting.id}), "receive-decisions")
    assert refused.result == "failure"
    assert refused.step("gate check").code == 4


def test_a_reject_fails_the_workflow(fork: Fork, waiting: Run) -> None:
    run = fork.repository.start(**{"continue": waiting.id, "decisions": fork.decide(waiting, "grace", "reject")})
    rejected = fork.repository.job(run, "receive-decisions")
    assert rejected.result == "failure"
    assert rejected.step("gate check").code == 5
    assert len(list((fork.record(run)[0] / "inbox").rglob("*.json"))) == 1, "what failed leaves its record too"
