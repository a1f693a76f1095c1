"""How environments sign in to AWS: whether what is said fits together, and every phase has a role where any has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.definition.secrets import IN_AWS
from stages.contract import Problem
from stages.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.definition.draft import Draft
    from pipeline.definition.model import Auth, Environment
    from pipeline.definition.positions import Positions


def problems(draft: Draft, positions: Positions) -> Iterator[Problem]:
    """What is wrong with `auth`. Pure."""
    for name, environment in draft.environments.items():
        if environment.auth and ("environments", name) not in draft.broken:
            yield from _misfits(name, environment, environment.auth, positions)
            yield from _without_role(name, environment.auth, draft, positions)


def _misfits(name: str, environment: Environment, auth: Auth, positions: Positions) -> Iterator[Problem]:
    path = ("environments", name, "auth")
    if environment.embedded:
        message = f"{name!r} is the embedded AWS, which lets everybody in, and says how to sign in"
        yield Problem(message, *positions.key(*path), "Remove `auth`.")
        return
    for key, method in (("profile", "ambient"), ("audience", "github-oidc"), ("variable", "gitlab-oidc")):
        if getattr(auth, key) is not None and auth.method != method:
            message = f"{name!r} signs in by {auth.method}, and `{key}` is for {method}"
            yield Problem(message, *positions.key(*path, key), f"Remove `{key}`, or write: method: {method}")
    if auth.method == "gitlab-oidc" and auth.variable is None:
        message = f"{name!r} signs in by gitlab-oidc, and does not say which variable holds the token"
        yield Problem(message, *positions.key(*path), "Add: variable: NAME, as the job's `id_tokens` has it.")
    for key, role in [("role", auth.role), *((f"roles.{key}", role) for key, role in auth.own_roles.items())]:
        place = positions.value(*path, *key.split("."))
        if role and role.split(":")[1:5:3] != [environment.partition, environment.account]:
            message = f"the role {role} is not of account {environment.account} in {environment.partition}"
            yield Problem(message, *place, f"{name!r} is that account, and another is refused.")


def _without_role(name: str, auth: Auth, draft: Draft, positions: Positions) -> Iterator[Problem]:
    """Where phases sign in by roles, all do: none may have what the roles are assumed with."""
    if not auth.by_roles:
        return
    needed = {
        key: f"stage {stage!r}"
        for stage, each in draft.stages.items()
        if name in each.targets and each.uses in KINDS
        for key in KINDS[each.uses].roles
    }
    for secret, said in draft.secrets.items():
        if said.environment == name and any(place in IN_AWS for place in said.sources):
            needed["secrets"] = f"secret {secret!r}"
    for key, what in needed.items():
        if auth.of(key) is None:
            message = f"{name!r} has no role for {key}, which {what} needs"
            hint = f"Add: roles: {{{key}: arn:aws:iam::…:role/…}}, or a `role` for all that have none of their own."
            yield Problem(message, *positions.key("environments", name, "auth"), hint)
