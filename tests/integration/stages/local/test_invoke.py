"""`towpath local invoke`: every way an invocation can end, what the function finds, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from support import functions
from support.machine import free_port

from stages.local import owners

if TYPE_CHECKING:
    from pathlib import Path

    import docker

    from stages.images.direct import Engine

    from .conftest import Project

pytestmark = pytest.mark.engine


def containers(engine: docker.DockerClient, name: str) -> list[str]:
    """Containers of the function of this name, once the engine has removed those it was told to."""
    label = f"towpath.function=arn:aws:lambda:us-east-1:123456789012:function:{name}"
    deadline = time.monotonic() + 10
    while True:
        found = [
            str(each.id) for each in engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        ]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_the_answer_is_on_stdout_and_everything_else_on_stderr(project: Project, engine: docker.DockerClient) -> None:
    name = f"hello-{uuid.uuid4().hex[:8]}"
    project.write(Timeout=5, FunctionName=name)
    done = project.invoke(path="/here")
    assert done.returncode == 0, done.stderr
    assert json.loads(json.loads(done.stdout)["body"]) == {"message": "hello", "path": "/here"}
    lines = done.stderr.splitlines()
    assert lines[0].startswith("START RequestId: ")
    assert lines[1] == "handling"
    assert lines[2].startswith("END RequestId: ")
    assert "\tMemory Size: 128 MB\tInit Duration: " in lines[3]
    assert len(lines) == 4
    assert containers(engine, name) == []


ENDINGS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("fail", {}, 1, "ValueError", "no good"),
    ("leave", {}, 1, "Runtime.ExitError", "exited: RequestId"),
    ("sleep", {"Timeout": 1}, 124, "Sandbox.Timedout", "timeout: RequestId"),
    ("eat", {"Timeout": 20}, 137, "Runtime.OutOfMemory", "out-of-memory: RequestId"),
    ("hello", {"ImageConfig": {"Command": ["gone.handler"]}}, 1, "Runtime.ImportModuleError", "init-error: "),
    ("hello", {"ImageConfig": {"EntryPoint": ["/gone"]}}, 126, "Runtime.InvalidEntrypoint", "broken-image: "),
]


@pytest.mark.parametrize("case", ENDINGS)
def test_endings(project: Project, case: tuple[str, dict[str, Any], int, str, str]) -> None:
    do, properties, code, error_type, told = case
    project.write(**{"Timeout": 5, "MemorySize": 128, **properties})
    done = project.invoke(do, seconds=30)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["errorType"] == error_type
    assert told in done.stderr


def test_what_the_function_finds(project: Project) -> None:
    head = (
        "Parameters:\n  Stage: {Type: String, Default: dev}\n"
        "Globals:\n  Function:\n    Timeout: 7\n    Environment: {Variables: {SHARED: all, OWN: global}}\n"
    )
    more = (
        "      Environment:\n        Variables:\n          OWN: mine\n          STAGE: !Sub '${Stage}-${AWS::Region}'\n"
        "          SELF: !Ref Hello\n          TABLE: !GetAtt Hello.Arn\n"
    )
    project.write(more, head, MemorySize=192, FunctionName="greeter")
    (project.folder / "vars.json").write_text('{"Hello": {"GIVEN": 1}, "Parameters": {"FLAG": true, "GIVEN": "0"}}')
    context = json.dumps({"custom": {"a": "b"}})
    options = ("--env-vars", "vars.json", "--parameter-overrides", "Stage=test", "--region", "eu-west-3")
    done = project.invoke("look", "greeter", *options, "--client-context", context, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"] == "succeeded"
    seen = told["answer"]
    environment = seen["environment"]
    expected = {
        "SHARED": "all",
        "OWN": "mine",
        "STAGE": "test-eu-west-3",
        "SELF": "Hello",
        "GIVEN": "1",
        "FLAG": "true",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert "TABLE" not in environment
    assert "note: Hello: TABLE is not set" in done.stderr
    assert "note: Hello: SELF is 'Hello' here" in done.stderr
    assert environment["AWS_REGION"] == "eu-west-3"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "greeter"
    assert (seen["memory_mb"], seen["uid"], seen["capabilities"]) == ("192", 993, 0)
    assert 6000 < seen["left_ms"] <= 7000
    assert seen["arn"] == "arn:aws:lambda:eu-west-3:123456789012:function:greeter"
    assert seen["custom"] == {"a": "b"}


def test_what_samconfig_says_stands_behind_the_command_line(project: Project) -> None:
    head = "Parameters:\n  Stage: {Type: String}\n  Other: {Type: String}\n"
    more = "      Environment: {Variables: {STAGE: !Ref Stage, OTHER: !Ref Other}}\n"
    project.write(more, head)
    (project.folder / "samconfig.toml").write_text(
        'version = 0.1\n[default.global.parameters]\nregion = "eu-north-1"\n[default.local_invoke.parameters]\n'
        'parameter_overrides = "Stage=live Other=\\"a b\\""\ndocker_network = "x"\n'
    )
    done = project.invoke("look")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["environment"]
    assert (seen["STAGE"], seen["OTHER"], seen["AWS_REGION"]) == ("live", "a b", "eu-north-1")
    assert "samconfig.toml:6: docker_network is not read here" in done.stderr


def test_credentials_are_those_of_the_environment_or_none_that_count(project: Project) -> None:
    given = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    done = project.local("invoke", "--event", "-", given='{"do":"look"}', **given)
    seen = json.loads(done.stdout)["environment"]
    assert {name: seen[name] for name in given} == given


def test_an_image_without_a_shell_and_one_with_the_emulator_inside(
    project: Project, engine: docker.DockerClient, tmp_path: Path
) -> None:
    tag = f"towpath-test-function:{uuid.uuid4().hex[:8]}"
    remove = "import os, glob; [os.remove(each) for each in glob.glob('/bin/*sh')]"
    script = (
        '#!/bin/sh\\n[ -n "$AWS_LAMBDA_RUNTIME_API" ] || exec /usr/local/bin/aws-lambda-rie python3\\n'
        'exec /usr/bin/python3 -m awslambdaric "$@"\\n'
    )
    images = {
        f"{tag}-plain": f'FROM {project.image}\nRUN ["/usr/bin/python3", "-c", "{remove}"]\n',
        f"{tag}-rie": f"FROM {project.image}\nRUN printf '{script}' > /entry.sh && chmod 755 /entry.sh\n"
        'ENTRYPOINT ["/entry.sh"]\nCMD ["handler.count"]\n',
    }
    for name, dockerfile in images.items():
        functions.build(engine, name, dockerfile, b"")
        try:
            done = project.local("invoke", "--image", name)
            assert done.returncode == 0, done.stderr
        finally:
            engine.images.remove(name, force=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_the_container(project: Project, engine: docker.DockerClient, number: int, code: int) -> None:
    name = f"slow-{uuid.uuid4().hex[:8]}"
    project.write(Timeout=60, FunctionName=name)
    with project.begun("sleep", seconds=50) as process:
        process.send_signal(number)
        assert process.wait(20) == code
    assert containers(engine, name) == []


def test_a_debuggers_port_is_open_and_there_is_no_time_limit(project: Project) -> None:
    port = free_port()
    with project.begun("listen", "--debug-port", str(port), port=port) as process:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if connection.recv(9) == b"hello":
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.stdout
        assert int(process.stdout.read()) > 3_600_000, "milliseconds that are left"
        assert process.wait(20) == 0


def test_a_debuggers_port_that_is_taken_is_not_the_images_fault(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = project.local("invoke", "--debug-port", port)
    assert done.returncode == 1
    assert f"error: the port {port} of this machine cannot be had" in done.stderr


def test_what_a_killed_command_left_is_removed_by_the_next_one(
    project: Project, engine: docker.DockerClient, spoken: Engine
) -> None:
    name = f"killed-{uuid.uuid4().hex[:8]}"
    project.write(Timeout=60, FunctionName=name)
    with project.begun("sleep", seconds=50) as process:
        process.kill()
    label = f"towpath.function=arn:aws:lambda:us-east-1:123456789012:function:{name}"
    assert len(engine.containers.list(all=True, filters={"label": label})) == 1
    owners.sweep(spoken)
    assert containers(engine, name) == []


MISTAKES: list[tuple[tuple[str, ...], str, str]] = [
    (("invoke", "Helo"), "there is no image function 'Helo'", "Did you mean Hello?"),
    (("invoke", "--event", "gone.json"), "cannot read the event", "gone.json"),
    (("invoke", "--event", "-"), "the event is no JSON", "standard input:1:1"),
    (("invoke", "--event", "large.json"), "the event has 6,291,457 bytes, and Lambda takes 6,291,456", "S3"),
    (("invoke", "--image", "Not/An:Image:x"), "names no image", ""),
    (("invoke", "--image", "towpath-test:gone"), "the engine does not have the image", "towpath build"),
    (("invoke", "--env-vars", "vars.json"), "the template has no function 'Helo'", "Did you mean Hello?"),
    (("invoke", "--parameter-overrides", "Stage"), "a part of it is not Name=value", "in quotes"),
    (("invoke", "--template", "other.yaml"), "other.yaml", "path from the project's root"),
    (("start-api", "--port", "0"), "the template has no API", "start-lambda"),
]


@pytest.mark.parametrize(("arguments", "message", "hint"), MISTAKES)
def test_mistakes(project: Project, arguments: tuple[str, ...], message: str, hint: str) -> None:
    (project.folder / "vars.json").write_text('{"Helo": {"A": "b"}}')
    (project.folder / "large.json").write_text(f'"{"x" * 6_291_455}"')
    done = project.local(*arguments)
    assert done.returncode in (1, 2), done.stderr
    assert message in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_what_lambda_would_refuse(project: Project) -> None:
    project.write(MemorySize=64, Environment={"Variables": {"AWS_REGION": "x"}})
    done = project.local("invoke")
    assert done.returncode == 2
    assert "MemorySize is '64', and must be a whole number from 128 to 32,768" in done.stderr
    assert "Lambda reserves these variables: AWS_REGION" in done.stderr
    assert "template.yaml:" in done.stderr
