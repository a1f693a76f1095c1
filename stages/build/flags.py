"""DockerBuildExtraParams: which further flags of `docker buildx build` a function may have. Pure.

A flag that decides where an image goes, what it is called or for which machine it is would take its identity out of our hands,
and one that has another way here would be read past: they are refused, each with what to do instead. So is one that nobody here knows.
"""

from __future__ import annotations

from dataclasses import dataclass

_WITH_VALUE = frozenset(
    {
        *("add-host", "allow", "cache-from", "cache-to", "cgroup-parent", "network", "no-cache-filter", "secret"),
        *("shm-size", "ssh", "ulimit", "label"),
    }
)
_WITHOUT_VALUE = frozenset({"no-cache", "pull", "rm"})
_INSTEAD = {
    "tag": "Images are known by their digest; for a name there are DockerTag and the option `sam-tags`.",
    "platform": "Architectures of the function says it.",
    "file": "Dockerfile in the Metadata says it.",
    "target": "DockerBuildTarget says it.",
    "build-arg": "DockerBuildArgs says it.",
    "push": "`package` pushes.",
    "output": "`package` pushes, and the option `carrier: oci-layout` exports.",
    "load": "It is always done.",
    "provenance": "Lambda refuses images with attestations.",
    "sbom": "Lambda refuses images with attestations; `scan` writes bills of materials.",
    "attest": "Lambda refuses images with attestations.",
    "annotation": "Lambda reads none, and a registry's manifest is written by `package`.",
    "build-context": "What is outside the context would be missing in the source hash; copy it into the context.",
    "iidfile": "The digest is in the record.",
    "metadata-file": "The digest is in the record.",
    "progress": "Logs are read by their form.",
    "builder": "Choose it by the variable BUILDX_BUILDER.",
}
_SHORT = {"t": "tag", "f": "file", "o": "output", "q": "quiet", "D": "debug"}


@dataclass(frozen=True)
class Refusal:
    """Why a flag cannot be had, and what to do."""

    message: str
    hint: str


def refusal(params: tuple[str, ...]) -> Refusal | None:
    """What is wrong with a list of flags, or None. A value follows its flag, or stands in it after `=`."""
    rest = list(params)
    while rest:
        flag, equals, _ = rest.pop(0).partition("=")
        name = _name(flag)
        if name is None:
            return Refusal(f"{flag!r} is no flag", "Write each flag and each value as an entry of its own.")
        if name in _WITH_VALUE:
            if not equals and (not rest or rest[0].startswith("-")):
                return Refusal(f"{flag} lacks its value", f"Write: {flag}=VALUE")
            rest = rest if equals else rest[1:]
        elif name not in _WITHOUT_VALUE:
            known = ", ".join(f"--{each}" for each in sorted(_WITH_VALUE | _WITHOUT_VALUE))
            return Refusal(f"{flag} cannot be used here", _INSTEAD.get(name, f"Known are: {known}."))
    return None


def _name(flag: str) -> str | None:
    if flag.startswith("--") and len(flag) > 2:
        return flag[2:]
    return _SHORT.get(flag[1:2]) if flag.startswith("-") and len(flag) > 1 else None


def rebuilds(params: tuple[str, ...]) -> bool:
    """Whether the flags ask for a build, whatever was built before."""
    return any(each in ("--pull", "--no-cache") or each.startswith("--no-cache-filter") for each in params)
