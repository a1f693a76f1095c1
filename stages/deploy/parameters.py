"""Where the value of each parameter of a template comes from. Pure.

The environment says it, or else the template's default does: what a stack happens to have does not go on silently. It is kept only
where nobody says anything else: of a parameter without default, and of a secret (`NoEcho`), whose default is hardly ever meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from stages.contract import COMMAND
from stages.deploy.precheck import declared_parameters, scalar, secret_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from stages.contract import Problem, Target
    from stages.template.tree import Template

Source = Literal["environment", "default", "stack", "nowhere"]


def sources(template: Template, target: Target, before: Mapping[str, str]) -> dict[str, Source]:
    """Where each parameter's value comes from. `before` are the stack's parameters as they are, none of a stack that is made."""
    secret = secret_parameters(template)
    found: dict[str, Source] = {}
    for name, node in declared_parameters(template).items():
        default = node.get("Default") is not None
        if name in target.parameters:
            found[name] = "environment"
        elif name in before and (name in secret or not default):
            found[name] = "stack"
        else:
            found[name] = "default" if default else "nowhere"
    return found


def kept(template: Template, target: Target, before: Mapping[str, str]) -> frozenset[str]:
    """The parameters that keep the value which the stack has."""
    return frozenset(name for name, source in sources(template, target, before).items() if source == "stack")


def known(template: Template, target: Target, before: Mapping[str, str]) -> dict[str, str]:
    """The values that somebody gives: the environment, and the stack where one is kept. Defaults and kept secrets are not among them."""
    shown = kept(template, target, before) - secret_parameters(template)
    return {name: before[name] for name in sorted(shown)} | target.parameters


def problems(template: Template, target: Target, before: Mapping[str, str]) -> Iterator[Problem]:
    """Parameters that get a value from nowhere, each with the line to add."""
    declared = declared_parameters(template)
    for name, source in sources(template, target, before).items():
        if source == "nowhere":
            environment, stack = target.environment, " and the stack has none to keep" if before else ""
            message = f"the parameter {name} has no default, the environment {environment} does not set it{stack}"
            hint = f"Add to `parameters` of the environment {environment}: `{name}: ...`"
            if environment == COMMAND:
                hint = f"Give it with --parameter-overrides {name}=VALUE"
            yield template.problem(declared[name], message, hint)


def default(template: Template, name: str) -> str | None:
    """The text of a parameter's default."""
    return scalar(declared_parameters(template)[name].get("Default"))


def unguarded(template: Template, secrets: Iterable[str]) -> Iterator[Problem]:
    """Secrets that are given to parameters which are shown: in a proposal, and to everybody who may look at the stack."""
    declared = declared_parameters(template)
    for name in sorted(declared.keys() & set(secrets) - secret_parameters(template)):
        message = f"the parameter {name} is given a secret, and whoever may look at the stack sees it"
        yield template.problem(declared[name], message, f"Add to the parameter {name}: `NoEcho: true`")


def is_stored(template: Template, name: str) -> bool:
    """Whether a parameter's value names one of Parameter Store's, which CloudFormation looks up when it makes a change set."""
    return (scalar(declared_parameters(template)[name].get("Type")) or "").startswith("AWS::SSM::Parameter::Value")
