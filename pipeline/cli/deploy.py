"""deploy: build, package and deploy a template, or deploy one that is packaged, without a pipeline. Its options are SAM's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import common, recording, sam
from pipeline.cli import settings as told

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.cli.recording import Recording


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    listed = "; several, as SAM takes them"
    for option in reversed(
        (
            click.option(
                "-g", "--guided", is_flag=True, help="Ask for what is needed, and keep the answers in samconfig.toml."
            ),
            click.option(
                "-t",
                "--template-file",
                "--template",
                metavar="FILE",
                help="A packaged template, which is deployed as it is, or one to build first. Default: the project's template.yaml, built.",
            ),
            click.option("--stack-name", metavar="NAME", help="The stack."),
            told.region,
            common.profile,
            common.aws,
            click.option(
                "--environment",
                metavar="NAME",
                help="An environment of the project's pipeline.yaml: its target and its rules.",
            ),
            click.option(
                "--parameter-overrides",
                multiple=True,
                metavar="NAME=VALUE",
                help=f"Values of the template's parameters{listed}.",
            ),
            click.option(
                "--capabilities",
                multiple=True,
                metavar="CAPABILITY",
                help=f"What the template may do, such as CAPABILITY_IAM{listed}.",
            ),
            click.option("--tags", multiple=True, metavar="KEY=VALUE", help=f"Tags of the stack{listed}."),
            click.option("--role-arn", metavar="ARN", help="The role that CloudFormation acts with."),
            click.option(
                "--notification-arns",
                multiple=True,
                metavar="ARN",
                help=f"SNS topics that are told of the stack's events{listed}.",
            ),
            click.option("--s3-bucket", metavar="NAME", help="The bucket for what goes to S3; made if missing."),
            click.option("--s3-prefix", metavar="PREFIX", help="What the keys of uploads begin with."),
            click.option(
                "--kms-key-id",
                metavar="KEY",
                help="The KMS key that encrypts what is uploaded, and repositories that are made.",
            ),
            click.option(
                "--resolve-s3/--no-resolve-s3",
                default=None,
                help="Use a bucket of the account and region, towpath-ACCOUNT-REGION.",
            ),
            click.option("--image-repository", metavar="URI", help="Repository for all images."),
            click.option(
                "--image-repositories",
                multiple=True,
                metavar="FUNCTION=URI",
                help=f"Repository for a function{listed}.",
            ),
            click.option(
                "--resolve-image-repos/--no-resolve-image-repos",
                default=None,
                help="Make a repository for each function, STACK/FUNCTION.",
            ),
            click.option(
                "--confirm-changeset/--no-confirm-changeset",
                default=None,
                help="Ask, on a terminal, before the change set is executed.",
            ),
            click.option(
                "--no-execute-changeset/--execute-changeset",
                default=None,
                help="Make the change set, show it, and leave it.",
            ),
            click.option(
                "--fail-on-empty-changeset/--no-fail-on-empty-changeset",
                default=None,
                help="Exit with 1 if there is nothing to change.",
            ),
            click.option(
                "--disable-rollback/--no-disable-rollback",
                default=None,
                help="Leave what a deployment that fails has done.",
            ),
            click.option(
                "--on-failure",
                type=click.Choice(told.ON_FAILURE),
                help="What becomes of a stack whose deployment fails.",
            ),
            sam.config_file,
            sam.config_env,
        )
    ):
        command = option(command)
    return command


@click.command(cls=sam.Command)
@_options
@sam.not_needed(told.DEPLOY)
@recording.options()
def deploy(
    *,
    guided: bool,
    environment: str | None,
    at: Recording,
    **given: Any,
) -> None:
    """Deploy a template, without a pipeline: build what changed, push what is missing, show what changes, and do it.

    What is not said here stands in samconfig.toml, as AWS SAM CLI keeps it. Exit code 5 if the change set is declined, 75 if
    the target has rules that people must approve by.
    """
    from pipeline.cli import deploying

    settings = told.read(at.project, given, quiet=at.output.as_json)
    deploying.refuse_contradictions(settings, given, guided=guided, environment=environment, as_json=at.output.as_json)
    template = deploying.template(at.project, settings)
    if guided:
        settings = deploying.ask(settings, template, at.project, given["config_file"], given["config_env"])
        template = deploying.template(at.project, settings)
    place = deploying.place(settings, at.project, environment)
    deploying.refuse_mistakes(settings, template, place)
    deploying.go(settings, template, place, at)
