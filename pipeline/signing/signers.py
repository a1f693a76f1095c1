"""OpenSSH's allowed_signers files (ssh-keygen(1), ALLOWED SIGNERS), read strictly.

    builder namespaces="towpath" ssh-ed25519 AAAA…  the runner on build-1
    <principals> [options] <key type> <base64 key> [comment]

What OpenSSH takes and would let more in than was meant is refused: patterns (`*`, `?`, `!`), certificate authorities, options we
do not know, times without a time zone, characters that nobody sees, and one key in two lines of one principal. Every mistake is found at once.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pipeline.errors import InvalidDefinition, UsageError, VerificationFailed
from pipeline.signing import keys
from stages.contract import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.signing.dsse import Envelope

NAMESPACE = "towpath"
ROLES = ("builder", "gate")
"""`builder`: who seals runs and signs what stages state. `gate`: who writes ledgers, and with them which approvals counted."""

Role = Literal["builder", "gate"]

_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*")+')
_PRINCIPAL = re.compile(r"[A-Za-z0-9._@+-]+")
_KEY_TYPE = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+")
_TIME = re.compile(r"\d{8}(\d{4}(\d{2})?)?Z", re.ASCII)


@dataclass(frozen=True)
class Signer:
    """One line. `blob` is the key in SSH's wire format; times are None where there is no limit."""

    principals: tuple[str, ...]
    key_type: str
    blob: bytes
    namespaces: tuple[str, ...]
    valid_after: datetime | None
    valid_before: datetime | None
    line: int

    def valid_at(self, moment: datetime) -> bool:
        """Tell whether the key counts at this moment."""
        after = self.valid_after is None or self.valid_after <= moment
        return after and (self.valid_before is None or moment < self.valid_before)


@dataclass(frozen=True)
class Trusted:
    """A key that is enrolled for a role."""

    key: keys.PublicKey
    signer: Signer


@dataclass(frozen=True)
class Trust:
    """The keys that count, by role and fingerprint. `path` is the file that says so."""

    path: str
    roles: dict[Role, dict[str, Trusted]]

    def key(self, role: Role, fingerprint: str) -> Trusted | None:
        """Give the key of this fingerprint if it is enrolled for the role."""
        return self.roles[role].get(fingerprint)


def check(
    envelope: Envelope, what: str, *, stated: object, role: Role, moment: datetime | None, trust: Trust | None
) -> str | None:
    """Give the fingerprint of the one key that signed, if it may; None if no key is known by which that could be told.

    `stated` is the public key's line that the writer names as its own, `moment` when it says it wrote. Without pinned keys
    the stated one counts; with them it must be enrolled for the role. Raises VerificationFailed.
    """
    if len(envelope.signatures) != 1:
        raise _failed(what, f"is not signed by just one key (found {len(envelope.signatures)})")
    fingerprint = next(iter(envelope.signatures))
    own = _stated(stated)
    if own and own.fingerprint != fingerprint:
        raise _failed(
            what, f"is signed by another key than its writer's (expected {own.fingerprint}, found {fingerprint})"
        )
    key = own
    if trust:
        enrolled = trust.key(role, fingerprint)
        if enrolled is None:
            listed = " or ".join(trust.roles[role]) or "none"
            text = f"is signed by a key that {trust.path} does not enrol as {role} (expected {listed}, found {fingerprint})"
            raise _failed(what, text)
        if moment is None or moment.tzinfo is None or not enrolled.signer.valid_at(moment):
            raise _failed(what, f"is signed by {fingerprint}, which {trust.path} does not let count at {moment}")
        key = enrolled.key
    if key and not envelope.signed_by(key):
        raise _failed(what, f"has a signature that {fingerprint} did not make over it")
    return fingerprint if key else None


def _stated(line: object) -> keys.PublicKey | None:
    try:
        return keys.parse_line(line) if line else None
    except ValueError:
        return None


def _failed(what: str, text: str) -> VerificationFailed:
    return VerificationFailed(f"{what} {text}", where=what)


class _Refused(Exception):
    """A line is refused; the hint says what to write instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def load_trust(path: Path) -> Trust:
    """Read a `--trust` file. Raises UsageError, InvalidDefinition."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read the file of trusted keys: {reason}", where=str(path)) from error
    return trust(text, str(path))


