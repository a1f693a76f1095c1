"""environments bootstrap: the CloudFormation template of what an environment needs in its account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import click

from pipeline.cli import common
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.definition import Definition, Environment
    from stages.aws.bootstrap import Trust

_GITHUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}(@[0-9]+)?/[A-Za-z0-9._-]{1,100}(@[0-9]+)?")
_GITLAB = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOST = re.compile(r"[A-Za-z0-9.-]+(/[A-Za-z0-9._/-]+)?")
_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}|aws):[\w+=,.@/-]+")
_HEAD = """\
What the environment {name} needs in account {account}, {region}. Read it, then deploy it there, once:

  aws cloudformation deploy --template-file THIS --stack-name {stack} --capabilities CAPABILITY_NAMED_IAM --region {region}

Then write into the environment, with the ARNs that are its outputs:

  auth:
    method: {method}
    roles: {{{roles}}}
{more}"""


@click.command()
@click.argument("environment", metavar="ENV")
@click.option(
    "--github",
    metavar="OWNER/REPO",
    help="Jobs of this repository may assume the roles. OWNER@ID/REPO@ID where its tokens say the ids, as those made since July 2026 do.",
)
@click.option(
    "--github-environment",
    metavar="NAME",
    help='Which environment of GitHub\'s a job must name to apply or invoke; "" if none, and then those of the branch may. Default: ENV.',
)
@click.option("--gitlab", metavar="GROUP/PROJECT", help="Jobs of this project may assume the roles.")
@click.option("--gitlab-host", metavar="HOST", default="gitlab.com", show_default=True, help="Where that GitLab is.")
@click.option(
    "--branch",
    metavar="NAME",
    default="main",
    show_default=True,
    help="Jobs of this branch may propose, package and scan; on GitLab also apply and invoke.",
)
@click.option(
    "--audience", metavar="TEXT", help="What tokens are for. [default: sts.amazonaws.com; https://HOST of GitLab]"
)
@click.option(
    "--oidc-provider", metavar="ARN", help="The account's provider for it, if there is one: an account has one of each."
)
@click.option(
    "--principal",
    "principals",
    metavar="ARN",
    multiple=True,
    help="Without --github or --gitlab: who may assume the roles. Default: whoever the account itself lets. May be repeated.",
)
@click.option(
    "--puller",
    "pullers",
    metavar="ACCOUNT",
    multiple=True,
    help="An account that runs images of the repository. May be repeated.",
)
@click.option(
    "--stack-policy",
    "policies",
    metavar="ARN",
    multiple=True,
    help="A managed policy that `apply` needs for what the stack makes besides functions, their roles, logs and APIs. May be repeated.",
)
@click.option(
    "--service-role",
    is_flag=True,
    help="Make a role that CloudFormation acts as on the stack, so that `apply` may do nothing but execute. The environment's `service-role` names it then.",
)
@click.option("--boundary", metavar="ARN", help="The permissions boundary that every role of the stack must have.")
@click.option("--kms", is_flag=True, help="Encrypt repository and bucket with a key of their own.")
@click.option(
    "--hook",
    type=click.Choice(["stack", "account", "none"]),
    default="stack",
    show_default=True,
    help="Whose functions must have images pinned by digest: those of the stack, of all in the account and region, or nobody's.",
)
@common.file
@common.project
@common.as_json
def bootstrap(
    *,
    environment: str,
    github: str | None,
    github_environment: str | None,
    gitlab: str | None,
    gitlab_host: str,
    branch: str,
    audience: str | None,
    oidc_provider: str | None,
    principals: tuple[str, ...],
    pullers: tuple[str, ...],
    policies: tuple[str, ...],
    service_role: bool,
    boundary: str | None,
    kms: bool,
    hook: Literal["stack", "account", "none"],
    file: str | None,
    project: str,
    as_json: bool,
) -> None:
    """Print a CloudFormation template that makes what ENV needs in its account; nothing is deployed.

    Roles for each phase that may do just that, on the environment's stack, repository and bucket alone; whom they trust; repository, bucket
    and keys with their policies; and a hook of CloudFormation's that refuses images which are not pinned by digest.
    """
    from stages.aws import bootstrap as templates

    definition = _definition(environment, file, project)
    defined, stages = definition.environments, _deploying(environment, definition)
    found = defined[environment]
    for value, pattern, what in (
        *((each, _ACCOUNT, "--puller is an account's twelve digits") for each in pullers),
        *((each, _ARN, "this is no ARN of IAM") for each in (*principals, *policies, oidc_provider, boundary)),
    ):
        if value is not None and not pattern.fullmatch(value):
            raise UsageError(f"{what}: {value!r}")
    if github and gitlab:
        raise UsageError("--github and --gitlab both say who may assume the roles", hint="Make a template for each.")
    trust = templates.Trust(principals=principals)
    if github:
        named = environment if github_environment is None else github_environment
        trust = _of_github(github, named, branch, audience, oidc_provider)
    elif gitlab:
        trust = _of_gitlab(gitlab, gitlab_host, branch, audience, oidc_provider)
    if (github or gitlab) and principals:
        raise UsageError("--principal is for roles that no CI system's token assumes", hint="Leave it out.")
    wanted = templates.Wanted(
        name=found.stack or f"towpath-{environment}",
        trust=trust,
        stack=found.stack,
        stages=tuple(stages),
        repository=_own(found.repository),
        bucket=found.bucket,
        pullers=pullers,
        stack_policies=policies,
        kms=kms,
        hook=hook,
        boundary=boundary,
        service_role=templates.MAKE if service_role else found.service_role,
    )
    if not (wanted.stack or wanted.repository):
        hint = "A `stack` is deployed, a `repository` is pushed to."
        raise UsageError(
            f"the environment {environment!r} has neither a stack nor a repository of its account", hint=hint
        )
    for other in _like(environment, defined) if not as_json else ():
        text = f"names of what {other!r} deploys begin like those of {environment!r}: these roles may read and call its functions too"
        click.echo(f"WARNING: {text}", err=True)
    if as_json:
        common.print_json(templates.template(wanted))
        return
    roles = [
        *(("propose", "apply", "invoke") if wanted.stack else ()),
        *(("package", "scan") if wanted.repository else ()),
    ]
    head = _HEAD.format(
        name=environment,
        account=found.account,
        region=found.region,
        stack=f"towpath-{environment}",
        method="github-oidc" if github else "gitlab-oidc" if gitlab else "ambient",
        roles=", ".join(f"{each}: …" for each in roles),
        more="  service-role: …\n" if service_role and wanted.stack else "",
    )
    click.echo(templates.text(wanted, head), nl=False)


def _like(name: str, defined: Mapping[str, Environment]) -> list[str]:
    """Give the environments in the same account and region whose stack is named like one nested in this one's. Pure."""
    own = defined[name]
    return [
        other
        for other, each in defined.items()
        if own.stack
        and (each.account, each.region) == (own.account, own.region)
        and (each.stack or "").startswith(f"{own.stack}-")
    ]


