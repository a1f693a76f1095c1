from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

import pytest
from support.fake_registry import OCI

from stages.contract import StageError
from stages.images import logins, registry
from stages.images.logins import Auth, Login
from stages.images.registry import Repository

if TYPE_CHECKING:
    from pathlib import Path

    from support.fake_registry import Server

NEVER_LOGGED = "s3cret"


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def _with(repository: Repository, auth: Auth) -> Repository:
    return Repository(repository.url, repository.http, auth)


def test_a_login_that_has_expired_is_renewed_once(server: Server, repository: Repository) -> None:
    server.wants = _basic("AWS", "new")
    server.manifests["v1"] = b"{}"
    renewed: list[int] = []

    def renew() -> Login:
        renewed.append(1)
        return Login("AWS", "new")

    found = registry.manifest(_with(repository, Auth(Login("AWS", "old"), renew)), "v1")
    assert found is not None
    assert (len(renewed), len(server.seen)) == (1, 2)


def test_ecrs_words_for_an_expired_token_renew_it(server: Server, repository: Repository) -> None:
    """ECR says 403, not 401."""
    said = b'{"errors": [{"code": "DENIED", "message": "Your authorization token has expired. Reauthenticate."}]}'
    server.answers["GET", "/v2/app/manifests/v1"] = [(403, {}, said)]
    server.manifests["v1"] = b"{}"
    auth = Auth(Login("AWS", "old"), lambda: Login("AWS", "new"))
    assert registry.manifest(_with(repository, auth), "v1") is not None
    assert server.seen[-1][2] == _basic("AWS", "new")


def test_a_login_that_is_refused_after_it_was_renewed_is_told(server: Server, repository: Repository) -> None:
    server.wants = "Basic other"
    with pytest.raises(StageError) as caught:
        registry.manifest(_with(repository, Auth(Login("AWS", "a"), lambda: Login("AWS", "b"))), "v1")
    assert "does not know who we are" in (caught.value.hint or "")
    assert len(server.seen) == 2


def test_a_registry_that_wants_a_token_of_its_service(server: Server, repository: Repository) -> None:
    """As Docker Hub, GHCR and GitLab do it: the login is for the token service, the token for the registry."""
    server.wants = "Bearer good"
    server.challenge = (
        f'Bearer realm="{server.address}/token",service="registry.example",scope="repository:app:pull,push"'
    )
    server.manifests["v1"] = b"{}"
    repository = _with(repository, Auth(Login("me", NEVER_LOGGED)))
    for _ in range(3):
        assert registry.manifest(repository, "v1") is not None
    assert [path for _, path, _ in server.seen].count("/token") == 1
    assert server.queries[1] == "service=registry.example&scope=repository%3Aapp%3Apull%2Cpush"
    assert server.seen[1][2] == _basic("me", NEVER_LOGGED)


def test_a_token_without_enough_rights_is_told_and_not_asked_for_again(server: Server, repository: Repository) -> None:
    server.wants = "Bearer other"
    server.challenge = f'Bearer realm="{server.address}/token",scope="repository:app:pull"'
    with pytest.raises(StageError) as caught:
        registry.manifest(_with(repository, Auth()), "v1")
    assert caught.value.cls == "terminal"
    assert [path for _, path, _ in server.seen].count("/token") == 1


def test_a_login_is_not_sent_to_a_token_service_without_tls(server: Server, repository: Repository) -> None:
    server.wants, server.challenge = "Bearer good", 'Bearer realm="http://tokens.example/token"'
    with pytest.raises(StageError, match=r"no https:// address"):
        registry.manifest(_with(repository, Auth(Login("me", NEVER_LOGGED))), "v1")


def test_what_to_wait_for_is_waited_for(
    server: Server, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    server.manifests["v1"] = b"{}"
    server.answers["GET", "/v2/app/manifests/v1"] = [(429, {"Retry-After": "7"}, b"toomanyrequests"), (200, {}, b"{}")]
    assert registry.manifest(repository, "v1") is not None
    assert waited == [7.0]


def test_who_asks_to_wait_for_long_is_not_waited_for(server: Server, repository: Repository) -> None:
    server.answers["GET", "/v2/app/manifests/v1"] = [(429, {"Retry-After": "3600"}, b"toomanyrequests")]
    with pytest.raises(StageError) as caught:
        registry.manifest(repository, "v1")
    assert "come back in 3600 s" in (caught.value.hint or "")
    assert len(server.seen) == 1


# The user's Docker configuration


def test_no_configuration_is_no_login(docker: Path) -> None:
    assert logins.configured("registry.example") is None


def test_a_login_of_the_configuration(docker: Path) -> None:
    auth = base64.b64encode(b"me:pass:word").decode()
    file = docker / "config.json"
    file.write_text(json.dumps({"auths": {"https://registry.example": {"auth": auth}}}))
    before = file.stat().st_mtime_ns, file.read_bytes()
    assert logins.configured("registry.example") == Login("me", "pass:word")
    assert logins.configured("other.example") is None
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before


def test_a_credential_helper_is_asked(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = docker / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\ncat >/dev/null\necho \'{"ServerURL": "x", "Username": "me", "Secret": "from helper"}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker}:{os.environ['PATH']}")
    (docker / "config.json").write_text(json.dumps({"credHelpers": {"registry.example": "test"}}))
    assert logins.configured("registry.example") == Login("me", "from helper")


def test_a_helper_that_is_missing_is_told(docker: Path) -> None:
    (docker / "config.json").write_text(json.dumps({"credHelpers": {"registry.example": "absent"}}))
    with pytest.raises(StageError, match=r"the login for registry\.example cannot be read") as caught:
        logins.configured("registry.example")
    assert "docker login registry.example" in (caught.value.hint or "")


def test_a_broken_configuration_is_told(docker: Path) -> None:
    (docker / "config.json").write_text(json.dumps({"auths": {"registry.example": {"auth": "!!"}}}))
    with pytest.raises(StageError, match="cannot be read"):
        logins.configured("registry.example")


def test_the_type_of_a_manifest_is_kept(server: Server, repository: Repository) -> None:
    server.manifests["v1"] = b"{}"
    found = registry.manifest(repository, "v1")
    assert found is not None
    assert found.type == OCI
