from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import InvalidInput
from stages.template import read, splice

URI = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app/hello@sha256:" + "ab" * 32
PATH = ("Resources", "Fn")


def _splice(text: str, uri: str = URI) -> str:
    return splice(read(text.encode(), "t.yaml"), {PATH: uri}).decode()


def _fn(body: str, kind: str = "AWS::Serverless::Function") -> str:
    return f"Resources:\n  Fn:\n    Type: {kind}\n    Properties:\n{body}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ImageUri: foo:latest", f"ImageUri: {URI}"),
        ("ImageUri:   foo:latest   # why", f"ImageUri:   {URI}   # why"),
        ("ImageUri: 'foo'", f"ImageUri: '{URI}'"),
        ('ImageUri: "foo"', f'ImageUri: "{URI}"'),
        ("ImageUri: !Ref Image # why", f"ImageUri: {URI} # why"),
        ('ImageUri: !Sub "${A}/b"', f'ImageUri: "{URI}"'),
        ("ImageUri: {Ref: Image}", f"ImageUri: {URI}"),
        ("ImageUri: &unused foo", f"ImageUri: {URI}"),
        ("ImageUri:", f"ImageUri: {URI}"),
        ("ImageUri: ", f"ImageUri: {URI} "),
        ("ImageUri: >-\n        foo", f"ImageUri: {URI}"),
        ("ImageUri: !If\n        - A\n        - b", f"ImageUri: {URI}"),
        ("ImageUri:\n        Ref: Image  # why", f"ImageUri:\n        {URI}  # why"),
    ],
)
def test_a_value_is_replaced_whatever_its_style(old: str, new: str) -> None:
    text = _fn("      PackageType: Image\n      {}\n\n      # Timeout: 9\n      Timeout: 3\n")
    # an empty value keeps the space behind it: the value goes before the end of the line, wherever the parser saw it
    assert _splice(text.replace("{}", old)).replace(" \n", "\n") == text.replace("{}", new).replace(" \n", "\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      PackageType: Image\n", f"      ImageUri: {URI}\n      PackageType: Image\n"),
        (
            "      Timeout: 3\n      PackageType: Image",
            f"      Timeout: 3\n      ImageUri: {URI}\n      PackageType: Image",
        ),
        ("        PackageType: Image # c\n", f"        ImageUri: {URI}\n        PackageType: Image # c\n"),
        ("      {PackageType: Image}\n", f"      {{ImageUri: {URI}, PackageType: Image}}\n"),
        ('      {"PackageType": "Image"}\n', f'      {{"ImageUri": "{URI}", "PackageType": "Image"}}\n'),
        ("      {\n       PackageType: Image}\n", f"      {{\n       ImageUri: {URI},\n       PackageType: Image}}\n"),
        (
            "      { # {x\n       PackageType: Image}\n",
            f"      {{ # {{x\n       ImageUri: {URI}, PackageType: Image}}\n",
        ),
    ],
)
def test_a_missing_image_uri_is_inserted(old: str, new: str) -> None:
    assert _splice(_fn(old)) == _fn(new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      Code: {ImageUri: foo}\n", f"      Code: {{ImageUri: {URI}}}\n"),
        ("      Code: {}\n", f"      Code: {{ImageUri: {URI}}}\n"),
        ("      Code:\n        ImageUri: foo\n", f"      Code:\n        ImageUri: {URI}\n"),
        ("      Code: foo:latest\n", f"      Code: {{ImageUri: {URI}}}\n"),
        ("      Code:\n      Timeout: 3\n", f"      Code: {{ImageUri: {URI}}}\n      Timeout: 3\n"),
        ("      PackageType: Image\n", f"      Code: {{ImageUri: {URI}}}\n      PackageType: Image\n"),
    ],
)
def test_a_lambda_function_has_its_image_below_code(old: str, new: str) -> None:
    kind = "AWS::Lambda::Function"
    assert _splice(_fn(old, kind)) == _fn(new, kind)