def _deploying(name: str, definition: Definition) -> list[str]:
    """Give the stages that deploy to an environment, and that of `towpath deploy`, which is called after its kind."""
    from pipeline.definition import copies
    from pipeline.plan import GATED

    made = copies.copies(definition.stages, definition.wiring, GATED).items()
    found = [stage for stage, each in made if each.environment == name and definition.stages[each.of].uses == "deploy"]
    return sorted({*found, "deploy"})


def _definition(name: str, file: str | None, project: str) -> Definition:
    from difflib import get_close_matches

    definition, _folder = common.load(common.definition_file(file, project))
    if name not in definition.environments:
        close = get_close_matches(name, definition.environments, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(definition.environments)}."
        raise UsageError(f"there is no environment {name!r}", hint=hint)
    return definition


def _own(repository: str | None) -> str | None:
    """Give the repository if it is one of the account's ECR; another registry's is nobody's to make here."""
    first = (repository or "").split("/")[0]
    return None if not repository or "." in first or ":" in first or first == "localhost" else repository


def _of_github(repository: str, environment: str, branch: str, audience: str | None, provider: str | None) -> Trust:
    """What the token of a job says of itself; since 2026 with the ids of owner and repository, so that no other can have its name.

    https://docs.github.com/en/actions/reference/security/oidc#example-subject-claims
    https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens/
    """
    from stages.aws.bootstrap import GITHUB, Trust

    if not _GITHUB.fullmatch(repository):
        raise UsageError(f"--github is OWNER/REPO or OWNER@ID/REPO@ID, not {repository!r}")
    of_branch = f"repo:{repository}:ref:refs/heads/{branch}"
    of_environment = f"repo:{repository}:environment:{environment}" if environment else of_branch
    before = () if of_branch == of_environment else (of_branch,)
    return Trust(GITHUB, audience or "sts.amazonaws.com", (of_environment,), provider, before)


def _of_gitlab(project: str, host: str, branch: str, audience: str | None, provider: str | None) -> Trust:
    """https://docs.gitlab.com/ci/cloud_services/aws/."""
    from stages.aws.bootstrap import Trust

    if not _GITLAB.fullmatch(project) or not _HOST.fullmatch(host):
        raise UsageError(
            f"--gitlab is GROUP/PROJECT, and --gitlab-host a host without https://, not {project!r} on {host!r}"
        )
    subject = f"project_path:{project}:ref_type:branch:ref:{branch}"
    return Trust(host, audience or f"https://{host}", (subject,), provider)
