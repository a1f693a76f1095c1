"""The form of a definition: its keys and their types. What no form can say is in `check`.

The descriptions go into the JSON Schema and the reference page; the patterns' words into messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from pipeline.gates.freezes import MOMENT, ZONE
from stages.contract import REGION, ROLE_ARN, TOPIC_ARN, Capability, OnFailure, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.definition.positions import Positions
    from pipeline.gates.rules import Rules

VERSION = 1
MOST_STAGES = 1_000
"""Of a definition: one with several environments counts once for each."""

ParameterType = Literal["string", "integer", "boolean"]
Isolation = Literal["required", "best-effort", "none"]
To = Literal["webhook", "slack", "sns", "github-deployment"]
Told = Literal["waiting", "approved", "voided", "deployed", "failed", "rolled-back", "break-glass"]
_LABEL = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"
_PARAMETER_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
_ACCOUNT = r"^[0-9]{12}$"
_PARTITION = r"^aws(-[a-z0-9]+)*$"
_STACK = r"^[A-Za-z][A-Za-z0-9-]{0,127}$"
_HOST = r"((localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5})"
_REPOSITORY = rf"^({_HOST}/)?([a-z0-9]+([._-][a-z0-9]+)*/)*[a-z0-9]+([._-][a-z0-9]+)*$"
_BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
_DURATION = r"^[1-9][0-9]{0,4}[smh]$"
_PERSON = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"
_IDENTITY = r"^[^\s]+$"
_SECRET_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"  # noqa: S105 - what names look like
_URL = r"^https?://[^\s/?#@]+(/[^\s]*)?$"
_GITHUB = r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"

WORDS: dict[str, str] = {
    _LABEL: "lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen",
    _PARAMETER_NAME: "letters, digits, hyphens and underscores, beginning with a letter",
    _ACCOUNT: "the twelve digits of an account",
    REGION: "a region, such as eu-central-1",
    _PARTITION: "a partition, such as aws or aws-us-gov",
    _STACK: "a stack's name: letters, digits and hyphens, beginning with a letter, at most 128",
    _REPOSITORY: "a repository's name: lower-case letters and digits, separated by . _ - or /, perhaps with a host before it",
    _BUCKET: "a bucket's name: 3 to 63 lower-case letters, digits, hyphens and dots, without s3:// before it",
    TOPIC_ARN: "the ARN of an SNS topic, such as arn:aws:sns:eu-central-1:123456789012:deployments",
    _DURATION: "a duration, such as 90s, 15m or 2h",
    _PERSON: "lower-case letters, digits, and . _ - between them",
    _IDENTITY: "a mail address or a login, without spaces",
    _SECRET_NAME: "letters, digits, and _ . -, beginning with a letter or _",
    _URL: "an address that begins with https:// or http://, without a user in it",
    _GITHUB: "a repository, as owner/name",
    MOMENT: "a moment, such as 2026-12-18 18:00, fri 16:00 or 18:00",
    ZONE: "a time zone, such as Europe/Berlin or UTC",
    _VARIABLE: "a variable's name: letters, digits and _, not beginning with a digit",
    ROLE_ARN: "the ARN of a role, such as arn:aws:iam::111122223333:role/deploy",
}
"""What a text that must match a pattern must be, in words."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * _SECONDS[duration[-1]]


