from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import InvalidInput
from stages.template import Value, read, splice
from stages.template.functions import SLOTS
from stages.template.resources import Path, find
from stages.template.tree import Scalar

URI = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app/hello@sha256:" + "ab" * 32
PATH = ("Resources", "Fn")


def _splice(text: str, uri: str = URI) -> str:
    template = read(text.encode(), "t.yaml")
    kind = find(template.root, (*PATH, "Type"))
    assert isinstance(kind, Scalar)
    return splice(template, {PATH + SLOTS[kind.value]: uri}).decode()


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
    images: dict[Path, Value] = {
        ("Resources", "A", "Properties", "ImageUri"): "a@sha256:1",
        ("Resources", "B", "Properties", "ImageUri"): "b@sha256:2",
    }
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
    with pytest.raises(InvalidInput, match=r"t\.yaml:3:5: Fn: found no safe place for its ImageUri"):
        _splice(_fn(properties))


@pytest.mark.parametrize(
    "value", ["", "a b", "a\nb", "a #b", "a: b", "a:", "'a'", "010", "12:30:45", "on", "~", "s3://b/k"]
)
@pytest.mark.parametrize("old", ["x", "'x'", '"x"'])
def test_any_text_can_be_put_in_and_stays_that_text(value: str, old: str) -> None:
    spliced = _splice(_fn(f"      {{ImageUri: {old}, PackageType: Image}}\n"), value)
    assert yaml.safe_load(spliced)["Resources"]["Fn"]["Properties"]["ImageUri"] == value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Code: ./src  # why", "Code: {S3Bucket: b, S3Key: k/x}  # why"),
        ("Code: './src'", "Code: {'S3Bucket': 'b', 'S3Key': 'k/x'}"),
        (
            "Code:\n        S3Bucket: a\n        S3Key: b\n      Timeout: 3",
            "Code:\n        {S3Bucket: b, S3Key: k/x}\n      Timeout: 3",
        ),
        ("Code: {}", "Code: {S3Bucket: b, S3Key: k/x}"),
        ("Code: !If [A, b, c]", "Code: {S3Bucket: b, S3Key: k/x}"),
    ],
)
def test_a_mapping_can_take_the_place_of_anything(old: str, new: str) -> None:
    text = _fn("      {}\n")
    path = (*PATH, "Properties", "Code")
    value: Value = {"S3Bucket": "b", "S3Key": "k/x"}
    spliced = splice(read(text.replace("{}", old, 1).encode(), "t"), {path: value})
    assert spliced.decode() == text.replace("{}", new, 1)


def test_a_place_in_a_list_is_a_number() -> None:
    text = "Resources:\n  A:\n    - Fn::Transform: {Name: AWS::Include, Parameters: {Location: x.yaml}}\n    - b\n"
    path = ("Resources", "A", 0, "Fn::Transform", "Parameters", "Location")
    spliced = splice(read(text.encode(), "t"), {path: "s3://b/k"}).decode()
    assert spliced == text.replace("x.yaml", "s3://b/k")


@pytest.mark.parametrize("path", [("Resources", "A", 7, "x"), ("Resources", "B", 0)])
def test_a_path_that_leads_nowhere_is_the_callers_mistake(path: Path) -> None:
    with pytest.raises(ValueError, match="leads nowhere"):
        splice(read(b"Resources: {A: [1], B: {C: d}}\n", "t"), {path: "x"})


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


JUNK = [
    "Sub: !Sub '${A}-010' # keep",
    "Get: !GetAtt A.B",
    "If: !If [C, !Ref A, on]",
    "Octal: 010",
    "Clock: 12:30:45",
    "Switch: on",
    "Date: 2024-01-01",
    "Empty:",
    "Null: ~",
    'Quoted: "a: b # c"',
    "Literal: |\n{pad}  one\n\n{pad}    ImageUri: not me\n{pad}  # nor me",
    "Folded: >-\n{pad}  one\n{pad}  two",
    "List:\n{pad}- a\n{pad}- {b: 010}",
    "Deep: {a: [1, {b: !Ref C}], 'd': \"e\"}",
    "# ImageUri: nor me",
    "",
]
FUNCTIONS = {
    "serverless": "Type: AWS::Serverless::Function\n{pad}Properties:\n{pad}  PackageType: Image\n{pad}  ImageUri: {old} # why",
    "missing": "Type: AWS::Serverless::Function\n{pad}Properties:\n{pad}  Timeout: 3\n{pad}  PackageType: Image",
    "flow": "Type: AWS::Serverless::Function\n{pad}Properties: {{PackageType: Image, ImageUri: {old}, Timeout: 010}}",
    "flow-missing": "Type: AWS::Serverless::Function\n{pad}Properties: {{Timeout: 12:30:45, PackageType: Image}}",
    "json": '"Type": "AWS::Serverless::Function"\n{pad}"Properties": {{"PackageType": "Image", "Timeout": 3}}',
    "lambda": "Type: AWS::Lambda::Function\n{pad}Properties:\n{pad}  Code:\n{pad}    ImageUri: {old}\n{pad}  PackageType: Image",
    "lambda-flow": "Type: AWS::Lambda::Function\n{pad}Properties: {{Code: {{ImageUri: {old}}}, PackageType: Image}}",
    "lambda-missing": "Type: AWS::Lambda::Function\n{pad}Properties:\n{pad}  Code: {{}}\n{pad}  PackageType: Image",
}


@given(
    functions=st.lists(st.sampled_from([*FUNCTIONS]), min_size=1, max_size=5),
    junk=st.lists(st.lists(st.sampled_from(JUNK), unique=True, max_size=6), min_size=6, max_size=6),
    quote=st.sampled_from(["", "'", '"']),
    newline=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    indent=st.integers(1, 4),
)
def test_many_functions_are_given_images_and_nothing_else_changes(
    *, functions: list[str], junk: list[list[str]], quote: str, newline: str, mark: str, indent: int
) -> None:
    """Taking the spliced values out again gives the very bytes of the author."""
    pad, lines = " " * (2 * indent), ["# head", "Resources:"]
    for at, style in enumerate(functions):
        lines.append(f"{' ' * indent}F{at}:  # a function")
        lines.append(pad + FUNCTIONS[style].format(pad=pad, old=f"{quote}old{at}{quote}"))
        lines += [f"{pad}Metadata:", *(f"{pad}  {each.replace('{pad}', pad + '  ')}" for each in junk[at])]
    lines += ["Outputs:", *(f"  {each.replace('{pad}', '  ')}" for each in junk[-1])]
    text = mark + "\n".join(lines).replace("\n", newline) + newline
    values: dict[Path, Value] = {}
    for at, style in enumerate(functions):
        kind = "AWS::Lambda::Function" if style.startswith("lambda") else "AWS::Serverless::Function"
        values["Resources", f"F{at}", *SLOTS[kind]] = f"r/new{at}@sha256:1"
    done = splice(read(text.encode(), "t.yaml"), values).decode()
    for at, style in enumerate(functions):
        assert done.count(f"r/new{at}@sha256:1") == 1
        if "missing" in style or style == "json":
            pair = rf"([\"']?)ImageUri\1: ([\"']?)r/new{at}@sha256:1\2(,\s*|{newline} *|)"
            done, number = re.subn(pair, "", done)
            assert number == 1
        else:
            done = done.replace(f"r/new{at}@sha256:1", f"old{at}")
    assert done == text
