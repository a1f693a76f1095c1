from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from integration.stages.deploy.releases import write_release

from stages.contract import Target
from stages.deploy import late
from stages.deploy.late import Reference
from stages.deploy.release import load
from stages.template import assemble, read

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target("staging", "111122223333", "eu-central-1", stack="demo")
ARN = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:db-AbCdEf"
ROOT = b"""\
Parameters: {Stage: {Type: String}}
Resources:
  Fn:
    Type: AWS::Lambda::Function
    Properties:
      Environment:
        Variables:
          LEVEL: "{{resolve:ssm:/level}}"
          BOTH: "a {{resolve:ssm:/level}} b {{resolve:secretsmanager:db:SecretString:user}}"
          PATH: !Sub "{{resolve:ssm:/${Stage}/x:3}}"
      Tags: [{Key: k, Value: !Join ["", ["{{resolve:ssm-secure:/k}}"]]}]
Outputs: {Level: {Value: "{{resolve:ssm:/level}}"}}
"""


def test_references_are_found_wherever_they_stand(tmp_path: Path) -> None:
    write_release(tmp_path / "release", TARGET, "one")
    child = read(b"Resources: {Q: {Type: T, Properties: {N: '{{resolve:ssm:/level}}'}}}", "nested/Child.yaml")
    around = ROOT + b"Metadata: {Interface: '{{resolve:ssm:/m}}'}\n"
    nested = around.replace(
        b"Outputs", b"  Child: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: x}}\nOutputs"
    )
    stacks = assemble({"": read(nested, "t.yaml"), "Child": child}, {"Stage": "prod"})
    release = replace(load(tmp_path / "release"), stacks=stacks)
    target = replace(TARGET, parameters={"Password": "{{resolve:ssm-secure:/pw:1}}"})
    found = {text: sorted(at) for text, (at, _) in late.references(release, target).items()}
    assert found == {
        "{{resolve:ssm:/level}}": [
            "Child/Q.N",
            "Fn.Environment.Variables.BOTH",
            "Fn.Environment.Variables.LEVEL",
            "Outputs.Level.Value",
        ],
        "{{resolve:secretsmanager:db:SecretString:user}}": ["Fn.Environment.Variables.BOTH"],
        "{{resolve:ssm:/${Stage}/x:3}}": ["Fn.Environment.Variables.PATH"],
        "{{resolve:ssm-secure:/k}}": ["Fn.Tags.Value"],
        "{{resolve:ssm:/m}}": ["Metadata.Interface"],
        "{{resolve:ssm-secure:/pw:1}}": ["the parameter Password"],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssm:/level", Reference("ssm", "/level")),
        ("ssm:/level:12", Reference("ssm", "/level", "12")),
        ("ssm-secure:plain:1", Reference("ssm-secure", "plain", "1")),
        (
            "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/a",
            Reference("ssm", "arn:aws:ssm:eu-west-1:111122223333:parameter/a"),
        ),
        ("ssm:/${Stage}/x:3", Reference("ssm", "/prod/x", "3")),
        ("ssm:/${Nobody}/x", Reference("ssm", None)),
        ("secretsmanager:db", Reference("secretsmanager", "db")),
        ("secretsmanager:db:SecretString:user", Reference("secretsmanager", "db")),
        ("secretsmanager:db:SecretString:user:AWSPREVIOUS", Reference("secretsmanager", "db", None, "AWSPREVIOUS")),
        ("secretsmanager:db:SecretString:user::v-1", Reference("secretsmanager", "db", "v-1")),
        ("secretsmanager:db:SecretString", Reference("secretsmanager", "db")),
        (f"secretsmanager:{ARN}:SecretString:user", Reference("secretsmanager", ARN)),
        (f"secretsmanager:{ARN}", Reference("secretsmanager", ARN)),
    ],
)
def test_what_a_reference_asks_for(text: str, expected: Reference) -> None:
    stack = assemble({"": read(ROOT, "t.yaml")}, {"Stage": "prod"})[""]
    assert late.parse(f"{{{{resolve:{text}}}}}", stack) == expected
