"""Where images go, and what that takes: repositories of ECR that are made, plain registries, holding repositories."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.images.running import running_registry

from stages.contract import StageError
from stages.images import engine
from stages.images.logins import Auth
from stages.images.registry import Repository, connections, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.stages.package.conftest import Packager

pytestmark = pytest.mark.engine


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A plain registry of its own: its host, and its access log."""
    folder = tmp_path / "plain"
    folder.mkdir()
    with running_registry(folder) as host:
        yield host, folder / "log"


def _requests(log: Path) -> list[str]:
    """Method and path of each request, without those by which the test waited for it."""
    lines = [line.split('"')[1].rpartition(" ")[0] for line in log.read_text().splitlines() if '"' in line]
    return [line for line in lines if line.startswith(("GET", "HEAD", "POST", "PUT", "PATCH")) and "/v2/app/" in line]


def _refuse_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the engine was touched")

    monkeypatch.setattr(engine, "connect", refuse)


def _exists(host: str, name: str, reference: str) -> bool:
    url = f"http://{host}/v2/{name}"
    http = connections(url, 1)
    try:
        return manifest(Repository(url, http, Auth()), reference) is not None
    finally:
        http.clear()


def test_a_plain_registry_by_its_full_name_needs_no_environment(
    packager: Packager, plain: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an image that is there already takes one request, of its registry alone."""
    host, log = plain
    packager.without_environment = True
    packager.build()
    release = packager.package(repository=f"{host}/app")
    for function in release["functions"].values():
        name, _, digest = function["image"].partition("@")
        assert name == f"{host}/app"
        assert _exists(host, "app", digest)
    before = len(_requests(log))
    _refuse_engine(monkeypatch)
    assert packager.package(repository=f"{host}/app") == release
    again = _requests(log)[before:]
    assert len(again) == len(release["functions"])
    assert all(each.startswith("GET /v2/app/manifests/") for each in again)


def test_in_ecr_what_is_there_takes_neither_a_login_nor_an_engine_nor_the_registry(
    packager: Packager, monkeypatch: pytest.MonkeyPatch
) -> None:
    packager.build()
    first = packager.package()

    def refuse(*_: object) -> None:
        raise AssertionError("it was asked for")

    _refuse_engine(monkeypatch)
    monkeypatch.setattr("stages.aws.ecr.login", refuse)
    monkeypatch.setattr("stages.images.registry.call", refuse)
    asked = _calls_to_aws(monkeypatch)
    assert packager.package() == first
    assert asked == ["GetCallerIdentity", "BatchGetImage"]


def test_many_repositories_are_asked_by_one_session(packager: Packager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches threads that each find out who we are, and each make a client of their own."""
    packager.build()
    first = packager.package(application="shop")
    asked = _calls_to_aws(monkeypatch)
    assert packager.package(application="shop") == first
    assert sorted(asked) == ["BatchGetImage", "BatchGetImage", "GetCallerIdentity"]


def _calls_to_aws(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that are called from now on."""
    from botocore.client import BaseClient

    asked: list[str] = []
    call: Any = BaseClient._make_api_call  # type: ignore[attr-defined]  # private to botocore

    def record(self: Any, operation: str, parameters: Any) -> Any:
        asked.append(operation)
        return call(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    return asked


def test_a_made_repository_keeps_what_may_run_and_says_whose_it_is(packager: Packager, ecr: Any) -> None:
    packager.build()
    packager.target = replace(packager.target, tags={"team": "shop"})
    release = packager.package(application="shop")
    assert {each["image"].partition("/")[2].partition("@")[0] for each in release["functions"].values()} == {
        "shop/hellofunction",
        "shop/holafunction",
    }
    (made,) = ecr.describe_repositories(repositoryNames=["shop/hellofunction"])["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["encryptionConfiguration"]["encryptionType"] == "AES256"
    tags = {
        each["Key"]: each["Value"] for each in ecr.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"]
    }
    assert tags == {"team": "shop", "towpath:application": "shop"}
    policy = json.loads(ecr.get_lifecycle_policy(repositoryName="shop/hellofunction")["lifecyclePolicyText"])
    assert [rule["selection"]["tagStatus"] for rule in policy["rules"]] == ["untagged"]


def test_a_repository_of_another_application_is_refused(packager: Packager, ecr: Any) -> None:
    """Catches two applications that share repositories because their names meet."""
    ecr.create_repository(
        repositoryName="shop/hellofunction", tags=[{"Key": "towpath:application", "Value": "another shop"}]
    )
    packager.build()
    with pytest.raises(StageError, match="was made for the application 'another shop', and this is 'shop'"):
        packager.package(application="shop")
    assert ecr.describe_images(repositoryName="shop/hellofunction")["imageDetails"] == []


def test_from_a_registry_that_holds_them_images_are_copied_without_an_engine(
    packager: Packager, plain: tuple[str, Path], ecr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = packager.build()
    packager.without_environment = True
    held = packager.package(repository=f"{plain[0]}/holding")
    packager.without_environment = False
    for name, function in held["functions"].items():
        carrier = {"type": "registry", "name": f"{plain[0]}/holding", "manifest": function["manifest"]}
        packager.edit(name, carrier=carrier)
    _refuse_engine(monkeypatch)
    release = packager.package()
    for name, function in release["functions"].items():
        assert function["manifest"] == held["functions"][name]["manifest"]
        assert function["config"] == built[name]["config"]
    assert len(ecr.describe_images(repositoryName="team/app")["imageDetails"]) == 2


def test_a_holding_registry_that_has_another_image_is_a_mismatch(packager: Packager, plain: tuple[str, Path]) -> None:
    packager.build()
    packager.without_environment = True
    held = packager.package(repository=f"{plain[0]}/holding")
    packager.without_environment = False
    other = held["functions"]["HolaFunction"]["manifest"]
    packager.edit("HelloFunction", carrier={"type": "registry", "name": f"{plain[0]}/holding", "manifest": other})
    with pytest.raises(StageError, match="HelloFunction: the registry holds") as caught:
        packager.package()
    assert caught.value.cls == "mismatch"


def test_another_run_that_was_faster_with_the_same_image_is_no_failure(
    packager: Packager, ecr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tags are immutable, and the manifest of the other run has other bytes: what it pushed is what counts."""
    packager.build(carrier="oci-layout")
    from stages.package import publish

    looked: list[int] = []

    def look(wanted: Any, registries: Any) -> Any:
        looked.append(1)
        return {} if len(looked) == 1 else real(wanted, registries)

    real = publish.look
    packager.build(carrier="engine")
    first = packager.package()
    packager.build(carrier="oci-layout")
    monkeypatch.setattr(publish, "look", look)
    assert packager.package()["functions"] == first["functions"]


def test_nothing_is_asked_for_when_nothing_is_pushed(
    packager: Packager, plain: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that somebody else built stay in their registry: no repository, no environment, no engine, no request."""
    packager.build()
    packager.without_environment = True
    held = packager.package(repository=f"{plain[0]}/app")
    for name, function in held["functions"].items():
        carrier = {"type": "registry", "name": f"{plain[0]}/app", "manifest": function["manifest"]}
        packager.edit(name, carrier=carrier, source=None)
    before = len(_requests(plain[1]))
    _refuse_engine(monkeypatch)
    release = packager.package()
    assert {name: each["image"] for name, each in release["functions"].items()} == {
        name: each["image"] for name, each in held["functions"].items()
    }
    assert len(_requests(plain[1])) == before


class Cutting(threading.Thread):
    """A proxy to a registry that hangs up on a connection once this much was sent to the registry, as often as it is told."""

    def __init__(self, to: str, after_bytes: int, times: int) -> None:
        super().__init__(daemon=True)
        host, _, port = to.partition(":")
        self.to, self.after_bytes, self.times = (host, int(port)), after_bytes, times
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            there = socket.create_connection(self.to)
            threading.Thread(target=self._carry, args=(there, client, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(client, there, True), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:  # noqa: FBT001 - a thread's
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                carried += len(data)
                if counted and self.times and carried > self.after_bytes:
                    self.times -= 1
                    break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_a_connection_that_is_cut_in_the_middle_of_a_layer(packager: Packager, plain: tuple[str, Path]) -> None:
    """Distribution's own registry behind a connection that breaks thrice, each time within the layer."""
    packager.project.write("hello/code", "".join(f"{at:09d}" * 7 + "\n" for at in range(60_000)))
    built = packager.build(carrier="oci-layout")
    packager.without_environment = True
    proxy = Cutting(plain[0], after_bytes=100_000, times=3)
    proxy.start()
    release = packager.package(repository=f"{proxy.host}/app")
    assert proxy.times == 0
    assert release["functions"]["HelloFunction"]["config"] == built["HelloFunction"]["config"]
    assert _exists(plain[0], "app", release["functions"]["HelloFunction"]["manifest"])
    proxy.listener.close()
