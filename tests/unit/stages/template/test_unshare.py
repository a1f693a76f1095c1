from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.template import Slot, Value, load, packaged, read
from stages.template.unshare import unshared

SHARED = """\
Metadata:
  Common: &common   # what both have
    PackageType: Image
    Timeout: 010
    Environment: {Variables: {WHEN: 12:30:45, ON: on}}
    Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/r"
    Note: |
      two
      lines
Resources:
  A:
    Type: AWS::Serverless::Function
    Properties: *common   # shared
    Metadata: &build {Dockerfile: Dockerfile, DockerContext: a}
  B:
    Type: AWS::Serverless::Function
    Properties:
      <<: *common
      Timeout: 5
    Metadata: {<<: *build, DockerContext: b}
  C:
    Type: AWS::Serverless::Function
    Properties: &c
      # a comment stays
      PackageType: Image
    Metadata: *build
  D:
    Type: AWS::Serverless::Function
    Properties: *c
    Metadata: *build
"""
PACKAGED = """\
Metadata:
  Common: # what both have
    PackageType: Image
    Timeout: 010
    Environment: {Variables: {WHEN: 12:30:45, ON: on}}
    Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/r"
    Note: |
      two
      lines
Resources:
  A:
    Type: AWS::Serverless::Function
    Properties: {ImageUri: r/a@sha256:1, PackageType: Image, Timeout: 010, Environment: {Variables: {WHEN: 12:30:45, ON: on}}, \
Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/r", Note: "two\\nlines\\n"}   # shared
    Metadata: {Dockerfile: Dockerfile, DockerContext: a}
  B:
    Type: AWS::Serverless::Function
    Properties:
      ImageUri: r/b@sha256:1
      PackageType: Image
      Environment: {Variables: {WHEN: 12:30:45, ON: on}}
      Role: !Sub "arn:aws:iam::${AWS::AccountId}:role/r"
      Note: "two\\nlines\\n"
      Timeout: 5
    Metadata: {Dockerfile: Dockerfile, DockerContext: b}
  C:
    Type: AWS::Serverless::Function
    Properties:
      # a comment stays
      ImageUri: r/c@sha256:1
      PackageType: Image
    Metadata: {Dockerfile: Dockerfile, DockerContext: a}
  D:
    Type: AWS::Serverless::Function
    Properties: {ImageUri: r/d@sha256:1, PackageType: Image}
    Metadata: {Dockerfile: Dockerfile, DockerContext: a}
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_functions_that_share_properties_get_an_image_each(newline: str, mark: str) -> None:
    """Catches an image that is put into the anchored Properties, and so into every function that shares them."""
    text = mark + SHARED.replace("\n", newline)
    application, problems = load(lambda _: text.encode(), "t.yaml")
    assert problems == []
    assert {each.id: each.image.context for each in application.functions} == {  # type: ignore[union-attr]
        "A": "a",
        "B": "b",
        "C": "a",
        "D": "a",
    }
    values: dict[Slot, Value] = {each.slot: f"r/{each.id.lower()}@sha256:1" for each in application.functions}
    assert packaged(application, "", values).decode() == mark + PACKAGED.replace("\n", newline)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a: &x 1\nb: *x\n", "a: 1\nb: 1\n"),
        ("a: &x !Ref Y\nb: *x\n", "a: !Ref Y\nb: !Ref Y\n"),
        ("a: !Sub &x '${Y}'\nb: *x\n", "a: !Sub '${Y}'\nb: !Sub '${Y}'\n"),
        ("a: &x\nb: *x\n", "a:\nb: null\n"),
        ("a: &x\n  - 1\n  - b: c\nd: [*x, *x]\n", "a:\n  - 1\n  - b: c\nd: [[1, {b: c}], [1, {b: c}]]\n"),
        ("a: &x 'it''s'\nb: *x\n", "a: 'it''s'\nb: 'it''s'\n"),
        ("a: &x one\n  two\nb: *x\n", "a: one\n  two\nb: one two\n"),
        ("a: &x yes, [no]\nb: *x\n", 'a: yes, [no]\nb: "yes, [no]"\n'),
        ("a: &x k\nb: {*x : 1}\n", "a: k\nb: {k : 1}\n"),
        ("a: &x {y: 1}\nb:\n  <<: *x # all\n  y: 2\n", "a: {y: 1}\nb:\n  y: 2\n"),
        ("a: &x {y: 1}\nb: {y: 2, <<: *x}\n", "a: {y: 1}\nb: {y: 2}\n"),
        ("a: &x {}\nb:\n  <<: *x\nc: {<<: *x}\n", "a: {}\nb:\n  {}\nc: {}\n"),
        ("a: &x {y: 1}\nb:\n- <<: *x\n  z: 2\n- <<: [*x, {z: 3}]\n", "a: {y: 1}\nb:\n- y: 1\n  z: 2\n- y: 1\n  z: 3\n"),
        ("a: &x {y: &z [1]}\nb: *x\nc: *z\n", "a: {y: [1]}\nb: {y: [1]}\nc: [1]\n"),
        ("a: &unused 1\n", "a: &unused 1\n"),
    ],
)
def test_what_is_shared_is_written_out(text: str, written: str) -> None:
    assert unshared(read(text.encode(), "t")).data.decode() == written


scalars = st.one_of(
    st.integers(-9, 9),
    st.booleans(),
    st.none(),
    st.sampled_from(["x", "", "010", "on", "~", "a: b", "a #b", "{", "it's", '"', "two\nlines", "\u2028", "é🚀", "- a", "*a", "&b", "<<x", " pad "]),
)  # fmt: skip


@st.composite
def documents(draw: Any) -> Any:
    """A document of which some parts are the same object, so that PyYAML writes anchors and aliases."""
    parts: list[Any] = [draw(scalars)]
    for _ in range(draw(st.integers(1, 8))):
        inner = draw(st.lists(st.sampled_from(parts), min_size=0, max_size=4))
        if draw(st.booleans()):
            parts.append(inner)
        else:
            parts.append({f"k{at}": each for at, each in enumerate(inner)})
        parts.append(draw(scalars))
    return {"All": parts, "Again": parts[::-1]}


@given(
    document=documents(),
    flow=st.sampled_from([None, False, True]),
    indent=st.sampled_from([2, 4]),
    width=st.sampled_from([20, 1000]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_a_document_without_aliases_says_the_same(
    *, document: Any, flow: bool | None, indent: int, width: int, newline: str
) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow, indent=indent, width=width, allow_unicode=True)
    done = unshared(read(text.replace("\n", newline).encode(), "t")).data.decode()
    assert yaml.safe_load(done) == yaml.safe_load(text)
    assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(done, yaml.SafeLoader))