Label = Annotated[str, StringConstraints(pattern=_LABEL, max_length=20)]
EnvironmentName = Annotated[str, StringConstraints(pattern=_LABEL, max_length=30)]
PersonName = Annotated[str, StringConstraints(pattern=_PERSON, max_length=40)]
Identity = Annotated[str, StringConstraints(pattern=_IDENTITY, max_length=200)]
ParameterName = Annotated[str, StringConstraints(pattern=_PARAMETER_NAME, max_length=64)]
SecretName = Annotated[str, StringConstraints(pattern=_SECRET_NAME, max_length=64)]
TopicArn = Annotated[str, StringConstraints(pattern=TOPIC_ARN)]
Scalar = Annotated[Any, WithJsonSchema({"type": ["string", "integer", "boolean"]})]
"""A value of a parameter; `check` compares it with the parameter's type."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Parameter(_Model):
    """A value that a run is given."""

    type: ParameterType = Field(description="What the value is.")
    enum: Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="The values it may have."
    )
    default: Scalar = Field(default=None, description="Its value if none is given. Without one it must be given.")
    description: str = Field(default="", description="What it is for.")


def _one_source(schema: dict[str, Any]) -> None:
    """The schema of a secret: one place that it is taken from."""
    schema["oneOf"] = [{"required": [each]} for each in ("variable", "file", "ssm", "secrets-manager")]


class Secret(_Model):
    """Where a secret is taken from, at the moment that a stage which names it is about to begin."""

    model_config = ConfigDict(json_schema_extra=_one_source)

    variable: str | None = Field(
        default=None, pattern=_VARIABLE, description="The environment variable of Towpath's own that holds it."
    )
    file: str | None = Field(
        default=None, min_length=1, description="The file that holds it: absolute, or from the project's directory."
    )
    ssm: str | None = Field(
        default=None,
        min_length=1,
        description="The parameter of SSM's Parameter Store that holds it: a name or an ARN.",
    )
    secrets_manager: str | None = Field(
        default=None,
        alias="secrets-manager",
        min_length=1,
        description="The secret of Secrets Manager that holds it: a name or an ARN.",
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        description="Where the secret of Secrets Manager is a JSON object: the key that holds it.",
    )
    environment: str | None = Field(
        default=None,
        description="The environment in whose account and region, and with whose credentials, `ssm` and `secrets-manager` are read.",
    )

    @property
    def sources(self) -> dict[str, str]:
        """Every place that it names, by its key; one, if there is no mistake."""
        named = {
            "variable": self.variable,
            "file": self.file,
            "ssm": self.ssm,
            "secrets-manager": self.secrets_manager,
        }
        return {key: place for key, place in named.items() if place is not None}


class Person(_Model):
    """Somebody who asks for runs, writes commits, or approves."""

    emails: Annotated[tuple[Identity, ...], Field(strict=False, max_length=50)] = Field(
        default=(), description="The mail addresses that the person's commits have."
    )
    logins: Annotated[tuple[Identity, ...], Field(strict=False, max_length=50)] = Field(
        default=(), description="The person's names in CI systems and on machines."
    )


class Approvals(_Model):
    """Who must approve what is done to an environment."""

    people: int = Field(ge=1, le=100, description="How many people must approve.")
    approvers: Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=200)] = Field(
        alias="from", description="Who may: names of people and groups."
    )
    expires: str = Field(
        default="24h", pattern=_DURATION, description="How long an approval counts from when it came in; at most 720h."
    )

    @property
    def expires_s(self) -> int:
        """The time in seconds for which an approval counts."""
        return _seconds(self.expires)


class BreakGlass(_Model):
    """Who may have a deployment let through that the rules hold up."""

    people: Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=200)] = Field(
        alias="from", description="Who may: names of people and groups."
    )


class Freeze(_Model):
    """A time in which nothing is applied to an environment."""

    name: str = Field(pattern=_LABEL, max_length=30, description="What it is called.")
    begins: str = Field(
        alias="from",
        pattern=MOMENT,
        description="When it begins: once (`2026-12-18 18:00`), every week (`fri 16:00`) or every day (`18:00`).",
    )
    ends: str = Field(alias="to", pattern=MOMENT, description="When it ends, written in the same way.")
    zone: str = Field(
        pattern=ZONE, max_length=60, description="The time zone of both, such as `Europe/Berlin` or `UTC`."
    )


NOBODY = Approvals.model_construct(people=0, approvers=(), expires="0s")
"""What the word `none` stands for."""


def _word(value: Any) -> Any:
    return NOBODY if value == "none" else value


def _or_the_word(field: dict[str, Any]) -> None:
    """The schema of `approvals`: the word, or the map."""
    field["oneOf"] = [{"const": "none"}, field.pop("anyOf")[0]]


class Roles(_Model):
    """A role for each phase that signs in to AWS. Each gets the credentials of its own, and no other's."""

    package: str | None = Field(default=None, pattern=ROLE_ARN, description="For `package`.")
    propose: str | None = Field(
        default=None,
        pattern=ROLE_ARN,
        description="For `deploy` while it proposes: it makes change sets, and reads. `environments --drift` has it too.",
    )
    apply: str | None = Field(
        default=None, pattern=ROLE_ARN, description="For `deploy` while it acts: it executes a change set."
    )
    invoke: str | None = Field(default=None, pattern=ROLE_ARN, description="For `invoke`.")
    scan: str | None = Field(default=None, pattern=ROLE_ARN, description="For `scan`.")
    secrets: str | None = Field(
        default=None, pattern=ROLE_ARN, description="For reading `ssm` and `secrets-manager` of `secrets`."
    )
    notifications: str | None = Field(
        default=None, pattern=ROLE_ARN, description="For publishing to the topics of `notifications`."
    )


