"""The frozen Plan: everything that decides what a run does, and nothing of where or when it runs. Format version 1
(docs/adr/0004).

`pipeline.compiling` makes it of a definition; nothing below knows YAML, environments or expressions. Its digest names it.
The files that stages name are part of it by digest.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import VerificationFailed
from pipeline.record import artifacts, digest
from stages.contract import Target
from stages.kinds import KINDS

if TYPE_CHECKING:
    from pipeline.record.replay import Run
    from pipeline.record.store import Store

VERSION = 1
BEST_EFFORT = "best-effort"
GATED = frozenset({"deploy", "delete", "recover", "command"})
"""Kinds that change something at their target; looking and packaging have no gate."""

ISOLATIONS = ("required", BEST_EFFORT, "none")

_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
"""What identifies a target. Each has one way to be written, so that it has one ledger."""

Value = str | int | bool

Place = Literal["variable", "file", "ssm", "secrets-manager"]
"""Where a secret can be taken from."""


@dataclass(frozen=True)
class Auth:
    """By which roles phases sign in to AWS, and how those are assumed. `roles` are by their keys, and those that are needed alone.

    `audience` is what a token of GitHub's is asked for, `variable` the one that holds GitLab's.
    """

    method: Literal["ambient", "github-oidc", "gitlab-oidc"]
    roles: dict[str, str]
    audience: str | None = None
    variable: str | None = None


@dataclass(frozen=True)
class SecretSource:
    """Where a secret is taken from when a stage begins: names only, never a value.

    `name` is the variable, the file (absolute, or from the project), the parameter or the secret; `key` one of a secret that is a JSON
    object. What is read in AWS is read at `target`, with `profile` or by a role of `auth`.
    """

    place: Place
    name: str
    key: str | None = None
    target: Target | None = None
    profile: str | None = None
    auth: Auth | None = None


@dataclass(frozen=True)
class PlannedStage:
    """One node. `inputs` says which stage each input comes from; `files` gives the digest of each file an option names.

    `rules` are those that the definition wants for the target, None for a stage without a gate. `secrets` are those it is handed.
    `group` is the definition's stage of which this is the one for one environment of several, `after` what must have succeeded before it
    is applied; it may be proposed before that.
    `auth` says by which roles it signs in; without it, it does so with `profile` or what is at hand.
    """

    name: str
    kind: str
    needs: list[str]
    options: dict[str, Any]
    inputs: dict[str, str]
    target: Target | None
    profile: str | None
    timeout_s: int
    idempotent: bool
    files: dict[str, str] = field(default_factory=dict)
    rules: dict[str, Any] | None = None
    secrets: dict[str, SecretSource] = field(default_factory=dict)
    group: str | None = None
    after: list[str] = field(default_factory=list)
    auth: Auth | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the stage's JSON form, in which one without secrets says nothing of them, and so on."""
        form = {**dataclasses.asdict(self), "target": self.target.as_json() if self.target else None}
        form["secrets"] = {name: _source_json(source) for name, source in self.secrets.items()}
        return _said(form, "secrets", "group", "after", "auth")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The artifacts this stage hands on."""
        return tuple(self.options.get("outputs") or ()) if self.kind == "command" else KINDS[self.kind].outputs

    @property
    def gated_target(self) -> Target:
        """The target, of a stage that has a gate."""
        if self.target is None:
            raise AssertionError(f"stage {self.name} has a gate and no target")
        return self.target

    @property
    def image(self) -> str | None:
        """The image in a container of which it runs, by digest; None for a process."""
        return self.options.get("image") if self.kind == "command" else None


@dataclass(frozen=True)
class Channel:
    """Somewhere that is told of what happens: of what (`on`), and of which environments, if not of all.

    `secrets` are those that it takes: `url` where the address is one, `secret` to sign with, `token` to sign in with. A topic of SNS is
    reached at `target`, with `profile` or by a role of `auth`.
    """

    to: str
    on: list[str]
    environments: list[str] = field(default_factory=list)
    url: str | None = None
    repository: str | None = None
    topic: str | None = None
    target: Target | None = None
    profile: str | None = None
    auth: Auth | None = None
    secrets: dict[str, SecretSource] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the JSON form, in which what is not said is left out."""
        form = {**dataclasses.asdict(self), "target": self.target.as_json() if self.target else None}
        form["secrets"] = {name: _source_json(source) for name, source in self.secrets.items()}
        return _said(form, *(each for each in form if each not in ("to", "on")))


