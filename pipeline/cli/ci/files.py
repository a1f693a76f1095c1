"""Files that CI systems take up as reports of a job, wherever they are told to look: dotenv and JUnit's XML.

https://docs.gitlab.com/ci/yaml/artifacts_reports/
https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from pipeline.cli.ci import github
from pipeline.cli.progress import plain

if TYPE_CHECKING:
    from pipeline.cli.ci.dress import Told

_FAILED = ("failed", "timed-out", "rejected")
_STOPPED = ("canceled", "lost")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def dotenv(told: Told) -> str:
    """Give the variables TOWPATH_RUN, TOWPATH_STATE and TOWPATH_RELEASE, one a line."""
    return "".join(f"TOWPATH_{name.upper()}={value}\n" for name, value in github.values(told.state).items())


def junit(told: Told) -> bytes:
    """Give JUnit's XML: the run is a suite, each stage a case, and each request that `invoke` made one below it."""
    state = told.state
    suite = ET.Element("testsuite", name=_text(state["name"]), timestamp=state["opened_at"], id=state["run"])
    for name, stage in state["stages"].items():
        _case(suite, _text(state["name"]), name, stage)
    for outcome in ("failure", "error", "skipped"):
        suite.set(f"{outcome}s" if outcome != "skipped" else outcome, str(len(suite.findall(f"testcase/{outcome}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    root = ET.Element("testsuites")
    root.append(suite)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _case(suite: ET.Element, of: str, name: str, stage: dict[str, Any]) -> None:
    case = ET.SubElement(suite, "testcase", classname=of, name=_text(name), time=f"{stage['took_s'] or 0:.3f}")
    failure = stage["failure"] or {}
    message = _text(failure.get("message") or stage["state"])
    if stage["state"] in (*_FAILED, *_STOPPED):
        kind = "failure" if stage["state"] in _FAILED else "error"
        told = ET.SubElement(
            case, kind, message=(message.splitlines() or [""])[0], type=failure.get("class") or stage["state"]
        )
        told.text = "\n".join(filter(None, [message, failure.get("where"), _text(failure.get("hint") or "")]))
    elif stage["state"] != "succeeded":
        ET.SubElement(case, "skipped", message=stage["state"])
    requests = stage["facts"].get("requests")
    for each in requests if isinstance(requests, list) else ():
        attributes = {"name": _text(each["name"]), "time": f"{each['time_s']:.3f}"}
        ET.SubElement(suite, "testcase", {"classname": f"{of}.{_text(name)}", **attributes})


def _text(text: str) -> str:
    return _NO_XML.sub("", plain(str(text)))
