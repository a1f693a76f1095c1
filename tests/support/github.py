"""GitHub Actions as far as our workflows use it: the workflow file itself, its jobs each on a machine of its own.

A job gets a folder, a home, a network with its own loopback, and a Docker Engine, all new. `run` steps are run as a runner
does (`bash -eo pipefail`, files for outputs and the environment); of the actions, ours are read from their files, and
GitHub's are replaced by what they mean on one machine. A step that only GitHub itself can do is named in `ELSEWHERE`.
What a workflow says that this does not know is an error, never passed over.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from support.bridge import bridge
from support.machine import second_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from support.machine import Machine

SIGNS_IN = "aws-actions/configure-aws-credentials"
ELSEWHERE = {
    "Install Towpath": "the tests' own environment has it",
    "Is that a run of this workflow, on this branch?": "it asks GitHub",
}


@dataclass
class Step:
    """A step that ran: what it said on both streams, and its exit code."""

    name: str
    code: int
    said: str


@dataclass
class Job:
    """A job that ran or was passed over."""

    result: str = "skipped"
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    summary: str = ""
    engine: str | None = None

    def step(self, text: str) -> Step:
        [found] = [each for each in self.steps if text in each.name]
        return found


@dataclass
class Run:
    """A run of the workflow: its artifacts are folders below `artifacts`."""

    id: str
    inputs: dict[str, str]
    artifacts: Path
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def failures(self) -> str:
        """What failed, and what was said."""
        steps = [(name, step) for name, job in self.jobs.items() for step in job.steps if step.code]
        return "\n".join(f"{name}: {step.name} ({step.code})\n{step.said}" for name, step in steps)

    @property
    def results(self) -> dict[str, str]:
        return {name: job.result for name, job in self.jobs.items()}


@dataclass
class Repository:
    """A repository on GitHub: `origin` is what jobs check out, `folder` where everything else is kept."""

    origin: Path
    folder: Path
    workflow: str
    secrets: dict[str, str] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    """Secrets of environments, which come before the repository's."""
    variables: dict[str, str] = field(default_factory=dict)
    prepare: Mapping[str, Callable[[Machine], None]] = field(default_factory=dict)
    """What a machine has before a job begins: what GitHub's runners could pull, and these cannot."""
    account: Mapping[str, str] | None = None
    """What reaches an AWS that all jobs share, once a job has signed in. Without it each job brings one of its own."""
    reach: Sequence[int] = ()
    """Ports of it, as this machine has them."""
    count: int = 0

    @property
    def definition(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.origin / self.workflow).read_text())
        return loaded

    def start(self, **inputs: str) -> Run:
        """Open a run of which no job has run yet."""
        self.count += 1
        run = Run(str(1000 + self.count), inputs, self.folder / "artifacts" / str(1000 + self.count))
        run.artifacts.mkdir(parents=True)
        return run

    def run(self, **inputs: str) -> Run:
        """Run the workflow, its jobs in the order in which they stand."""
        run = self.start(**inputs)
        for name in self.definition["jobs"]:
            run.jobs[name] = self.job(run, name)
        return run

    def job(self, run: Run, name: str) -> Job:
        """Run one job, if its condition holds."""
        definition = self.definition
        assert definition["defaults"] == {"run": {"shell": "bash"}}
        described = definition["jobs"][name]
        needs = described.get("needs", [])
        before = {each: run.jobs.get(each, Job()) for each in ([needs] if isinstance(needs, str) else needs)}
        contexts = {
            "github": {
                "run_id": run.id,
                "ref": "refs/heads/main",
                "token": "a-token",
            },
            "inputs": run.inputs,
            "secrets": {**self.secrets, **self.environments.get(described.get("environment", ""), {})},
            "vars": self.variables,
            "needs": {each: {"outputs": job.outputs, "result": job.result} for each, job in before.items()},
        }
        fine = all(job.result == "success" for job in before.values())
        if not Expressions(contexts, succeeded=fine).holds(described.get("if")):
            return Job()
        with self._machine(run, name) as machine:
            job = Runner(self, run, machine, contexts).run(described)
            job.engine = machine.variables["DOCKER_HOST"]
            return job

    @contextmanager
    def _machine(self, run: Run, name: str) -> Iterator[Machine]:
        place = self.folder / "machines" / f"{run.id}-{name}"
        for part in ("work", "temp", "home"):
            (place / part).mkdir(parents=True)
        with second_machine(place / "work", own_aws=self.account is None) as machine, bridge(machine, self.reach):
            machine.variables.update(
                HOME=str(place / "home"),
                TOWPATH_EMBEDDED_HOME=str(place / "temp/embedded-aws"),
                RUNNER_TEMP=str(place / "temp"),
            )
            if name in self.prepare:
                self.prepare[name](machine)
            yield machine
        shutil.rmtree(place)