def trust(text: str, file: str) -> Trust:
    """Give the keys by role. Raises InvalidDefinition with every line that is refused."""
    signers, problems = read(text, file)
    found: dict[Role, dict[str, Trusted]] = {"builder": {}, "gate": {}}
    for signer in signers:
        try:
            roles = _roles(signer)
            key = keys.public(signer.blob)
        except (_Refused, ValueError) as error:
            hint = getattr(error, "hint", None) or "A runner's key is made by: ssh-keygen -t ed25519"
            problems.append(Problem(str(error), file, signer.line, hint=hint))
            continue
        for role in roles:
            found[role][key.fingerprint] = Trusted(key, signer)
    if problems:
        raise InvalidDefinition(sorted(problems, key=lambda problem: problem.line or 0))
    if not signers:
        hint = f'A line reads: builder namespaces="{NAMESPACE}" ssh-ed25519 AAAA…   `towpath doctor` prints this machine\'s.'
        raise InvalidDefinition([Problem("no key is enrolled", file, hint=hint)])
    return Trust(file, found)


def read(text: str, file: str) -> tuple[list[Signer], list[Problem]]:
    """Give the lines, and what is wrong with those that are refused."""
    signers: list[Signer] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines(text), 1):
        try:
            _refuse_unseen(line)
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            signer = _signer(line.strip(), number)
            _refuse_twice(signer, signers)
            signers.append(signer)
        except _Refused as error:
            problems.append(Problem(str(error), file, number, quote=line, hint=error.hint))
    return signers, problems


def lines(text: str) -> list[str]:
    """Give the lines as OpenSSH reads them: only a line feed ends one, so that nothing hides behind another character."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def _refuse_unseen(line: str) -> None:
    for character in line:
        if character != "\t" and not character.isprintable():
            hint = "Whoever reviews the file must see what it says. Remove it."
            raise _Refused(f"the line holds {character!r}, which cannot be seen", hint)


def _signer(line: str, number: int) -> Signer:
    tokens = _TOKEN.findall(line)
    at = next((index for index, token in enumerate(tokens[1:3], 1) if _KEY_TYPE.fullmatch(token)), None)
    if at is None or len(tokens) < at + 2:
        hint = f'Write: builder namespaces="{NAMESPACE}" ssh-ed25519 AAAA…'
        raise _Refused("this is not a line of allowed_signers", hint)
    options = _options(tokens[1] if at == 2 else "")
    return Signer(
        _principals(tokens[0]),
        tokens[at],
        _blob(tokens[at], tokens[at + 1]),
        tuple(options.get("namespaces", "").split(",")) if "namespaces" in options else (),
        _time(options.get("valid-after")),
        _time(options.get("valid-before")),
        number,
    )


def _principals(text: str) -> tuple[str, ...]:
    names = tuple(text.strip('"').split(","))
    for name in names:
        if not _PRINCIPAL.fullmatch(name):
            hint = "Patterns are refused: they let in more than was meant. Name each on its own."
            raise _Refused(f"{name!r} is not a plain name", hint)
    return names


def _options(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in re.findall(r'(?:[^,"]|"[^"]*")+', text):
        name, _, value = option.partition("=")
        name = name.lower()
        if name == "cert-authority":
            raise _Refused("certificates are refused: keys are enrolled one by one", "Name the key itself.")
        if name not in ("namespaces", "valid-after", "valid-before"):
            raise _Refused(f"the option {name!r} is not known", "There are: namespaces, valid-after, valid-before.")
        if name in found:
            raise _Refused(f"the option {name!r} is there twice")
        found[name] = value.strip('"')
    return found


def _blob(key_type: str, encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise _Refused("the key is not base64", "Copy it whole, from the .pub file.") from error
    name = key_type.encode()
    if not blob.startswith(len(name).to_bytes(4, "big") + name):
        raise _Refused(f"the key is not of the type {key_type}", "Copy type and key from the .pub file.")
    return blob


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    if not _TIME.fullmatch(text):
        raise _Refused(f"{text!r} is not a time with its zone", "Write UTC, as YYYYMMDDZ or YYYYMMDDHHMMSSZ.")
    try:
        return datetime.strptime(text[:-1].ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise _Refused(f"{text!r} is no time of the calendar") from error


def _refuse_twice(signer: Signer, others: list[Signer]) -> None:
    for other in others:
        shared = set(signer.principals) & set(other.principals)
        if other.blob == signer.blob and shared:
            raise _Refused(f"the key is enrolled for {min(shared)} in line {other.line} already", "Remove one.")


def _roles(signer: Signer) -> list[Role]:
    roles: list[Role] = []
    for name in signer.principals:
        if name not in ROLES:
            raise _Refused(f"{name!r} is not a role", f"Roles are: {', '.join(ROLES)}.")
        roles.append(name)  # type: ignore[arg-type] # it is one of ROLES
    if NAMESPACE not in signer.namespaces:
        raise _Refused(
            "the line does not say that the key is for Towpath", f'Put namespaces="{NAMESPACE}" before the key.'
        )
    if signer.key_type != keys.TYPE:
        raise _Refused(f"a {signer.key_type} key is refused for a role", "Keys of roles are ssh-ed25519.")
    return roles
