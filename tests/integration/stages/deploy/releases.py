"""Releases and requests for the tests of `deploy`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from stages.contract import Access, Earlier, Proposal, Request, Result, Target
from stages.deploy.release import release_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPLATE = """\
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Stage: {Type: String, Default: none}
  Password: {Type: String, Default: "", NoEcho: true}
Resources:
  HelloWorldFunction:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/runs-functions"
      Timeout: 3
      Code: {ImageUri: IMAGE}
Outputs:
  Hello: {Value: !GetAtt HelloWorldFunction.Arn}
"""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest(content: str) -> str:
    """The manifest of an image that is different for different content."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": 2,
                "digest": sha256(content.encode()),
            },
            "layers": [],
        }
    )


def image_uri(target: Target, content: str) -> str:
    """The URI of the image of `content`, as `package` writes it."""
    digest = sha256(manifest(content).encode())
    return f"{target.account}.dkr.ecr.{target.region}.amazonaws.com/app@{digest}"


def add_nested(directory: Path, target: Target, content: str, nested: dict[str, tuple[str, str]]) -> None:
    """Add nested templates (text and address by the path of the stack), each with a function Fn, to a release artifact."""
    document = json.loads((directory / "release.json").read_text())
    for path, (text, url) in nested.items():
        packaged = text.replace("IMAGE", image_uri(target, content)).encode()
        file = f"nested/{path}.yaml"
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_bytes(packaged)
        digests = {"source": sha256(text.encode()), "packaged": sha256(packaged)}
        document["templates"][path] = {"file": file, "url": url, **digests}
        function = {**document["functions"]["HelloWorldFunction"], "stack": path, "path": ["Resources", "Fn"]}
        document["functions"][f"{path}/Fn"] = function
    document["digest"] = release_digest(document)
    (directory / "release.json").write_text(json.dumps(document))


def write_release(directory: Path, target: Target, content: str, template: str = TEMPLATE) -> None:
    """A release artifact of one function, HelloWorldFunction, whose image is the one of `content`."""
    directory.mkdir(parents=True)
    digest = sha256(manifest(content).encode())
    uri = image_uri(target, content)
    packaged = template.replace("IMAGE", uri).encode()
    (directory / "packaged-template.yaml").write_bytes(packaged)
    document: dict[str, Any] = {
        "v": 2,
        "parameters": {},
        "functions": {
            "HelloWorldFunction": {
                "stack": "",
                "path": ["Resources", "HelloWorldFunction"],
                "source": sha256(b"source"),
                "config": sha256(content.encode()),
                "manifest": digest,
                "platform": "linux/amd64",
                "size": 1,
                "image": uri,
            }
        },
        "templates": {
            "": {
                "file": "packaged-template.yaml",
                "source": sha256(template.encode()),
                "packaged": sha256(packaged),
                "url": None,
            }
        },
    }
    document["digest"] = release_digest(document)
    (directory / "release.json").write_text(json.dumps(document))


def many_functions(target: Target, contents: Sequence[str]) -> str:
    """A template of functions Fn0, Fn1, ..., with the images of `contents`."""
    text = 'AWSTemplateFormatVersion: "2010-09-09"\nResources:\n'
    for at, content in enumerate(contents):
        text += f"  Fn{at}:\n    Type: AWS::Lambda::Function\n    Properties:\n      PackageType: Image\n"
        text += f"      Role: arn:aws:iam::{target.account}:role/runs-functions\n"
        text += f"      Code: {{ImageUri: {image_uri(target, content)}}}\n"
    return text + "Outputs:\n  First: {Value: !GetAtt Fn0.Arn}\n"


def write_many(directory: Path, target: Target, contents: Sequence[str]) -> None:
    """A release artifact of those."""
    directory.mkdir(parents=True)
    text = many_functions(target, contents).encode()
    (directory / "packaged-template.yaml").write_bytes(text)
    functions = {
        f"Fn{at}": {
            "stack": "",
            "path": ["Resources", f"Fn{at}"],
            "source": sha256(b"source"),
            "config": sha256(content.encode()),
            "manifest": sha256(manifest(content).encode()),
            "platform": "linux/amd64",
            "size": 1,
            "image": image_uri(target, content),
        }
        for at, content in enumerate(contents)
    }
    file = {"file": "packaged-template.yaml", "source": sha256(text), "packaged": sha256(text), "url": None}
    document: dict[str, Any] = {"v": 2, "parameters": {}, "functions": functions, "templates": {"": file}}
    document["digest"] = release_digest(document)
    (directory / "release.json").write_text(json.dumps(document))


class Deployer:
    """Runs the kind's phases as the runner would, each in a work directory of its own."""

    def __init__(self, root: Path, target: Target, url: str) -> None:
        self.root = root
        self.target = target
        self.access = Access(endpoint_url=url)
        self.number = 0
        self.nested: dict[str, tuple[str, str]] = {}

    def work(self, content: str, template: str = TEMPLATE) -> Path:
        self.number += 1
        work = self.root / f"work-{self.number}"
        write_release(work / "inputs" / "release", self.target, content, template)
        add_nested(work / "inputs" / "release", self.target, content, self.nested)
        (work / "outputs").mkdir()
        return work

    def request(
        self, phase: str, handle: str, proposal: Proposal | None = None, earlier: list[Earlier] | None = None
    ) -> Request:
        return Request(
            "deploy",
            "apply" if phase == "apply" else "propose",
            handle,
            inputs={"release": "inputs/release"},
            target=self.target,
            access=self.access,
            proposal=proposal,
            earlier=earlier or [],
        )

    def propose(
        self, handle: str, content: str = "one", *, template: str = TEMPLATE, earlier: list[Earlier] | None = None
    ) -> Proposal:
        from stages.deploy import propose

        work = self.work(content, template)
        proposal = propose(self.request("propose", handle, earlier=earlier), work).proposal
        assert proposal is not None
        return proposal

    def apply(
        self,
        handle: str,
        proposal: Proposal,
        content: str = "one",
        *,
        template: str = TEMPLATE,
        earlier: list[Earlier] | None = None,
    ) -> tuple[Result, Any]:
        from stages.deploy import apply

        work = self.work(content, template)
        result = apply(self.request("apply", handle, proposal, earlier), work)
        return result, json.loads((work / "outputs/deployment/deployment.json").read_text())