class Expressions:
    """What stands in `${{ }}`: https://docs.github.com/en/actions/reference/workflows-and-actions/expressions."""

    def __init__(self, contexts: Mapping[str, Any], *, succeeded: bool) -> None:
        self.contexts = contexts
        self.succeeded = succeeded

    def holds(self, condition: str | None) -> bool:
        """Decide an `if`: without a word on the status it asks for success as well."""
        text = condition or "success()"
        asks = re.search(r"\b(always|cancelled|success|failure)\(\)", text)
        return bool(self.value(text)) and (bool(asks) or self.succeeded)

    def value(self, text: str) -> Any:
        """Give what one expression gives, with or without its braces."""
        found = re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", text, re.DOTALL)
        source = found[1] if found else text
        python = re.sub(
            r"('[^']*')|([a-z]+(?:\.[\w-]+)+)|(&&)|(\|\|)|(!(?!=))",
            lambda part: (
                part[1] or (f"look({part[2]!r})" if part[2] else " and " if part[3] else " or " if part[4] else " not ")
            ),
            source.strip(),
        )
        known = {
            "look": self._look,
            "always": lambda: True,
            "cancelled": lambda: False,
            "success": lambda: self.succeeded,
            "failure": lambda: not self.succeeded,
            "contains": lambda text, part: part in text,
        }
        return eval(python, {"__builtins__": {}}, known)  # noqa: S307 - an expression of our own workflow

    def text(self, text: Any) -> str:
        """Replace every expression in a text."""
        return re.sub(r"\$\{\{.*?\}\}", lambda found: str(self.value(found[0])), str(text))

    def _look(self, path: str) -> Any:
        context, *rest = path.split(".")
        assert context in self.contexts, f"{path}: there is no such context here"
        value: Any = self.contexts[context]
        for name in rest:
            if context == "github":
                assert name in value, f"{path} is not known here"
            value = value.get(name, "") if isinstance(value, dict) else ""
        return value