class Auth(_Model):
    """How to sign in to AWS."""

    method: Literal["ambient", "github-oidc", "gitlab-oidc"] = Field(
        default="ambient",
        description="`ambient`: as AWS's own tools find credentials. `github-oidc`, `gitlab-oidc`: by the token of the CI system's job.",
    )
    profile: str | None = Field(
        default=None, min_length=1, description="With `ambient`: a profile of the AWS configuration."
    )
    role: str | None = Field(
        default=None, pattern=ROLE_ARN, description="The role of every phase that `roles` says none for."
    )
    roles: Roles | None = Field(default=None, description="A role for each phase.")
    audience: str | None = Field(
        default=None,
        min_length=1,
        description="With `github-oidc`: what the token is asked for; `sts.amazonaws.com` if not said.",
    )
    variable: str | None = Field(
        default=None, pattern=_VARIABLE, description="With `gitlab-oidc`: the variable that `id_tokens` names."
    )

    def of(self, key: str) -> str | None:
        """The role of a phase, by its key in `roles`."""
        return self.own_roles.get(key) or self.role

    @property
    def own_roles(self) -> dict[str, str]:
        """The roles that phases have of their own, by their keys."""
        return self.roles.model_dump(exclude_none=True) if self.roles else {}

    @property
    def by_roles(self) -> bool:
        """Whether phases sign in by roles. Then all do: none gets what the roles are assumed with."""
        return self.role is not None or bool(self.own_roles) or self.method != "ambient"


class Environment(_Model):
    """A target: where stages act, and what they know of it."""

    aws: Literal["real", "embedded"] = Field(
        default="real", description="`real` is AWS; `embedded` is the AWS that runs on this machine."
    )
    account: str = Field(pattern=_ACCOUNT, description="Twelve digits, in quotes. Another account is refused.")
    region: str = Field(pattern=REGION, description="The region that everything is in, such as eu-central-1.")
    partition: str = Field(default="aws", pattern=_PARTITION, description="The partition; the region's name tells.")
    stack: str | None = Field(default=None, pattern=_STACK, description="The stack that `deploy` deploys.")
    repository: str | None = Field(
        default=None,
        pattern=_REPOSITORY,
        min_length=2,
        max_length=256,
        description="The repository that `package` pushes to: a name in the account's ECR, or a full name with a registry's host.",
    )
    bucket: str | None = Field(
        default=None,
        pattern=_BUCKET,
        description="The S3 bucket, made if missing, for what goes through S3: large and nested templates, code of functions "
        "that are no images, and other files that a template names.",
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="The template's parameters. Numbers and truth values become the text they are written as; expressions may be used.",
    )
    tags: dict[str, str] = Field(default_factory=dict, description="The stack's tags.")
    capabilities: Annotated[tuple[Capability, ...], Field(strict=False)] = Field(
        default=(), description="What CloudFormation may create on the stack's behalf."
    )
    service_role: str | None = Field(
        default=None,
        alias="service-role",
        pattern=ROLE_ARN,
        description="The IAM role that CloudFormation acts as, from then on for whatever is done to the stack. Without one it is the "
        "role that the stack has, else whoever deploys.",
    )
    notification_arns: Annotated[tuple[TopicArn, ...], Field(strict=False, max_length=5)] = Field(
        default=(),
        alias="notification-arns",
        description="SNS topics that CloudFormation tells of everything it does to the stack. Others are taken from the stack.",
    )
    on_failure: OnFailure = Field(
        default="rollback",
        alias="on-failure",
        description="What becomes of the stack when a deployment fails: `rollback`, `do-nothing` (it stays as it is then), or `delete` "
        "(if it was being made; an update rolls back).",
    )
    retain_except_on_create: bool = Field(
        default=False,
        alias="retain-except-on-create",
        description="Whether a deployment that rolls back also deletes what it had just made and the template says to retain.",
    )
    auth: Auth | None = Field(default=None, description="How to sign in to AWS; without it, as AWS's own tools do.")

    approvals: Annotated[Approvals | None, BeforeValidator(_word)] = Field(
        default=None,
        json_schema_extra=_or_the_word,
        description="`none`, or how many people must approve and who may. An environment with a stack must say.",
    )
    scan: Literal["required", "none"] = Field(
        default="none", description="`required`: the images of a release must have passed a scan."
    )
    break_glass: BreakGlass | None = Field(
        default=None,
        alias="break-glass",
        description="Who may, in an emergency, waive approvals, a freeze or the scan for one deployment. If not said, nobody.",
    )
    freeze: Annotated[tuple[Freeze, ...], Field(strict=False, max_length=50)] = Field(
        default=(), description="When nothing is deployed to it."
    )

    @property
    def embedded(self) -> bool:
        """Whether it is the AWS that runs on this machine."""
        return self.aws == "embedded"

    @property
    def profile(self) -> str | None:
        """The profile of the AWS configuration that signs in, or assumes the roles."""
        return self.auth.profile if self.auth else None


