"""A pipeline for a SAM project that is there: its template and its samconfig.toml are read, and never written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline import beneath, samconfig
from pipeline.errors import InvalidDefinition, UsageError
from pipeline.init import choices
from pipeline.init.choices import Place
from stages import template as templates
from stages.contract import InvalidInput
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.init.choices import Person

_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(.+)")
_ROLE = re.compile(r"arn:[a-z-]+:iam::(\d{12}):")
_CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
_ON_FAILURE = {"ROLLBACK": "", "DELETE": "delete", "DO_NOTHING": "do-nothing"}
Configs: TypeAlias = "Mapping[str, Mapping[str, Any]]"
"""What each environment of a configuration says."""
_MAPS = {"parameter_overrides", "image_repositories", "tags"}
_COMMANDS = ("build", "package", "deploy")
"""Whose options say something of a pipeline; what a later one says wins."""


@dataclass(frozen=True)
class Environment(Place):
    """An environment as a configuration has it."""

    stack: str = ""
    capabilities: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    service_role: str = ""
    notification_arns: tuple[str, ...] = ()
    on_failure: str = ""
    profile: str = ""


@dataclass(frozen=True)
class Project:
    """What a SAM project says of itself. `notes` are what it does not say, or says in a way that has to be decided by people."""

    name: str
    template: str
    config: str
    artifacts: Environment
    environments: tuple[Environment, ...]
    repository: str
    repositories: Mapping[str, str]
    application: str
    bucket: str
    build_parameters: Mapping[str, str]
    person: Person | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What was said on the command line."""

    name: str | None
    accounts: Sequence[str]
    region: str | None


def read(folder: Path, asked: Asked, default_region: str, person: Person | None) -> Project:
    """Read a SAM project. Raises UsageError if it is none, InvalidDefinition if its template has mistakes."""
    file = samconfig.find(folder)
    configs = _configs(file)
    first = next(iter(configs.values()))
    template = _template(folder, configs)
    name = choices.name(asked.name) if asked.name else _name(configs, folder)
    application, build_parameters = _application(folder, template, _pairs(first, "parameter_overrides"))
    images = _images(configs)
    ecr = next(filter(None, map(_ECR.fullmatch, images.values())), None)
    first_place, *places = _places(configs, asked, ecr, default_region)
    environments = tuple(
        _environment(place, values, asked, name) for place, values in zip(places, configs.values(), strict=True)
    )
    artifacts = _artifacts(first_place, environments[0], ecr)
    resolves = bool(first.get("resolve_image_repos")) and not images
    return Project(
        name=name,
        template=template,
        config=file.name if file else "",
        artifacts=artifacts,
        environments=environments,
        repository="" if resolves else _short(images.get("", name), artifacts),
        repositories={key: _short(value, artifacts) for key, value in images.items() if key},
        application=name if resolves else "",
        bucket=str(first.get("s3_bucket") or "") or (_bucket(name, artifacts) if _needs_bucket(application) else ""),
        build_parameters=build_parameters,
        person=person,
        notes=tuple(_notes(configs, accounts_known=bool(ecr or asked.accounts))),
    )


def _notes(configs: Configs, *, accounts_known: bool) -> Iterator[str]:
    if not accounts_known:
        yield (
            "No account is known: pipeline.d/environments.yaml has invented ones. Write yours there before you take out "
            "`aws: embedded`."
        )
    named = [each for each in map(_repositories, configs.values()) if each]
    if any(each != named[0] for each in named):
        yield "Environments name different repositories. Images are pushed once, to the first one's, and deployed from there."
    if any(values.get("confirm_changeset") for values in configs.values()):
        yield (
            "`confirm_changeset` asks whoever deploys. In a pipeline people approve: see `approvals` in "
            "pipeline.d/environments.yaml."
        )


def _configs(file: Path | None) -> dict[str, dict[str, Any]]:
    """The options of each environment of the configuration; of one without any if there is none."""
    if file is None:
        return {samconfig.DEFAULT_ENVIRONMENT: {}}
    found = {}
    for environment in samconfig.environments(file):
        values: dict[str, Any] = {}
        for command in _COMMANDS:
            values |= _read(samconfig.read(file, environment, command))
        found[environment] = values
    return found or {samconfig.DEFAULT_ENVIRONMENT: {}}


def _read(config: samconfig.Config) -> dict[str, Any]:
    """The options of a command, with what are names and values taken apart. Raises UsageError."""
    values = dict(config.values)
    for name in _MAPS & set(values):
        try:
            values[name] = _pairs(values, name)
        except UsageError as error:
            raise UsageError(error.message, where=config.where(name), hint=error.hint) from error
    return values


def _template(folder: Path, configs: Configs) -> str:
    """The template's path from the project, as the configuration says or as SAM finds it. Raises UsageError."""
    said = [str(values.get("template_file") or values.get("template") or "") for values in configs.values()]
    named = [each for each in said if each and samconfig.BUILT not in PurePosixPath(each).parts]
    for each in [*named, *samconfig.TEMPLATES]:
        if (folder / each).is_file():
            return Path(each).as_posix()
    hint = "Call it in the folder of a SAM project, or name that folder: --project FOLDER"
    raise UsageError(f"there is no {named[0] if named else samconfig.TEMPLATES[0]}", where=str(folder), hint=hint)


