"""What stands in a stack, and what of it a deletion leaves: its resources with their policies, and the images of its functions."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages import template as templates
from stages.aws import cloudformation, lambda_
from stages.contract import InvalidInput, StageError
from stages.limits import LIMITS
from stages.template.functions import full_id
from stages.template.resolve import text
from stages.template.resources import find
from stages.template.tree import Mapping

if TYPE_CHECKING:
    from stages.aws.session import Session

AT_ONCE = 8
"""Functions looked at, at the same time: Lambda allows 100 reads a second for the whole account."""
NESTED = "AWS::CloudFormation::Stack"
FUNCTION = "AWS::Lambda::Function"
STAYS = frozenset({"Retain", "RetainExceptOnCreate"})


@dataclass(frozen=True)
class Resource:
    """A resource by its full id. `policy` is its DeletionPolicy; what is in a nested stack that stays does so too."""

    id: str
    type: str
    physical: str
    policy: str = "Delete"

    @property
    def stays(self) -> bool:
        return self.policy in STAYS


@dataclass(frozen=True)
class Standing:
    """`resources` are those that are there, by their full ids."""

    stack_id: str
    status: str
    protected: bool
    created: str
    resources: dict[str, Resource] = field(default_factory=dict)

    @property
    def functions(self) -> dict[str, str]:
        """The physical names of the functions that go, by their full ids."""
        found = self.resources.values()
        return {each.id: each.physical for each in found if each.type == FUNCTION and not each.stays}


def look(session: Session) -> Standing | None:
    """What stands in the target's stack; None if there is no such stack. Raises StageError."""
    stack = cloudformation.describe_stack(session.cloudformation, str(session.target.stack))
    if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    protected = bool(stack.get("EnableTerminationProtection"))
    created = stack["CreationTime"].isoformat()
    return Standing(stack["StackId"], stack["StackStatus"], protected, created, _resources(session, stack["StackId"]))


def _resources(session: Session, stack_id: str, path: str = "", outer: str = "Delete") -> dict[str, Resource]:
    """The resources of a stack and of those nested in it. `outer` is the policy of the stack that this one is nested in."""
    policies = _policies(session, stack_id)
    found: dict[str, Resource] = {}
    for name, each in cloudformation.resources(session.cloudformation, stack_id).items():
        physical, status = each.get("PhysicalResourceId"), each["ResourceStatus"]
        if not physical or status in ("DELETE_COMPLETE", "DELETE_SKIPPED"):
            continue
        policy = outer if outer in STAYS else policies.get(name, "Delete")
        here = full_id(path, name)
        found[here] = Resource(here, each["ResourceType"], physical, policy)
        if each["ResourceType"] == NESTED and here.count("/") < LIMITS.nested_depth:
            found |= _resources(session, physical, here, policy)
    return dict(sorted(found.items()))


def _policies(session: Session, stack_id: str) -> dict[str, str]:
    """The policies that a stack's template states, by logical id; none if it cannot be read, and then what goes is what is listed."""
    body = cloudformation.template(session.cloudformation, "Processed", stack=stack_id)
    if not body:
        return {}
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    try:
        section = templates.read(data, stack_id).root.get("Resources")
    except InvalidInput as error:
        raise StageError(f"the template of {stack_id} cannot be read: {error.message}") from error
    named = section.named() if isinstance(section, Mapping) else ()
    found = ((key.value, text(find(node, ("DeletionPolicy",)))) for key, node in named)
    return {name: policy for name, policy in found if policy}


def running(session: Session, names: list[str]) -> list[str | None]:
    """The images that functions run, by physical name, in that order; None for one that is not there, or runs none."""
    client = session.lambda_
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda name: lambda_.get_function(client, name), names)
        return [each.image if each else None for each in found]
