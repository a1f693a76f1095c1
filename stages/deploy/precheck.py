"""Look for what CloudFormation would refuse, before a change set is made: every problem at once, each with its place.

CloudFormation tells one problem at a time, some of them only when a stack is half made; the embedded AWS tells none of
these. Pure: template and environment in, problems out. Where a macro may add what is missing, nothing is refused.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stages.contract import COMMAND, Problem
from stages.deploy.release import below
from stages.template import overview
from stages.template.resources import LANGUAGE_EXTENSIONS, LOOP
from stages.template.tree import Mapping, Scalar, Sequence, walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from stages.template import Stack
    from stages.template.tree import Node, Template

SAM = "AWS::Serverless-2016-10-31"

_IAM = frozenset(
    "AWS::IAM::" + name
    for name in (
        "AccessKey",
        "Group",
        "InstanceProfile",
        "ManagedPolicy",
        "Policy",
        "Role",
        "User",
        "UserToGroupAddition",
    )
)
"""The types that CreateChangeSet's reference lists under CAPABILITY_IAM."""
_NAME_OF = {
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
}
_ROLE_UNLESS_GIVEN = frozenset({"AWS::Serverless::Function", "AWS::Serverless::StateMachine"})
_ROLE_ALWAYS = frozenset({"AWS::Serverless::Connector", "AWS::Serverless::GraphQLApi"})
_IMPLICIT = ("ServerlessRestApi", "ServerlessHttpApi", "ServerlessDeploymentApplication", "CodeDeployServiceRole")
"""What SAM makes without anything of that name in the template; further ids of its own begin with these."""
_PSEUDO = "AWS::"
_IN_SUB = re.compile(r"\$\{(?!!)([^}]*)\}")


@dataclass(frozen=True)
class Reference:
    """A name that must exist. `only_resource`: a parameter will not do."""

    name: str
    node: Node
    only_resource: bool = False


def check(
    stacks: dict[str, Stack], environment: str, parameters: dict[str, str], capabilities: list[str]
) -> list[Problem]:
    """All problems of a template, and of those nested in it, with the parameters and capabilities that an environment states."""
    problems: list[Problem] = [*_capability_problems(stacks, environment, capabilities)]
    for path, stack in stacks.items():
        problems += _macro_problems(stack.template)
        problems += _passing_problems(stack) if path else _parameter_problems(stack.template, environment, parameters)
        problems += _reference_problems(stack.template)
    return problems


def _passing_problems(stack: Stack) -> Iterator[Problem]:
    """Parameters that a nested template must be given, or does not have, as far as its parent says what it passes on."""
    if stack.passed is None:
        return
    declared = declared_parameters(stack.template)
    for name, node in declared.items():
        if name not in stack.passed and node.get("Default") is None:
            message = f"the parameter {name} has no default, and the template around it does not set it"
            yield stack.template.problem(node, message, f"Add it to the Parameters of {stack.path}.")
    for name in stack.passed:
        if name not in declared:
            message = f"{stack.path} is given the parameter {name}, which its template does not have"
            hint = _did_you_mean(name, declared) or _known("Its parameters are", declared)
            yield stack.template.problem(stack.template.root, message, hint)
    for name, parameter in overview.parameters(stack.template).items():
        value = stack.scope.given.get(name)  # as far as it is written out
        wrong = parameter.wrong(value) if value is not None else None
        if wrong:
            message = f"the parameter {name} does not allow {wrong.value}, which the template around it sets"
            yield stack.template.problem(declared[name], message, wrong.allows)


def resources(template: Template) -> Iterator[tuple[Scalar, str, Mapping]]:
    """The resources of a template: key, type, node. Those of a loop's body stand for all that the loop makes."""
    yield from _resources(template.root.get("Resources"))


def _resources(section: Node | None) -> Iterator[tuple[Scalar, str, Mapping]]:
    for key, resource in section.named() if isinstance(section, Mapping) else ():
        if isinstance(resource, Mapping):
            yield key, scalar(resource.get("Type")) or "", resource
        elif key.value.startswith(LOOP) and isinstance(resource, Sequence) and len(resource.items) == 3:
            yield from _resources(resource.items[2])


def declared_parameters(template: Template) -> dict[str, Mapping]:
    """The parameters that a template declares."""
    section = template.root.get("Parameters")
    pairs = section.named() if isinstance(section, Mapping) else ()
    return {key.value: node for key, node in pairs if isinstance(node, Mapping)}