def test_json_stays_json() -> None:
    document = {"Resources": {"Fn": {"Type": "AWS::Lambda::Function", "Properties": {"PackageType": "Image"}}}}
    for indent in (None, 2, "\t"):
        text = json.dumps(document, indent=indent).replace("\n", "\r\n")
        spliced = _splice(text)
        properties = json.loads(spliced)["Resources"]["Fn"]["Properties"]
        assert properties == {"PackageType": "Image", "Code": {"ImageUri": URI}}
        assert spliced.count("\r\n") == spliced.count("\n")


def test_two_functions_on_one_line_each_get_their_own() -> None:
    text = (
        "Resources: {A: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}},"
        " B: {Type: AWS::Serverless::Function, Properties: {ImageUri: x}}}\n"
    )
    images: dict[tuple[str, ...], str] = {("Resources", "A"): "a@sha256:1", ("Resources", "B"): "b@sha256:2"}
    assert splice(read(text.encode(), "t"), images).decode() == (
        "Resources: {A: {Type: AWS::Serverless::Function, Properties: {ImageUri: a@sha256:1, PackageType: Image}},"
        " B: {Type: AWS::Serverless::Function, Properties: {ImageUri: b@sha256:2}}}\n"
    )


@pytest.mark.parametrize(
    "properties",
    [
        "      {ImageUri, PackageType: Image}\n",  # a key without a colon leaves no place for a value
        "      ? PackageType\n      : Image\n",  # a new line would fall between `?` and its key
    ],
)
def test_what_leaves_no_safe_place_is_refused(properties: str) -> None:
    with pytest.raises(InvalidInput, match=r"t\.yaml:3:5: Fn: found no safe place for its image"):
        _splice(_fn(properties))


@pytest.mark.parametrize("uri", ["", "a b", "a\nb", "a #b", "a: b", "a:", "'a'"])
def test_only_image_uris_are_spliced(uri: str) -> None:
    with pytest.raises(ValueError, match="no image URI"):
        _splice(_fn("      PackageType: Image\n"), uri)


def test_a_resource_that_is_no_function_is_not_touched() -> None:
    with pytest.raises(ValueError, match="is no function"):
        _splice("Resources: {Fn: {Type: AWS::SNS::Topic, Properties: {ImageUri: x}}}\n")


comments = st.sampled_from(["", " # note", "   #", " # ImageUri: not me", " # é 🚀 {"])
fillers = st.lists(
    st.sampled_from(
        ["", "# ImageUri: nor me", "    # odd indent", "Timeout: 010", "When: 12:30:45", "Flag: on", "Q: 'a'"]
    ),
    max_size=4,
    unique=True,
)
REPLACED = {
    "x": URI,
    "'x'": f"'{URI}'",
    '"x"': f'"{URI}"',
    "!Ref Image": URI,
    "!Sub '${A}:1'": f"'{URI}'",
    "{Ref: Image}": URI,
}
old_values = st.sampled_from([None, *REPLACED])


@given(
    newline=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    indent=st.integers(1, 4),
    before=fillers,
    comment=comments,
    old=old_values,
    final_newline=st.booleans(),
)
def test_output_is_input_but_for_the_spliced_value(
    *, newline: str, bom: bool, indent: int, before: list[str], comment: str, old: str | None, final_newline: bool
) -> None:
    """Catches any byte that is changed besides the image: newlines, comments, quotes, numbers, marks."""
    pad = " " * (3 * indent)
    fields = [*(f"{pad}{line}" if line else "" for line in before), f"{pad}PackageType: Image{comment}"]
    if old is not None:
        fields.append(f"{pad}ImageUri: {old}{comment}")
    head = [
        "# top",
        "Resources:",
        " " * indent + "Fn:",
        " " * (2 * indent) + "Type: AWS::Serverless::Function",
        " " * (2 * indent) + "Properties:",
    ]
    mark = "\ufeff" if bom else ""
    end = newline if final_newline else ""
    text = mark + newline.join([*head, *fields]) + end
    if old is None:
        at = fields.index(f"{pad}PackageType: Image{comment}")
        fields.insert(at, f"{pad}ImageUri: {URI}")
    else:
        fields[-1] = f"{pad}ImageUri: {REPLACED[old]}{comment}"
    assert _splice(text) == mark + newline.join([*head, *fields]) + end
