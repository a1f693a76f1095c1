"""Which environment variables a stage is handed: an allow-list, by what its kind needs. Everything else stays with us."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from stages.contract import Target
    from stages.kinds import Need

PREFIX = "TOWPATH_"
"""What the names of our own variables begin with."""

_ALWAYS = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
)
_ENGINE = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")
_BUILDX = ("DOCKER_CONFIG", "BUILDX_BUILDER", "BUILDX_CONFIG")
_CREDENTIALS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"),
    *("AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *(
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_SDK_LOAD_CONFIG"),
    "HOME",  # ~/.aws
)
_ENDPOINTS = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")


def variables(
    ours: Mapping[str, str],
    needs: Collection[Need],
    target: Target | None,
    work: Path,
    lent: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Choose from our own variables those that a stage with these needs may have. An embedded target has no credentials.

    A stage that is lent those of a role, by the variables `lent`, gets nothing that others could be had with, nor our home.
    """
    allowed = [*_ALWAYS]
    if "network" in needs:
        allowed += _NETWORK
    if "engine" in needs:
        allowed += _ENGINE
    if "credentials" in needs and target is not None and not target.embedded:
        allowed += [*_ENDPOINTS, *(_CREDENTIALS if lent is None else ())]
    chosen = {"HOME": str(work), "TMPDIR": str(work / "tmp")}
    if "docker-config" in needs:
        allowed += _BUILDX
        chosen |= _docker_config(ours, work)
    return chosen | {name: ours[name] for name in allowed if name in ours} | dict(lent or {})


def _docker_config(ours: Mapping[str, str], work: Path) -> dict[str, str]:
    """Where the docker client finds logins and plugins: HOME is another for a stage, so it is told.

    Its plugin for building notes what it does beside them, where it did so before.
    """
    own = Path(ours["HOME"], ".docker") if ours.get("HOME") else None
    told = {"DOCKER_CONFIG": str(own)} if own and own.is_dir() else {}
    named = ours.get("DOCKER_CONFIG") or told.get("DOCKER_CONFIG")
    return told if named and Path(named, "buildx").is_dir() else {**told, "BUILDX_CONFIG": str(work / "tmp/buildx")}


def taken(kind: str) -> frozenset[str]:
    """Give the names of variables that a stage of this kind may have already, but for those that begin with `PREFIX`."""
    network = _NETWORK if "network" in KINDS[kind].needs else ()
    return frozenset({"HOME", "TMPDIR", *_ALWAYS, *network})


def asked_for(ours: Mapping[str, str], kind: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Choose from our own variables those that a stage's options name, or need."""
    names: set[str] = set()
    for option in KINDS[kind].options:
        value = options.get(option.name)
        if value:
            names |= set(option.variables)
    return {name: ours[name] for name in sorted(names) if name in ours}
