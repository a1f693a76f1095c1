"""What a project needs besides the machine: its definition, its store, its registries, and who we are in its accounts."""

from __future__ import annotations

import os
import re
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import urllib3

from pipeline import compiling, credentials, definition
from pipeline.doctor import Check, Finding
from pipeline.environments import Place
from pipeline.errors import InvalidDefinition, StageFailed, TowpathError, UsageError
from pipeline.executors import isolation
from stages.connections import pool, reason, scheme
from stages.contract import StageError
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from pipeline.definition import Definition
    from pipeline.definition.model import Environment
    from pipeline.record.store import Store

_MOST_SKEW_S = 60.0
"""AWS refuses a request that is five minutes off; a clock that is one minute off is on its way there."""
_CONNECT_S = 10.0
_NO_ANSWER = (urllib3.exceptions.HTTPError, StageError, OSError, ValueError)
_SIGNS_IN = {"github-oidc": ("GitHub Actions", "GITHUB_ACTIONS"), "gitlab-oidc": ("GitLab", "GITLAB_CI")}
"""Ways to sign in that only jobs of a CI system have, and the variable by which those are known."""
_HOST = re.compile(r"((?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5})/.+")


def checks(file: Path, store: Callable[[], Store]) -> list[Check]:
    """What is looked at for the project of a definition, as far as there is one. `store` opens its store."""
    found = [Check("store", lambda: [_store(store)])]
    if not file.exists():
        return found
    try:
        loaded = definition.load(file, file.absolute().parent)
    except InvalidDefinition as error:
        text = f"{file} has {len(error.problems)} mistake{'s' if len(error.problems) > 1 else ''}: {error.problems[0].message}"
        return [
            *found,
            Check("definition", lambda: [Finding("definition", "bad", text, f"towpath validate --file {file}")]),
        ]
    if loaded.isolation == "required":
        found.append(Check("isolation that the definition requires", lambda: [_isolation()]))
    named = _acted_on(loaded)
    found += [Check(f"AWS identity, {name}", partial(_identities, loaded, name)) for name in named]
    real = [name for name in named if not loaded.environments[name].embedded]
    pushed = _pushed(loaded, real)
    pulled = _pulled(loaded) - pushed
    found += [
        Check(f"registry {host}", partial(_registry, host, needed=host in pushed)) for host in sorted(pushed | pulled)
    ]
    clocks = sorted({_endpoint(loaded.environments[name]) for name in real})
    return [*found, *(Check("clock beside AWS's", partial(_skew, url)) for url in clocks[:1])]


def _isolation() -> Finding:
    what = "isolation that the definition requires"
    try:
        isolation.choose("required", os.environ)
    except TowpathError as error:
        return Finding(what, "bad", error.message, error.hint)
    return Finding(what, "good", "it can be had")


# The store


def _store(opened: Callable[[], Store]) -> Finding:
    try:
        store = opened()
        number = len(store.names("runs"))
        off = store.now() - time.time()
    except UsageError as error:
        return Finding("store", "note", f"{error.message}; the first run makes it", None)
    except TowpathError as error:
        return Finding("store", "bad", f"{error.where or ''} {error.message}".strip(), error.hint)
    if abs(off) > _MOST_SKEW_S:
        return Finding(
            "store",
            "bad",
            f"{store.location}: its clock and ours differ by {abs(off):.0f} s",
            "sudo timedatectl set-ntp true",
        )
    return Finding("store", "good", f"{store.location}, {number:,} run{'' if number == 1 else 's'}")


# Who we are


def _acted_on(loaded: Definition) -> list[str]:
    """The environments that somebody signs in to: those of stages that get credentials, and of secrets."""
    stages = (each.environment for each in loaded.stages.values() if "credentials" in KINDS[each.uses].needs)
    secrets = (each.environment for each in loaded.secrets.values())
    named = {*stages, *secrets}
    return [name for name in loaded.environments if name in named]


def _identities(loaded: Definition, name: str) -> list[Finding]:
    """Sign in as each phase would, once for each role, and compare the account with the one that is declared."""
    environment = loaded.environments[name]
    if environment.embedded:
        told = f"the embedded AWS, account {environment.account}, {environment.region}"
        return [Finding(f"AWS identity, {name}", "good", told)]
    elsewhere = _elsewhere(environment, os.environ)
    if elsewhere:
        return [Finding(f"AWS identity, {name}", "note", elsewhere)]
    found = []
    target = compiling.identity(loaded, name)
    for key in _keys(environment):
        auth = compiling.auth(environment, (key,))
        place = Place(name, target, defined=True, profile=environment.profile, auth=auth)
        what = f"AWS identity, {name}" + (f", {key}" if auth else "")
        try:
            session = credentials.connect(place, key, f"towpath-doctor-{name}", lambda: "")
        except (StageError, StageFailed) as error:
            found.append(Finding(what, "bad", error.message, error.hint or _repair(environment)))
        else:
            found.append(Finding(what, "good", f"{session.arn}, {environment.region}"))
    return found


