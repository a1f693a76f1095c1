"""Having somebody at this machine sign a decision: which key, whose it is, whether it is meant, and where it then lies."""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.gates.rules import Keys
    from pipeline.gates.statements import ApprovalDecision, GlassDecision
    from pipeline.record.store import Store

_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Signer:
    """Who signs, with which key, why and for how long, as the command line says."""

    reason: str | None
    sign_with: str | None
    person: str | None
    expires: str
    yes: bool

    @property
    def lasts(self) -> timedelta:
        """For how long it counts. Raises UsageError."""
        found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", self.expires)
        if not found:
            raise UsageError(f"--expires {self.expires!r} is no duration", hint="Write, for example: --expires 8h")
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def options(*, reason: bool, expires: str, examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options, and hand them over as one argument, `signer`. `reason`: whether one must be given."""
    added = (
        click.option("--reason", required=reason, metavar="TEXT", help="Why. It is part of what you sign."),
        click.option(
            "--sign-with", metavar="KEY", help="The SSH key. Default: one of yours that counts, in the agent or ~/.ssh."
        ),
        click.option("--as", "person", metavar="PERSON", help="Who you are, if your keys do not tell."),
        click.option(
            "--expires", default=expires, show_default=True, help=f"For how long it counts, at most: {examples}."
        ),
        click.option("--yes", is_flag=True, help="Do not ask, on a terminal, whether this is really meant."),
    )

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapped(
            *, reason: str | None, sign_with: str | None, person: str | None, expires: str, yes: bool, **given: Any
        ) -> None:
            function(**given, signer=Signer(reason, sign_with, person, expires, yes))

        command: Callable[..., None] = wrapped
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def sign(
    signer: Signer,
    decision: ApprovalDecision | GlassDecision,
    able: Mapping[str, Keys],
    *,
    question: str,
    may: str,
    ask: bool,
    lasts: timedelta,
    **said: Any,
) -> tuple[bytes, str]:
    """Have one of the able sign a statement, and give the document and the person. Raises UsageError, click.Abort.

    `question` is what is asked on a terminal, `may` what the able may do, `lasts` for how long it counts.
    """
    from pipeline.gates import sshkeys, sshsig, statements

    wanted = {who: keys for who, keys in able.items() if signer.person in (None, who)}
    own = Path(signer.sign_with).expanduser() if signer.sign_with else None
    with sshsig.chosen(own, frozenset(key for keys in wanted.values() for key in keys)) as (path, public):
        who = next((who for who, keys in wanted.items() if public in keys), None)
        if who is None:
            hint = f"Who may: {', '.join(sorted(able)) or 'nobody'}"
            raise UsageError(f"{sshkeys.fingerprint(public)} is no key of anybody who may {may}", hint=hint)
        asks = ask and not signer.yes and sys.stdin.isatty()
        if asks and not click.confirm(f"\n{question} as {who}?", err=True):
            raise click.Abort
        now = datetime.now(UTC)
        statement = statements.make(
            decision, person=who, reason=signer.reason or "", made_at=now, expires_at=now + lasts, **said
        )
        signature = sshsig.sign(statement, statements.namespace(decision), path)
    return statements.seal_up(statement, signature), who


def put(store: Store, run_id: str, stages: Iterable[str], document: bytes) -> tuple[str, str]:
    """Put a document into the inbox of each stage; give the digest of its statement, and where it lies for the first."""
    from pipeline import gating
    from pipeline.gates import statements
    from pipeline.record import digest

    sha256 = digest.of_bytes(statements.open_up(document)[0])
    keys = [gating.document_key(run_id, name, sha256) for name in stages]
    for key in keys:
        store.put_new(key, document)
    return sha256, keys[0]
