"""Compile a definition and its parameters to a frozen Plan."""

from __future__ import annotations

import dataclasses
import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import yaml

from pipeline import beneath, sight
from pipeline.definition import copies, resolve
from pipeline.definition.model import Roles
from pipeline.errors import InvalidDefinition
from pipeline.plan import GATED, Auth, Channel, Plan, PlannedStage, SecretSource
from pipeline.record import digest
from stages import safeyaml
from stages.contract import Target
from stages.kinds import KINDS
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pipeline.definition import Definition, Environment, Stage
    from pipeline.definition.copies import Copy
    from pipeline.definition.model import Notification
    from pipeline.plan import Place, Value
    from stages.contract import Problem


def compile_plan(definition: Definition, values: Mapping[str, Value], project: Path) -> tuple[Plan, dict[str, bytes]]:
    """Give the plan, and the bytes of every file it holds by digest. Raises InvalidDefinition."""
    contents = {digest.of_bytes(data): data for data in definition.files.values()}
    problems: list[Problem] = []
    stages: dict[str, PlannedStage] = {}
    for name, each in copies.copies(definition.stages, definition.wiring, GATED).items():
        try:
            stages[name], named = _stage(definition, name, each, values, project)
            contents |= named
        except InvalidDefinition as error:
            problems += error.problems
    if problems:
        raise InvalidDefinition(problems)
    told = [channel(definition, each) for each in definition.notifications]
    sources = {file: digest.of_bytes(data) for file, data in sorted(definition.files.items())}
    return Plan(definition.name, dict(values), sources, stages, definition.isolation, told), contents


def _stage(
    definition: Definition, name: str, made: Copy, values: Mapping[str, Value], project: Path
) -> tuple[PlannedStage, dict[str, bytes]]:
    stage = definition.stages[made.of]
    kind = KINDS[stage.uses]
    options = resolve.options(definition, made.of, values, made.environment)
    contents = _read_files(definition, made.of, options, project)
    environment = definition.environments[made.environment] if made.environment else None
    planned = PlannedStage(
        name=name,
        kind=kind.name,
        needs=made.needs,
        options=options,
        inputs=made.inputs,
        target=_target(definition, made.environment, values) if made.environment else None,
        profile=environment.profile if environment else None,
        timeout_s=stage.timeout_s or LIMITS.stage_timeout_s,
        idempotent=kind.idempotent if stage.idempotent is None else stage.idempotent,
        files={path: digest.of_bytes(data) for path, data in contents.items()},
        rules=_rules(definition, stage, made.environment),
        secrets={each: _secret(definition, each) for each in stage.secrets},
        group=made.group,
        after=made.after,
        auth=auth(environment, kind.roles) if environment else None,
    )
    return planned, {digest.of_bytes(data): data for data in contents.values()}


def _rules(definition: Definition, stage: Stage, environment: str | None) -> dict[str, Any] | None:
    """Give the rules of a stage that changes something at its target, else None: looking and packaging have no gate."""
    rules = definition.rules.get(environment) if environment and stage.uses in GATED else None
    return rules.as_json() if rules else None


def _secret(definition: Definition, name: str) -> SecretSource:
    secret = definition.secrets[name]
    ((key, place),) = secret.sources.items()
    source = SecretSource(place=cast("Place", key), name=place, key=secret.key)
    if secret.environment is None:
        return source
    # Who we must be to read it; what is deployed there does not matter.
    target = dataclasses.replace(identity(definition, secret.environment), stack=None)
    environment = definition.environments[secret.environment]
    return dataclasses.replace(source, target=target, profile=environment.profile, auth=auth(environment, ("secrets",)))


ROLES = tuple(Roles.model_fields)
"""The keys of all roles that an environment may have."""


def channel(definition: Definition, each: Notification) -> Channel:
    """Give whom a notification tells."""
    named = {"url": each.url_secret, "secret": each.secret, "token": each.token}
    made = Channel(
        to=each.to,
        on=list(each.on),
        environments=list(each.environments),
        url=each.url,
        repository=each.repository,
        topic=each.topic,
        secrets={key: _secret(definition, name) for key, name in named.items() if name},
    )
    if each.environment is None:
        return made
    environment, target = definition.environments[each.environment], identity(definition, each.environment)
    target = dataclasses.replace(target, stack=None)
    return dataclasses.replace(
        made, target=target, profile=environment.profile, auth=auth(environment, ("notifications",))
    )


