"""What a stage that copied a release handed on: the same release, and in its templates just other addresses. Pure."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, reading
from pipeline.gates import decide
from pipeline.record import digest
from stages.relocation import innermost_first, relocated

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOCUMENT = "release.json"


def copied(key: str, given: Mapping[str, bytes], made: Mapping[str, bytes]) -> list[Finding]:
    """Derive the copy again from the release and where its images are said to be now. Both are the files of artifacts, by path."""
    found: list[Finding] = []
    with reading(key, found):
        expected, theirs = json.loads(given[_DOCUMENT]), json.loads(made[_DOCUMENT])
        moved: dict[str, str] = {}
        for name, each in expected["functions"].items():
            address = str(theirs["functions"][name]["image"])
            if address.rpartition("@")[2] != each["manifest"]:
                found.append(broken(key, f"names another image for {name}, and not a copy", each["manifest"], address))
            moved[str(each["image"])], each["image"] = address, address
        files = {path: str(each["file"]) for path, each in expected["templates"].items()}
        before = copy.deepcopy(expected["templates"])
        for path in innermost_first(files):
            data, about = relocated(given[files[path]], moved), expected["templates"][path]
            if made.get(files[path]) != data:
                found.append(
                    broken(key, f"{files[path]} differs from the release's in more than the addresses of images")
                )
            about["packaged"] = digest.of_bytes(data)
            if path:
                about["url"] = theirs["templates"][path]["url"]
                found += _address(key, path, about)
                moved[str(before[path]["url"])] = str(about["url"])
        found += [
            broken(key, f"says another {field} than the release") for field in decide.differences(expected, theirs)
        ]
        if set(made) != {_DOCUMENT, *files.values()}:
            found.append(broken(key, "has other files than the release", sorted(given), sorted(made)))
    return found


def _address(key: str, path: str, about: Mapping[str, Any]) -> list[Finding]:
    """The address of a nested template is of its content."""
    name = f"/{str(about['packaged']).removeprefix('sha256:')}.template"
    if str(about["url"]).endswith(name):
        return []
    return [broken(key, f"names an address of {path} that is not of its content", name, about["url"])]
