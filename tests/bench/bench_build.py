"""How long building takes: AWS SAM CLI, `docker build` four at a time, and ours, in turns, medians of five; and whose code is built.

TOWPATH_BENCH_TURNS sets another number of turns, TOWPATH_BENCH_SIZES other sizes of applications, as in `2,10`.
The rival is installed into a virtual environment of its own when first needed, below ~/.cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import rival

from stages.build import builders, clients
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker import APIClient

TURNS = int(os.environ.get("TOWPATH_BENCH_TURNS", "5"))
SIZES = tuple(int(each) for each in os.environ.get("TOWPATH_BENCH_SIZES", "2,10,30").split(","))
JOBS = 4
FILES = 20_000
ROOT = Path(__file__).parents[2]
TOWPATH = str(Path(sys.executable).parent / "towpath")
HEAD = 'AWSTemplateFormatVersion: "2010-09-09"\nTransform: AWS::Serverless-2016-10-31\nResources:\n'
FUNCTION = """\
  {name}:
    Type: AWS::Serverless::Function
    Properties: {{PackageType: Image}}
    Metadata: {{Dockerfile: Dockerfile, DockerContext: {context}, DockerTag: v1}}
"""

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3 * 3600)]


@pytest.fixture(scope="module")
def base() -> str:
    """The image that functions are built on, made if it is not there."""
    subprocess.run([ROOT / "scripts/base-image"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return subprocess.run(
        [ROOT / "scripts/base-image", "--print"], check=True, capture_output=True, text=True
    ).stdout.strip()


@dataclass
class Application:
    """A project of functions that install what they need, as most do; `mark` keeps its images apart from others'."""

    folder: Path
    base: str
    mark: str
    names: set[str] = field(default_factory=set)

    def remove(self, client: APIClient) -> None:
        """Remove the images that contenders made of it, by record or by name."""
        if (self.folder / ".towpath").exists():
            subprocess.run(
                [TOWPATH, "prune", "--images", "--keep", "0"], cwd=self.folder, check=True, capture_output=True
            )
        for name in self.names:
            for image in (f"{name.lower()}:v1", f"towpath-bench/{name.lower()}:{self.mark}"):
                if engine.find(client, image):
                    client.remove_image(image)

    def write(self, names: list[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            self.change(name)
        resources = "".join(FUNCTION.format(name=name, context=name.lower()) for name in names)
        (self.folder / "template.yaml").write_text(HEAD + resources)

    def change(self, name: str) -> None:
        """Give a function requirements that it never had: everything but its base is built anew."""
        context = self.folder / name.lower()
        context.mkdir(exist_ok=True)
        (context / "requirements.txt").write_text(f"# {self.mark} {uuid.uuid4().hex}\n")
        self.names.add(name)
        (context / "app.py").write_text(f"def handler(event, context):\n    return '{name}'\n")
        (context / "Dockerfile").write_text(
            f"FROM {self.base}\nCOPY requirements.txt ./\nRUN python -m pip install --quiet -r requirements.txt\n"
            'COPY app.py ./\nCMD ["app.handler"]\n'
        )


class Towpath:
    name = "towpath build"

    def __init__(self, application: Application, *options: str) -> None:
        self.application, self.options = application, options

    def build(self) -> float:
        return _timed([TOWPATH, "build", *self.options], self.application.folder, dict(os.environ))


class Sam:
    name = "sam build --cached --parallel"

    def __init__(self, application: Application, home: Path) -> None:
        self.application, self.variables = application, rival.variables(home)
        self.program = str(rival.program())

    def build(self) -> float:
        return _timed([self.program, "build", "--cached", "--parallel"], self.application.folder, self.variables)


class Docker:
    """`docker build` of each function, by the builder that ours chooses, so that only what is added to it is compared."""

    name = f"docker build, {JOBS} at a time"

    def __init__(self, application: Application, builder: builders.Builder) -> None:
        self.application = application
        self.program = builder.client.path if builder.client else "docker"
        self.buildx = ["buildx"] if builder.client and builder.client.buildx else []
        self.load = ["--load", "--provenance=false"] if self.buildx else []
        self.variables = {**os.environ, "DOCKER_BUILDKIT": "1" if builder.name == "buildkit" else "0"}

    def build(self) -> float:
        contexts = sorted(path.parent for path in self.application.folder.glob("*/Dockerfile"))
        started = time.perf_counter()
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(self.one, contexts))
        return time.perf_counter() - started

    def one(self, context: Path) -> float:
        tag = f"towpath-bench/{context.name}:{self.application.mark}"
        argv = [self.program, *self.buildx, "build", *self.load, "--tag", tag, str(context)]
        return _timed(argv, self.application.folder, self.variables)


def _timed(argv: list[str], folder: Path, variables: dict[str, str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        argv, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - started
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return taken


@pytest.fixture
def client() -> Iterator[APIClient]:
    with engine.connect() as client:
        yield client


@pytest.fixture
def chosen() -> builders.Builder:
    return builders.choose("auto", builders.engine_here(), clients.find(None))


Contenders = dict[str, Any]


@pytest.fixture
def contenders(
    tmp_path: Path, base: str, chosen: builders.Builder, client: APIClient
) -> Iterator[Callable[[list[str]], Contenders]]:
    """Each with an application of its own, so that nobody finds done what another did."""

    applications: list[Application] = []

    def make(names: list[str]) -> Contenders:
        applications[:] = [Application(tmp_path / each, base, uuid.uuid4().hex[:8]) for each in ("ours", "sam", "raw")]
        for application in applications:
            application.write(names)
        ours, sam, raw = applications
        made = (Towpath(ours), Sam(sam, tmp_path / "home"), Docker(raw, chosen))
        return {each.name: each for each in made}

    yield make
    for application in applications:
        application.remove(client)


def _in_turns(contenders: Contenders, before: Callable[[Any], None] = lambda _: None) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, contender in contenders.items():
            before(contender)
            taken[name].append(contender.build())
    assert all(len(each) == TURNS for each in taken.values())
    return {name: statistics.median(each) for name, each in taken.items()}


def _tell(what: str, medians: dict[str, float]) -> None:
    ours = medians[Towpath.name]
    print(f"\n{what}")
    for name, median_s in medians.items():
        print(f"  {name:<32} {median_s:7.2f} s   ours is {ours / median_s:6.3f} of it, and {ours - median_s:+.2f} s")


def _names(number: int) -> list[str]:
    return [f"Fn{at:02}" for at in range(number)]


@pytest.mark.parametrize("number", SIZES)
def test_first_build(contenders: Callable[[list[str]], Contenders], number: int, chosen: builders.Builder) -> None:
    made = contenders(_names(number))
    print(f"\n{chosen.told}")
    _tell(f"first build of {number} functions", _in_turns(made, lambda each: each.application.write(_names(number))))


def test_nothing_changed(contenders: Callable[[list[str]], Contenders]) -> None:
    made = contenders(_names(30))
    for each in made.values():
        each.build()
    time.sleep(2.1)  # what was just written is looked at again
    _in_turns(made)
    _tell("nothing changed, 30 functions", _in_turns(made))


def test_nothing_changed_in_a_large_context(contenders: Callable[[list[str]], Contenders]) -> None:
    made = contenders(["Fn"])
    for each in made.values():
        for number in range(FILES):
            path = each.application.folder / "fn" / f"d{number % 200}" / f"f{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(str(number))
        each.build()
    time.sleep(2.1)
    made[Towpath.name].build()
    _tell(f"nothing changed, a context of {FILES:,} files", _in_turns(made))


def test_one_function_changed(contenders: Callable[[list[str]], Contenders]) -> None:
    made = contenders(_names(30))
    for each in made.values():
        each.build()
    raw = made[Docker.name]
    raw.build = lambda: raw.one(raw.application.folder / "fn07")  # who uses docker alone knows which one it is
    _tell("one of 30 functions changed", _in_turns(made, lambda each: each.application.change("Fn07")))


def test_first_line_of_the_log(contenders: Callable[[list[str]], Contenders]) -> None:
    """From the start of the command to the first line that the function's own step printed."""
    made = contenders(["Fn"])
    for each in made.values():
        dockerfile = each.application.folder / "fn" / "Dockerfile"
        script = "for i in 1 2 3 4 5 6; do echo tock $i; sleep 1; done"
        dockerfile.write_text(dockerfile.read_text().replace("RUN python", f"RUN {script}; python"))
    commands: dict[str, tuple[list[str], dict[str, str]]] = {}
    for name, each in made.items():
        if isinstance(each, Docker):
            argv = [each.program, *each.buildx, "build", *each.load, str(each.application.folder / "fn")]
            commands[name] = (argv, {**each.variables, "BUILDKIT_PROGRESS": "plain"})
        else:
            argv = [each.program, "build"] if isinstance(each, Sam) else [TOWPATH, "build"]
            commands[name] = (argv, each.variables if isinstance(each, Sam) else dict(os.environ))
    taken: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(TURNS):
        for name, each in made.items():
            context = each.application.folder / "fn"
            (context / "requirements.txt").write_text(f"# {uuid.uuid4().hex}\n")
            taken[name].append(_first("tock", *commands[name], each.application.folder))
    _tell("first line that a step prints", {name: statistics.median(each) for name, each in taken.items()})


def _first(word: str, argv: list[str], variables: dict[str, str], folder: Path) -> float:
    started, found = time.perf_counter(), 0.0
    with subprocess.Popen(
        argv,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if word in line.split("RUN")[0] and not found:
                found = time.perf_counter() - started
    assert process.returncode == 0
    assert found
    return found


def test_memory(contenders: Callable[[list[str]], Contenders]) -> None:
    """The most that a first build of 30 functions takes at a time: all processes of the command, shared pages shared out."""
    made = contenders(_names(30))
    print("\nmemory, first build of 30 functions")
    for name in (Towpath.name, Sam.name):
        each = made[name]
        argv = [each.program, "build", "--cached", "--parallel"] if isinstance(each, Sam) else [TOWPATH, "build"]
        variables = each.variables if isinstance(each, Sam) else dict(os.environ)
        peak: dict[str, float] = {}
        with subprocess.Popen(
            argv, cwd=each.application.folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                parts = _memory_mib(process.pid)
                peak = max(peak, parts, key=lambda part: sum(part.values()))
                time.sleep(0.05)
        assert process.returncode == 0
        told = ", ".join(f"{what} {mib:.0f}" for what, mib in sorted(peak.items()))
        print(f"  {name:<32} {sum(peak.values()):7.0f} MiB   ({told})")


def _memory_mib(root: int) -> dict[str, float]:
    """The proportional set size of a process and all below it, by program."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[str, float] = {}
    for pid in parents:
        above: int | None = pid
        while above not in (None, 0, root):
            above = parents.get(above or 0)
        if above == root:
            with contextlib.suppress(OSError, StopIteration):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                kib = int(next(line for line in rollup if line.startswith("Pss:")).split()[1])
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                found[name] = found.get(name, 0) + kib / 1024
    return found


# Whose code is built: three faults of the rival, each of them silent.


def _app(folder: Path, code: str, context: str = "app") -> None:
    (folder / context).mkdir(parents=True)
    (folder / context / "Dockerfile").write_text("FROM scratch\nCOPY code /\n")
    (folder / context / "code").write_text(code)


def _template(folder: Path, **functions: str) -> None:
    resources = "".join(FUNCTION.format(name=name, context=context) for name, context in functions.items())
    (folder / "template.yaml").write_text(HEAD + resources)


def _code(client: APIClient, image: str) -> str:
    container = client.create_container(image, command=["none"])["Id"]
    try:
        data = b"".join(client.get_archive(container, "/code")[0])
    finally:
        client.remove_container(container)
    return data[512 : 512 + int(data[124:135], 8)].decode()


def _ours(folder: Path) -> dict[str, str]:
    """The image of each function, as `towpath build` tells it."""
    done = subprocess.run([TOWPATH, "build", "--json"], cwd=folder, capture_output=True, text=True, check=True)
    functions = json.loads(done.stdout)["stages"]["build"]["facts"]["functions"]
    return {name: str(each["config"]) for name, each in functions.items()}


def _theirs(folder: Path, home: Path) -> dict[str, str]:
    """The image of each function of the root, as the built template names it."""
    import yaml

    _timed([str(rival.program()), "build"], folder, rival.variables(home))
    built = yaml.safe_load((folder / ".aws-sam" / "build" / "template.yaml").read_text())
    properties = {name: each["Properties"] for name, each in built["Resources"].items()}
    return {name: str(each["ImageUri"]) for name, each in properties.items() if "ImageUri" in each}


def test_whose_code_is_built(tmp_path: Path, client: APIClient) -> None:
    rows = []
    for name, prepare in (("F1", _nested), ("F2", _case), ("F3", _checkouts)):
        what, function, expected, folders = prepare(tmp_path / f"{name}-ours")
        ours = [_ours(folder) for folder in folders]
        theirs = [_theirs(folder, tmp_path / "home") for folder in prepare(tmp_path / f"{name}-sam")[3]]
        answers = (_code(client, ours[0][function]), _code(client, theirs[0][function]))
        rows.append((f"{name}: {what}", expected, *answers))
        assert answers[0] == expected
        for image in {image for built in (*ours, *theirs) for image in built.values()}:
            client.remove_image(image, force=True)
    print(f"\n{'whose code is built':<72} {'expected':<12} {'ours':<12} sam")
    for what, expected, mine, other in rows:
        print(f"{what:<72} {expected:<12} {mine:<12} {other}{'' if other == expected else '   <- wrong'}")


Case = tuple[str, str, str, list[Path]]


def _nested(folder: Path) -> Case:
    _app(folder, "root")
    _app(folder / "child", "child")
    _template(folder, QRoot="app")
    _template(folder / "child", QRoot="app")
    child = "  Child:\n    Type: AWS::Serverless::Application\n    Properties: {Location: child/template.yaml}\n"
    (folder / "template.yaml").write_text((folder / "template.yaml").read_text() + child)
    return "the root's function, with one of the same id in a nested stack", "QRoot", "root", [folder]


def _case(folder: Path) -> Case:
    _app(folder, "a", "a")
    _app(folder, "b", "b")
    _template(folder, QFoo="a", QFOO="b")
    return "ids that differ in case only", "QFoo", "a", [folder]


def _checkouts(folder: Path) -> Case:
    for name in ("A", "B"):
        _app(folder / name, name)
        _template(folder / name, QShared="app")
    return (
        "checkout A, after B with the same id was built on the same machine",
        "QShared",
        "A",
        [folder / "A", folder / "B"],
    )