def auth(environment: Environment, keys: Collection[str]) -> Auth | None:
    """Give how the phases of these keys sign in by roles; None where they do not, or nobody need."""
    found = signs_in(environment, keys)
    return found if found and found.roles else None


def signs_in(environment: Environment, keys: Collection[str]) -> Auth | None:
    """Give how an environment signs in by roles, with those of these keys that it has; None where it does so without roles."""
    asked = environment.auth
    if asked is None or not asked.by_roles:
        return None
    roles = {key: role for key in keys if (role := asked.of(key))}
    return Auth(asked.method, roles, asked.audience, asked.variable)


def identity(definition: Definition, name: str) -> Target:
    """Give an environment's target as far as it says which stack of the world it is: no parameters, for which expressions count."""
    environment = definition.environments[name]
    return Target(
        name, environment.account, environment.region, environment.partition, environment.embedded, environment.stack
    )


def _target(definition: Definition, name: str, values: Mapping[str, Value]) -> Target:
    environment = definition.environments[name]
    return Target(
        environment=name,
        account=environment.account,
        region=environment.region,
        partition=environment.partition,
        embedded=environment.aws == "embedded",
        stack=environment.stack,
        repository=environment.repository,
        parameters=resolve.environment_parameters(definition, name, values),
        tags=dict(environment.tags),
        capabilities=list(environment.capabilities),
        bucket=environment.bucket,
        service_role=environment.service_role,
        notification_arns=list(environment.notification_arns),
        on_failure=environment.on_failure,
        retain_except_on_create=environment.retain_except_on_create,
    )


def _read_files(definition: Definition, name: str, options: dict[str, Any], project: Path) -> dict[str, bytes]:
    """Read the files that a stage's options name, of folders all files. Raises InvalidDefinition with what is wrong with any of them."""
    contents: dict[str, bytes] = {}
    problems: list[Problem] = []
    for option in KINDS[definition.stages[name].uses].options:
        if option.type not in ("file", "folder") or option.name not in options:
            continue
        path = str(options[option.name])
        try:
            if option.type == "folder":
                contents |= beneath.read_folder(project, path, LIMITS.folder_files, LIMITS.folder_bytes)
            else:
                contents[path] = beneath.read(project, path, LIMITS.yaml_bytes).data
                contents |= _named_in(project, path, contents[path], option.names_files)
        except beneath.Refused as error:
            place = definition.place("stages", name, "with", option.name)
            problems.append(dataclasses.replace(place, message=f"{option.name}: {error}", hint=error.hint))
    problems += _wrong_writes(definition, name, options)
    if problems:
        raise InvalidDefinition(problems)
    return contents


def _named_in(project: Path, path: str, data: bytes, keys: tuple[str, ...]) -> dict[str, bytes]:
    """Read the files that the entries of a YAML file name. What is wrong with it or with them, the kind's check says, with its place."""
    contents: dict[str, bytes] = {}
    for name in _values(data, path, keys) if keys else ():
        named = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        with suppress(beneath.Refused):
            contents[named] = beneath.read(project, named, LIMITS.event_bytes).data
    return contents


def _values(data: bytes, path: str, keys: tuple[str, ...]) -> list[str]:
    try:
        entries = yaml.safe_load(safeyaml.check(data, path))
    except (safeyaml.UnsafeYaml, yaml.YAMLError, ValueError):
        return []
    found = (
        [each.get(key) for each in entries if isinstance(each, dict) for key in keys]
        if isinstance(entries, list)
        else []
    )
    return [each for each in found if isinstance(each, str)]


def _wrong_writes(definition: Definition, name: str, options: dict[str, Any]) -> list[Problem]:
    """Say which paths no stage may write."""
    place = definition.place("stages", name, "with", "writes")
    told = [(each, sight.forbidden(str(each))) for each in options.get("writes") or ()]
    hint = "Name what the program makes of the project."
    return [dataclasses.replace(place, message=f"writes: {each!r}, {why}", hint=hint) for each, why in told if why]