class Stage(_Model):
    """One step of the pipeline."""

    uses: str = Field(description="The kind of stage.")
    needs: Annotated[tuple[str, ...], Field(strict=False, max_length=200)] = Field(
        default=(), description="Stages that must have succeeded before this one starts."
    )
    environment: str | None = Field(default=None, description="The environment it acts on.")
    environments: Annotated[tuple[str, ...], Field(strict=False, min_length=2, max_length=50)] = Field(
        default=(),
        description="The environments it acts on, instead of one: there is a stage for each, `<stage>-<environment>`. The first is the "
        "canary: all are proposed before any is applied, and the others applied once it and what follows in its environment have succeeded.",
    )
    secrets: Annotated[tuple[str, ...], Field(strict=False, max_length=100)] = Field(
        default=(),
        description="Secrets it is handed: `command` as variables of their names, `build` for a `RUN --mount=type=secret` with their names as ids.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="The options of its kind. Expressions may be used in their values.",
    )
    timeout: str | None = Field(
        default=None,
        pattern=_DURATION,
        description="How long a phase of it may take, such as 90s, 15m or 2h; 60m if not said.",
    )
    idempotent: bool | None = Field(
        default=None,
        description="Whether it may simply be run again when a try of it died half-way. For kinds that do not know that themselves.",
    )
    inputs: dict[str, str] = Field(
        default_factory=dict,
        description="Which stage an input is taken from, where more than one of those needed has it.",
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """Every environment that it acts on."""
        return self.environments or ((self.environment,) if self.environment else ())

    @property
    def timeout_s(self) -> int | None:
        """The time limit in seconds, if the definition sets one."""
        return _seconds(self.timeout) if self.timeout else None


class Notification(_Model):
    """Somewhere that is told of what happens."""

    to: To = Field(
        description="Where: a signed `webhook`, a webhook of the shape that `slack` takes, a topic of `sns`, or a `github-deployment`."
    )
    on: Annotated[tuple[Told, ...], Field(strict=False, min_length=1)] = Field(
        default=get_args(Told), description="Of what it is told."
    )
    environments: Annotated[tuple[str, ...], Field(strict=False, max_length=200)] = Field(
        default=(), description="Only of stages that act on these environments. If not said, of all stages."
    )
    url: str | None = Field(
        default=None,
        pattern=_URL,
        description="The address of a webhook; of `github-deployment`, that of GitHub's API, if it is not api.github.com.",
    )
    url_secret: str | None = Field(
        default=None,
        alias="url-secret",
        description="The secret that holds the address, where whoever knows it may post.",
    )
    secret: str | None = Field(default=None, description="The secret that a `webhook` is signed with.")
    topic: str | None = Field(default=None, pattern=TOPIC_ARN, description="The ARN of the topic of `sns`.")
    environment: str | None = Field(
        default=None,
        description="The environment in whose account and region, and with whose credentials, the topic is reached.",
    )
    repository: str | None = Field(
        default=None, pattern=_GITHUB, description="The repository of a `github-deployment`, as owner/name."
    )
    token: str | None = Field(default=None, description="The secret that holds the token for it.")


class Document(_Model):
    """A whole definition."""

    version: Literal[1] = Field(description="The version of this format.")
    name: str = Field(pattern=_LABEL, max_length=30, description="The application's name.")
    parameters: dict[ParameterName, Parameter] = Field(
        default_factory=dict, max_length=200, description="Values that a run is given."
    )
    environments: dict[EnvironmentName, Environment] = Field(
        default_factory=dict, max_length=200, description="Targets, by name."
    )
    secrets: dict[SecretName, Secret] = Field(
        default_factory=dict, max_length=200, description="Where secrets are taken from, by name."
    )
    people: dict[PersonName, Person] = Field(
        default_factory=dict,
        max_length=2_000,
        description="Everybody who asks for runs, writes commits or approves, by name.",
    )
    groups: dict[PersonName, Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=200)]] = Field(
        default_factory=dict, max_length=200, description="People by the name of what they are together."
    )
    signers: str | None = Field(
        default=None,
        min_length=1,
        description="A file below the project with the approvers' SSH keys, in OpenSSH's allowed_signers format.",
    )
    isolation: Isolation = Field(
        default="best-effort",
        description="`required`: stages run isolated from the machine, or the run does not start. `best-effort`: as far as the "
        "machine allows, and what is missing is said. `none`: not at all.",
    )
    notifications: Annotated[tuple[Notification, ...], Field(strict=False, max_length=50)] = Field(
        default=(),
        description="Who is told of what happens: that people are waited for, that something was deployed, or failed.",
    )
    stages: dict[Label, Stage] = Field(min_length=1, max_length=MOST_STAGES, description="Stages, by name.")