class Runner:
    """Runs the steps of one job, one after another."""

    def __init__(self, repository: Repository, run: Run, machine: Machine, contexts: Mapping[str, Any]) -> None:
        self.repository = repository
        self.of = run
        self.machine = machine
        self.temp = Path(machine.variables["RUNNER_TEMP"])
        self.contexts = {**contexts, "runner": {"temp": str(self.temp)}}
        self.job = Job("success")
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": machine.variables["HOME"],
            "DOCKER_HOST": machine.variables["DOCKER_HOST"],
            "RUNNER_TEMP": str(self.temp),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": "fork-owner",
            "GITHUB_TRIGGERING_ACTOR": "fork-owner",
            "GITHUB_REF_NAME": "main",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "fork-owner/towpath",
            "GITHUB_RUN_ID": run.id,
            "GITHUB_WORKSPACE": str(machine.project),
            **repository.definition.get("env", {}),
        }

    def run(self, described: Mapping[str, Any]) -> Job:
        outputs = self._steps(described["steps"], self.contexts)
        expressions = Expressions({**self.contexts, "steps": outputs}, succeeded=True)
        self.job.outputs = {name: expressions.text(value) for name, value in described.get("outputs", {}).items()}
        summary = self.temp / "GITHUB_STEP_SUMMARY"
        self.job.summary = summary.read_text() if summary.exists() else ""
        return self.job

    def _steps(self, steps: list[dict[str, Any]], contexts: Mapping[str, Any]) -> dict[str, Any]:
        """Run steps, of the job or of an action of ours, and give their outputs. Success is what these had so far."""
        made: dict[str, Any] = {}
        failed_before = self._failed
        for step in steps:
            assert set(step) <= {"id", "name", "if", "uses", "with", "run", "env", "shell"}, step
            expressions = Expressions({**contexts, "steps": made}, succeeded=self._failed == failed_before)
            if step.get("name") in ELSEWHERE or not expressions.holds(step.get("if")):
                continue
            if "run" in step:
                outputs = self._shell(step, expressions)
            else:
                given = {name: expressions.text(value) for name, value in step.get("with", {}).items()}
                outputs = self._action(step["uses"], given, contexts)
            made[step.get("id", "")] = {"outputs": outputs}
        return made

    def _shell(self, step: Mapping[str, Any], expressions: Expressions) -> dict[str, str]:
        assert "${{" not in step["run"], "an expression in a shell is spliced into it"
        script = self.temp / "step.sh"
        script.write_text(step["run"])
        files = {name: self.temp / name for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        for file in files.values():
            file.write_text("")
        environment = {
            **self.environment,
            **{name: str(file) for name, file in files.items()},
            "GITHUB_STEP_SUMMARY": str(self.temp / "GITHUB_STEP_SUMMARY"),
            **{name: expressions.text(value) for name, value in step.get("env", {}).items()},
        }
        argv = [*self.machine.inside, "bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(
            argv,
            cwd=self.machine.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        self._ran(step.get("name", step["run"]), done.returncode, done.stdout)
        self.environment.update(_assignments(files["GITHUB_ENV"]))
        return _assignments(files["GITHUB_OUTPUT"])

    @property
    def _failed(self) -> int:
        return sum(each.code != 0 for each in self.job.steps)

    def _ran(self, name: str, code: int, said: str) -> None:
        self.job.steps.append(Step(name, code, said))
        if code:
            self.job.result = "failure"

    def _action(self, uses: str, given: dict[str, str], contexts: Mapping[str, Any]) -> dict[str, str]:
        if uses.startswith("./"):
            return self._ours(uses, given, contexts)
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", uses), f"{uses} is not pinned"
        action = uses.partition("@")[0]
        if action == "actions/checkout":
            assert given.pop("persist-credentials") == "False"
            assert set(given) <= {"fetch-depth"}
            clone = ["git", "clone", "--quiet", f"file://{self.repository.origin}", str(self.machine.project)]
            depth = [] if given.get("fetch-depth") == "0" else ["--depth", "1"]
            subprocess.run([*clone, *depth], check=True)
        elif action == "actions/upload-artifact":
            self._upload(given)
        elif action == "actions/download-artifact":
            self._download(given)
        elif action == SIGNS_IN:
            assert set(given) == {"role-to-assume", "aws-region"}
            self.environment.update({**(self.repository.account or {}), "AWS_REGION": given["aws-region"]})
        else:
            assert action == "actions/setup-python", action
        return {}

    def _ours(self, uses: str, given: dict[str, str], contexts: Mapping[str, Any]) -> dict[str, str]:
        described = yaml.safe_load((self.machine.project / uses / "action.yml").read_text())
        assert described["runs"]["using"] == "composite"
        declared = described.get("inputs", {})
        assert set(given) <= set(declared), f"{uses} has no input {set(given) - set(declared)}"
        inputs = {name: given.get(name, str(each.get("default", ""))) for name, each in declared.items()}
        assert all(name in given for name, each in declared.items() if each.get("required"))
        inner = {**{name: contexts[name] for name in ("github", "runner")}, "inputs": inputs}
        steps = described["runs"]["steps"]
        assert all(each["shell"] == "bash" for each in steps if "run" in each)
        made = Expressions({**inner, "steps": self._steps(steps, inner)}, succeeded=True)
        return {name: made.text(each["value"]) for name, each in described.get("outputs", {}).items()}

    def _upload(self, given: dict[str, str]) -> None:
        assert set(given) == {"name", "path", "if-no-files-found", "overwrite", "compression-level"}
        source, place = Path(given["path"]), self.of.artifacts / given["name"]
        if source.exists():
            assert given["overwrite"] == "True" or not place.exists(), f"there is an artifact {given['name']} already"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            shutil.move(source, place / source.name)
        else:
            assert given["if-no-files-found"] == "ignore"

    def _download(self, given: dict[str, str]) -> None:
        assert set(given) == {"name", "path", "run-id", "github-token"}
        assert given["run-id"] == self.of.id or given["github-token"], "artifacts of another run need a token"
        place = self.repository.folder / "artifacts" / given["run-id"] / given["name"]
        if not place.exists():
            self._ran(f"download {given['name']}", 1, "there is no such artifact")
            return
        shutil.copytree(place, given["path"], dirs_exist_ok=True)


def _assignments(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())