def secret_parameters(template: Template) -> set[str]:
    """The parameters whose values must not be shown."""
    declared = declared_parameters(template).items()
    return {name for name, node in declared if (scalar(node.get("NoEcho")) or "").lower() == "true"}


def transforms(template: Template) -> list[str]:
    """The macros that a template names at its top."""
    node = template.root.get("Transform")
    nodes = node.items if isinstance(node, Sequence) else (node,)
    return [scalar(each) or scalar(below(each, "Name")) or "" for each in nodes if each is not None]


def scalar(node: Node | None) -> str | None:
    """A scalar's text, or None."""
    return node.value if isinstance(node, Scalar) else None


def add(environment: str, line: str, options: str) -> str:
    """What to do where an environment lacks something: a line for it, or options for a command that names none."""
    return f"Give it with {options}" if environment == COMMAND else f"Add to the environment {environment}: `{line}`"


# Macros


def _macro_problems(template: Template) -> Iterator[Problem]:
    """A resource of SAM's in a template that does not name its macro: CloudFormation knows no such type."""
    if set(transforms(template)) - {LANGUAGE_EXTENSIONS}:
        return
    for key, type_, _ in resources(template):
        if type_.startswith("AWS::Serverless::"):
            message = f"{key.value} is an {type_}, and the template does not name the macro that knows it"
            yield template.problem(key, message, f"Add to the top of the template: `Transform: {SAM}`")
            return


# Capabilities


def _capability_problems(stacks: dict[str, Stack], environment: str, stated: list[str]) -> Iterator[Problem]:
    """Each capability that is needed and not stated, at the first place that needs it, and one line that states them all."""
    first: dict[str, Problem] = {}
    for path, stack in stacks.items():
        for wanted, node, reason in _needed(stack.template, nested=bool(path)):
            first.setdefault(wanted, stack.template.problem(node, f"{reason}, which needs {wanted}"))
    if "CAPABILITY_NAMED_IAM" in {*first, *stated}:  # it includes the other
        first.pop("CAPABILITY_IAM", None)
    missing = [wanted for wanted in first if wanted not in stated]
    line = f"capabilities: [{', '.join([*stated, *missing])}]"
    for wanted in missing:
        yield replace(first[wanted], hint=add(environment, line, f"--capabilities {' '.join([*stated, *missing])}"))


def _needed(template: Template, *, nested: bool) -> Iterator[tuple[str, Node, str]]:
    """What a template needs: capability, the node that needs it, and why in words.

    A macro at the top needs none: CAPABILITY_AUTO_EXPAND "doesn't apply to creating change sets" (CreateChangeSet's
    reference). In a nested template it does, since it runs out of sight of the change set.
    """
    macros = template.root.get("Transform")
    if nested and macros is not None:
        yield "CAPABILITY_AUTO_EXPAND", macros, f"a nested template uses {' and '.join(transforms(template))}"
    for key, type_, resource in resources(template):
        name = _NAME_OF.get(type_)
        if name and below(resource.get("Properties"), name) is not None:
            yield "CAPABILITY_NAMED_IAM", key, f"{key.value} is an {type_} with a {name}"
        elif type_ in _IAM:
            yield "CAPABILITY_IAM", key, f"{key.value} is an {type_}"
        elif type_ == "AWS::Serverless::Application":
            yield "CAPABILITY_AUTO_EXPAND", key, f"{key.value} is a nested application that uses a macro"
        elif _makes_role(template, type_, resource):
            yield "CAPABILITY_IAM", key, f"{key.value} makes SAM create an IAM role or policy"


def _makes_role(template: Template, type_: str, resource: Mapping) -> bool:
    """Whether SAM makes a role or a policy for a resource. https://github.com/aws/serverless-application-model (docs/internals)"""
    if type_ in _ROLE_ALWAYS or resource.get("Connectors") is not None:
        return True
    if type_ not in _ROLE_UNLESS_GIVEN:
        return False
    own = resource.get("Properties")
    shared = below(template.root.get("Globals"), type_.rpartition("::")[2])
    if all(below(each, "Role") is None for each in (own, shared)):
        return True
    deployments = [each for each in (below(own, "DeploymentPreference"), below(shared, "DeploymentPreference")) if each]
    if deployments and all(below(each, "Role") is None for each in deployments):
        return True  # CodeDeploy's
    events = below(own, "Events")
    kinds = [scalar(below(event, "Type")) for _, event in events.named()] if isinstance(events, Mapping) else []
    return "ScheduleV2" in kinds or bool(kinds and type_ == "AWS::Serverless::StateMachine")  # theirs


