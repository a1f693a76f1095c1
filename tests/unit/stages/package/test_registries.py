from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from stages.aws import ecr
from stages.contract import Access
from stages.images.logins import Login
from stages.package.registries import Registries
from stages.package.repositories import Place

if TYPE_CHECKING:
    from pathlib import Path

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
PLACE = Place(HOST, "shop")
TOKEN = ("AWS", "a token of ECR's")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Docker configuration, and an ECR that gives tokens without an account."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(Registries, "session", lambda *_: None)
    monkeypatch.setattr(ecr, "login", lambda _: TOKEN)
    return tmp_path / "config.json"


def _login(access: Access | None = None) -> Any:
    with Registries(None, access, 1) as registries:
        return registries.open(PLACE).repository.auth.login


def test_a_login_to_ecr_that_is_there_is_used(config: Path) -> None:
    config.write_text(json.dumps({"auths": {HOST: {"auth": base64.b64encode(b"AWS:mine").decode()}}}))
    assert _login() == Login("AWS", "mine")


def test_without_one_ecr_is_asked(config: Path) -> None:
    assert _login() == Login(*TOKEN)
    config.write_text(json.dumps({"auths": {"registry.example": {"auth": base64.b64encode(b"a:b").decode()}}}))
    assert _login() == Login(*TOKEN)


def test_a_helper_that_does_not_work_is_told_of_and_ecr_is_asked(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(json.dumps({"credHelpers": {HOST: "not-installed-anywhere"}}))
    assert _login() == Login(*TOKEN)
    assert "ECR is asked for a token instead" in capsys.readouterr().out


def test_it_is_no_login_to_an_embedded_registry(config: Path) -> None:
    """A password for AWS must not be sent to a program on this machine."""
    config.write_text(json.dumps({"auths": {HOST: {"auth": base64.b64encode(b"AWS:mine").decode()}}}))
    assert _login(Access("http://127.0.0.1:9")) == Login(*TOKEN)