def _application(
    folder: Path, template: str, overrides: Mapping[str, str]
) -> tuple[templates.Application, dict[str, str]]:
    """The application, and the parameters without which its images are not known. Raises InvalidDefinition."""

    def load(parameters: dict[str, str]) -> tuple[templates.Application, list[Any]]:
        return templates.load(lambda name: _bytes(folder, name), template, parameters)

    try:
        application, problems = load({})
        needed: dict[str, str] = {}
        if problems and overrides:
            again, fewer = load(dict(overrides))
            if len(fewer) < len(problems):
                application, problems, needed = again, fewer, dict(overrides)
    except InvalidInput as error:
        raise InvalidDefinition(error.problems) from error
    if problems:
        raise InvalidDefinition(problems)
    if not application.functions:
        hint = "A pipeline builds, scans and deploys functions of `PackageType: Image`."
        raise UsageError("no function of this template is a container image", where=template, hint=hint)
    return application, needed


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return beneath.read(folder, name, LIMITS.yaml_bytes).data
    except beneath.Refused as error:
        raise templates.Unreadable(f"cannot be read: {error}") from error


def _images(configs: Configs) -> dict[str, str]:
    """The repositories of the first environment that names some: by function, and by an empty name the one for all."""
    return next(filter(None, map(_repositories, configs.values())), {})


def _repositories(values: Mapping[str, Any]) -> dict[str, str]:
    named = _pairs(values, "image_repositories")
    return named | ({"": str(values["image_repository"])} if values.get("image_repository") else {})


def _places(configs: Configs, asked: Asked, ecr: re.Match[str] | None, default_region: str) -> tuple[Place, ...]:
    """Where images are held, then the place of each environment, as far as somebody says it."""
    regions = [str(values["region"]) for values in configs.values() if values.get("region")]
    region = asked.region or next(iter(regions), None) or (ecr[2] if ecr else default_region)
    names = choices.environments([_label(each) for each in configs])
    accounts = [*([ecr[1]] if ecr else []), *asked.accounts]
    if all("=" in each for each in asked.accounts):
        own = zip(names, map(_account, configs.values()), strict=True)
        accounts = [*(f"{name}={account}" for name, account in own if account), *accounts]
    return choices.places(names, accounts, region)


def _account(values: Mapping[str, Any]) -> str | None:
    """The account that an environment's own options tell: that of its role, which must be the stack's, or of its repositories."""
    role = _ROLE.match(str(values.get("role_arn") or ""))
    images = (_ECR.fullmatch(each) for each in _repositories(values).values())
    return next((found[1] for found in (role, *images) if found), None)


def _environment(place: Place, values: Mapping[str, Any], asked: Asked, name: str) -> Environment:
    capabilities = samconfig.words(values.get("capabilities") or "CAPABILITY_IAM")
    on_failure = "do-nothing" if values.get("disable_rollback") else _ON_FAILURE.get(str(values.get("on_failure")), "")
    return Environment(
        name=place.name,
        account=place.account,
        region=str(asked.region or values.get("region") or place.region),
        stack=str(values.get("stack_name") or f"{name}-{place.name}"),
        capabilities=tuple(each for each in capabilities if each in _CAPABILITIES),
        parameters=_pairs(values, "parameter_overrides"),
        tags=_pairs(values, "tags"),
        service_role=str(values.get("role_arn") or ""),
        notification_arns=tuple(samconfig.words(values.get("notification_arns") or [])),
        on_failure=on_failure,
        profile=str(values.get("profile") or ""),
    )


def _artifacts(place: Place, first: Environment, ecr: re.Match[str] | None) -> Environment:
    """Where images are held: where the configuration has their repositories, else in the region of the first stack."""
    account, region = (ecr[1], ecr[2]) if ecr else (place.account, first.region)
    return Environment(place.name, account, region, profile=first.profile)


def _needs_bucket(application: templates.Application) -> bool:
    """Whether something goes through S3: nested templates, or what is no image."""
    return len(application.stacks) > 1 or bool(templates.artifacts(application))


def _bucket(name: str, artifacts: Place) -> str:
    return f"{name}-{artifacts.account}-{artifacts.region}"[:63].rstrip("-")


def _short(repository: str, artifacts: Place) -> str:
    """A repository by its name alone, if it is in the registry of the artifacts."""
    match = _ECR.fullmatch(repository)
    here = match and (match[1], match[2]) == (artifacts.account, artifacts.region)
    return match[3] if match and here else repository


def _pairs(values: Mapping[str, Any], key: str) -> dict[str, str]:
    return samconfig.pairs(values[key], key) if values.get(key) else {}


def _name(configs: Configs, folder: Path) -> str:
    """The name of the first stack, or the folder's, as far as either can be one."""
    candidates: Iterable[str] = (
        *(str(each.get("stack_name") or "") for each in configs.values()),
        folder.absolute().name,
    )
    made = (re.sub(r"[^a-z0-9]+", "-", each.lower()).strip("-")[:30].strip("-") for each in candidates)
    return next((each for each in made if len(each) > 1 and each[0].isalpha() and each not in choices.WORDS), "sam-app")


def _label(environment: str) -> str:
    """An environment's name as a stage's can hold it."""
    made = re.sub(r"[^a-z0-9]+", "-", environment.lower()).strip("-")[:13].strip("-")
    fine = made and made[0].isalpha() and made not in choices.TAKEN | choices.WORDS
    return made if fine else f"e-{made}"[:13].strip("-")