@dataclass(frozen=True)
class Definition:
    """A definition without mistakes of form. Expressions in it are not evaluated: that takes the parameters of a run.

    `wiring` says for each stage which stage each of its inputs comes from. `document` is the definition as plain values,
    includes resolved. `rules` are those of each environment's gate. `files` has the bytes of every file read, by its name relative to the project; the first is the
    definition itself. `warnings` are habits that are better dropped; none of them keeps anything from working.
    """

    name: str
    parameters: Mapping[str, Parameter]
    environments: Mapping[str, Environment]
    secrets: Mapping[str, Secret]
    stages: Mapping[str, Stage]
    rules: Mapping[str, Rules]
    wiring: Mapping[str, Mapping[str, str]]
    document: Mapping[str, Any]
    files: Mapping[str, bytes]
    positions: Positions
    notifications: tuple[Notification, ...] = ()
    warnings: tuple[Problem, ...] = ()
    isolation: Isolation = "best-effort"

    def place(self, *path: str | int) -> Problem:
        """Where a value stands, as a Problem that still lacks its message: complete it with dataclasses.replace.

        Of what is not there, it is the place of the nearest thing around it.
        """
        return Problem("", *self.positions.value(*path))


MODELS: dict[tuple[str, ...], type[_Model]] = {
    (): Document,
    ("parameters", "*"): Parameter,
    ("environments", "*"): Environment,
    ("environments", "*", "approvals"): Approvals,
    ("environments", "*", "break-glass"): BreakGlass,
    ("environments", "*", "freeze", "*"): Freeze,
    ("environments", "*", "auth"): Auth,
    ("environments", "*", "auth", "roles"): Roles,
    ("secrets", "*"): Secret,
    ("people", "*"): Person,
    ("notifications", "*"): Notification,
    ("stages", "*"): Stage,
}
"""The model of a map in a definition, by the way to it; `*` is any name."""