def _elsewhere(environment: Environment, variables: Mapping[str, str]) -> str | None:
    """Who signs in to an environment, if that cannot be tried here: only a job of its CI system has the token for it."""
    system, mark = _SIGNS_IN.get(environment.auth.method if environment.auth else "", ("", ""))
    return f"jobs of {system} sign in to it, by their token; here is none" if mark and mark not in variables else None


def _keys(environment: Environment) -> list[str]:
    """The phases to sign in as: one of each role, or any where there are none."""
    if environment.auth is None or not environment.auth.by_roles:
        return ["propose"]
    named: dict[str | None, str] = {role: key for key, role in reversed(environment.auth.own_roles.items())}
    if environment.auth.role:
        named.setdefault(environment.auth.role, "propose")
    return list(named.values()) or ["propose"]


def _repair(environment: Environment) -> str:
    return f"aws sso login --profile {environment.profile}" if environment.profile else "aws configure"


# Registries


def _pushed(loaded: Definition, real: Collection[str]) -> set[str]:
    """The hosts that `package` pushes to, but for those of the embedded AWS."""
    named: list[str] = []
    for stage in loaded.stages.values():
        environment = loaded.environments.get(stage.environment or "")
        if stage.uses == "package" and (environment is None or stage.environment in real):
            named += _pushed_to(stage.options, environment)
    return _hosts(named)


def _pulled(loaded: Definition) -> set[str]:
    """The hosts of what looks like a base image: build arguments, and values of parameters."""
    named = [str(each.default) for each in loaded.parameters.values() if each.type == "string" and each.default]
    for stage in loaded.stages.values():
        named += _texts(stage.options.get("build-args") or {})
    return _hosts(named)


def _hosts(named: Iterable[str]) -> set[str]:
    return {match[1] for each in named if "${{" not in each and (match := _HOST.fullmatch(each))}


def _pushed_to(options: Any, environment: Environment | None) -> list[str]:
    names = [*_texts(options.get("repositories") or {}), *_texts({"": options.get("repository")})]
    if environment is None:
        return names
    names += [environment.repository or ""]
    suffix = ".cn" if environment.partition == "aws-cn" else ""
    ecr = f"{environment.account}.dkr.ecr.{environment.region}.amazonaws.com{suffix}"
    return [each if _HOST.fullmatch(each) else f"{ecr}/{each or 'x'}" for each in names]


def _texts(values: Any) -> list[str]:
    return [each for each in values.values() if isinstance(each, str)] if isinstance(values, dict) else []


def _registry(host: str, *, needed: bool) -> list[Finding]:
    """Whether a registry answers at all; whether it lets us in is known when something is asked of it.

    One that is only pulled from is not `needed` where the engine has its images.
    """
    what = f"registry {host}"
    url = f"{scheme(host)}://{host}/v2/"
    try:
        status = _answer(url)[0]
    except _NO_ANSWER as error:
        found = f"cannot be reached: {reason(error)}"
        mend = f"curl -v {url}   (a proxy? HTTPS_PROXY, SSL_CERT_FILE)"
        if needed:
            return [Finding(what, "bad", found, mend)]
        return [
            Finding(what, "note", f"{found}; images that begin from one of its own need that one in the engine", mend)
        ]
    if status in (200, 401, 403):
        return [Finding(what, "good", "answers")]
    return [Finding(what, "bad", f"answers with HTTP status {status}: that is no registry", f"curl -v {url}")]


# The clock


def _endpoint(environment: Environment) -> str:
    """Where STS of the environment's region is.

    https://docs.aws.amazon.com/general/latest/gr/sts.html
    """
    return f"https://sts.{environment.region}.amazonaws.com{'.cn' if environment.partition == 'aws-cn' else ''}/"


def _skew(url: str) -> list[Finding]:
    what = "clock beside AWS's"
    before = time.time()
    try:
        theirs = parsedate_to_datetime(_answer(url)[1] or "").timestamp()
    except _NO_ANSWER as error:
        return [Finding(what, "note", f"{url} cannot be asked: {reason(error)}")]
    off = theirs - (before + time.time()) / 2
    if abs(off) > _MOST_SKEW_S:
        text = f"{abs(off):.0f} s {'behind' if off > 0 else 'ahead'}; AWS refuses requests that are 5 minutes off"
        return [Finding(what, "bad", text, "sudo timedatectl set-ntp true")]
    return [Finding(what, "good", f"within {max(1, round(abs(off)))} s")]


def _answer(url: str) -> tuple[int, str | None]:
    """The status and the date that a server answers with. Raises what is in `_NO_ANSWER`."""
    with pool(url, timeout=_CONNECT_S, retries=False) as connections:
        answer = connections.request("GET", url, redirect=False, preload_content=False)
        return answer.status, answer.headers.get("Date")