# Parameters


def _parameter_problems(template: Template, environment: str, given: dict[str, str]) -> Iterator[Problem]:
    """Values that a template does not take. One that is missing may be the stack's own: see `stages.deploy.parameters`."""
    declared = declared_parameters(template)
    for name in given:
        if name not in declared:
            yield Problem(
                f"the environment {environment} sets the parameter {name}, which the template does not have",
                hint=_did_you_mean(name, declared) or _known("Its parameters are", declared),
            )
    for name, node in declared.items():
        if name in given:
            yield from _value_problems(template, environment, name, node, given[name])


def _value_problems(template: Template, environment: str, name: str, node: Mapping, value: str) -> Iterator[Problem]:
    wrong = overview.parameters(template)[name].wrong(value)
    if wrong:
        message = f"the parameter {name} does not allow {wrong.value}, which the environment {environment} sets"
        yield template.problem(node, message, wrong.allows)


# References


def _reference_problems(template: Template) -> Iterator[Problem]:
    if not _is_whole(template):
        return
    ids = {key.value: type_ for key, type_, _ in resources(template)}
    names = {*ids, *declared_parameters(template)}
    sam = SAM in transforms(template)
    for section in ("Resources", "Outputs", "Conditions"):
        node = template.root.get(section)
        for reference in _references(node) if node else ():
            known = ids.keys() if reference.only_resource else names
            name = reference.name.partition(".")[0]
            if reference.name.startswith(_PSEUDO) or name in known or (sam and made_by_sam(name, ids)):
                continue
            kind = "a resource" if reference.only_resource else "a resource or a parameter"
            message = f"{name!r} is not the name of {kind} of this template"
            yield template.problem(reference.node, message, _did_you_mean(name, known))
    yield from _dependency_problems(template, ids, sam=sam)


def _is_whole(template: Template) -> bool:
    """Whether all names are in sight: no macro but SAM's, which names what it makes by rules."""
    if set(transforms(template)) - {SAM}:
        return False
    return not any(isinstance(node, Scalar) and node.value == "Fn::Transform" for node in walk(template.root))


def made_by_sam(name: str, ids: dict[str, str]) -> bool:
    """Whether SAM makes a resource of this name: implicit APIs, and `<id>Role`, `<id>ProdStage`, `<id>Aliaslive` ..."""
    owners = (*_IMPLICIT, *(each for each, type_ in ids.items() if type_.startswith("AWS::Serverless::")))
    return name.startswith(owners)


def _dependency_problems(template: Template, ids: dict[str, str], *, sam: bool) -> Iterator[Problem]:
    for _, _, resource in resources(template):
        node = resource.get("DependsOn")
        for each in node.items if isinstance(node, Sequence) else (node,):
            name = scalar(each)
            if each is not None and name and name not in ids and not (sam and made_by_sam(name, ids)):
                yield template.problem(
                    each, f"DependsOn names {name!r}, which is no resource", _did_you_mean(name, ids)
                )


def _references(node: Node) -> Iterator[Reference]:
    """Every name that a node and all below it refer to."""
    short = {"!Ref": "Ref", "!GetAtt": "Fn::GetAtt", "!Sub": "Fn::Sub"}.get(node_tag(node))
    if short:
        yield from _called(short, node)
    if isinstance(node, Mapping):
        for key, value in node.named():
            if len(node.pairs) == 1 and key.value in ("Ref", "Fn::GetAtt", "Fn::Sub"):
                yield from _called(key.value, value)
            yield from _references(value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _references(item)


def node_tag(node: Node) -> str:
    """A node's own tag, or the empty string."""
    return getattr(node, "tag", None) or ""


def _called(function: str, argument: Node) -> Iterator[Reference]:
    first = argument.items[0] if isinstance(argument, Sequence) and argument.items else argument
    text = scalar(first)
    if text is None:
        return
    if function == "Ref":
        yield Reference(text, argument)
    elif function == "Fn::GetAtt":
        yield Reference(text, argument, only_resource=True)
    else:
        bound = argument.items[1] if isinstance(argument, Sequence) and len(argument.items) > 1 else None
        own = {key.value for key, _ in bound.named()} if isinstance(bound, Mapping) else set()
        for name in _IN_SUB.findall(text):
            if name.strip() not in own:
                yield Reference(name.strip(), first, only_resource="." in name)


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else None


def _known(words: str, names: Collection[str]) -> str:
    return f"{words} {', '.join(names)}." if names else "It has none."