@dataclass(frozen=True)
class Plan:
    """The frozen graph. `stages` is in an order in which every stage stands after what it needs. `isolation` is one of `ISOLATIONS`."""

    name: str
    parameters: dict[str, Value]
    definition: dict[str, str]
    stages: dict[str, PlannedStage]
    isolation: str = BEST_EFFORT
    notifications: list[Channel] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Give the plan's JSON form. What is as it always was is left out, so that a plan keeps its digest."""
        made = {
            "v": VERSION,
            **dataclasses.asdict(self),
            "stages": [each.as_json() for each in self.stages.values()],
            "notifications": [each.as_json() for each in self.notifications],
        }
        if self.isolation == BEST_EFFORT:
            del made["isolation"]
        return _said(made, "notifications")

    def releases(self, stage: PlannedStage) -> bool:
        """Tell whether a stage stands or falls with a release: it deploys to its target, or another stage of the plan does."""
        targets = [_identity(each.target) for each in self.stages.values() if each.kind == "deploy" and each.target]
        return stage.target is not None and _identity(stage.target) in targets

    @property
    def digest(self) -> str:
        """The digest that names this plan."""
        return digest.of_bytes(digest.canonical(self.as_json()))


def _said(form: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out what of these says nothing."""
    return {name: value for name, value in form.items() if value or name not in names}


def _source_json(source: SecretSource) -> dict[str, Any]:
    form = {**dataclasses.asdict(source), "target": source.target.as_json() if source.target else None}
    return _said(form, "auth")


def _identity(target: Target) -> tuple[object, ...]:
    return target.embedded, target.partition, target.account, target.region, target.stack


def of(store: Store, run: Run) -> Plan:
    """Read the plan of a run from its record. Raises VerificationFailed."""
    what = f"the plan of run {run.id}"
    return from_json(artifacts.read_json(store, run.plan, what), what)


def from_json(value: Any, what: str) -> Plan:
    """Read a plan that `as_json` gave. Raises VerificationFailed."""
    try:
        if value["v"] != VERSION:
            raise VerificationFailed(f"{what} is of format version {value['v']}, not {VERSION}")
        stages = [
            PlannedStage(
                **{
                    **each,
                    "target": _target(each["target"]),
                    "secrets": {name: _source(source) for name, source in each.get("secrets", {}).items()},
                    "auth": _auth(each),
                }
            )
            for each in value["stages"]
        ]
        for stage in stages:
            _check_form(stage, what)
        if value.get("isolation", BEST_EFFORT) not in ISOLATIONS:
            raise VerificationFailed(f"{what} asks for the unknown isolation {value['isolation']!r}")
        named = {each.name: each for each in stages}
        isolation = value.get("isolation", BEST_EFFORT)
        channels = [_channel(each) for each in value.get("notifications", [])]
        plan = Plan(value["name"], value["parameters"], value["definition"], named, isolation, channels)
        if len(plan.stages) != len(stages) or digest.canonical(plan.as_json()) != digest.canonical(value):
            raise VerificationFailed(f"{what} is not in the form that plans are recorded in")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationFailed(f"{what} is not a plan: {error!r}") from error
    return plan


def _target(value: dict[str, Any] | None) -> Target | None:
    return Target(**value) if value else None


def _source(value: dict[str, Any]) -> SecretSource:
    return SecretSource(**{**value, "target": _target(value["target"]), "auth": _auth(value)})


def _channel(value: dict[str, Any]) -> Channel:
    secrets = {name: _source(source) for name, source in value.get("secrets", {}).items()}
    return Channel(**{**value, "target": _target(value.get("target")), "auth": _auth(value), "secrets": secrets})


def _auth(value: dict[str, Any]) -> Auth | None:
    return Auth(**value["auth"]) if value.get("auth") else None


def _check_form(stage: PlannedStage, what: str) -> None:
    """Raise VerificationFailed for a stage that no definition compiles to, and that would get round its gate."""
    if stage.kind not in KINDS:
        raise VerificationFailed(f"{what}: stage {stage.name} is of the unknown kind {stage.kind!r}")
    if stage.target and stage.kind in GATED and not stage.rules:
        raise VerificationFailed(f"{what}: stage {stage.name} acts on a target, and no rules say who must approve that")
    if stage.auth and set(stage.auth.roles) != set(KINDS[stage.kind].roles):
        raise VerificationFailed(f"{what}: stage {stage.name} has not just the roles that its phases need")
    names = (
        (stage.target.partition, stage.target.account, stage.target.region, stage.target.stack) if stage.target else ()
    )
    for name in names:
        if name is not None and not _IDENTITY.fullmatch(name):
            raise VerificationFailed(f"{what}: the target of stage {stage.name} is named by {name!r}, which is no name")
