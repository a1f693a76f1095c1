from __future__ import annotations

from pathlib import Path

from pipeline.variables import variables
from stages.contract import Target

OURS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_PROFILE": "p",
    "DOCKER_HOST": "unix:///x",
    "HTTPS_PROXY": "http://proxy",
    "GITHUB_TOKEN": "t",
    "PYTHONPATH": "/evil",
    "LD_PRELOAD": "/evil.so",
}
REAL = Target("production", "123456789012", "eu-central-1")
EMBEDDED = Target("staging", "123456789012", "eu-central-1", embedded=True)
WORK = Path("/w")


def test_a_stage_without_needs_gets_hardly_anything() -> None:
    assert variables(OURS, set(), None, WORK) == {"PATH": "/bin", "HOME": "/w", "TMPDIR": "/w/tmp"}


def test_credentials_go_only_to_a_kind_that_needs_them_for_a_real_target() -> None:
    assert variables(OURS, {"credentials"}, REAL, WORK)["AWS_SECRET_ACCESS_KEY"] == "s"
    for needs, target in (
        ({"credentials"}, None),
        ({"credentials"}, EMBEDDED),
        ({"network", "engine", "source"}, REAL),
    ):
        handed = variables(OURS, needs, target, WORK)  # type: ignore[arg-type]  # sets of literals are wide sets here
        assert not [name for name in handed if name.startswith("AWS_")]
        assert handed["HOME"] == "/w"


def test_who_is_lent_credentials_gets_nothing_that_others_could_be_had_with() -> None:
    lent = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/credentials"}
    ours = OURS | {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}
    handed = variables(ours, {"network", "credentials"}, REAL, WORK, lent)
    assert {name: value for name, value in handed.items() if name.startswith(("AWS_", "ACTIONS_"))} == lent
    with_fips = variables(ours | {"AWS_USE_FIPS_ENDPOINT": "true"}, {"credentials"}, REAL, WORK, lent)
    assert with_fips["AWS_USE_FIPS_ENDPOINT"] == "true"
    assert handed["HOME"] == "/w"


def test_the_engine_and_the_proxy_go_where_they_are_needed() -> None:
    assert "DOCKER_HOST" not in variables(OURS, {"network"}, None, WORK)
    assert variables(OURS, {"network", "engine"}, None, WORK).keys() >= {"DOCKER_HOST", "HTTPS_PROXY"}


def test_tokens_and_loader_variables_never_go_along() -> None:
    handed = variables(OURS, {"network", "engine", "source", "credentials"}, REAL, WORK)
    assert not handed.keys() & {"GITHUB_TOKEN", "PYTHONPATH", "LD_PRELOAD"}
