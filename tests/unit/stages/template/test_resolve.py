from __future__ import annotations

import itertools
import time

import pytest

from stages.template.resolve import CHARACTERS, Scope, Unresolvable, Value, resolve
from stages.template.tree import read

TEMPLATE = """\
Parameters:
  Tag: {Type: String, Default: v1}
  Stage: {Type: String}
  Number: {Type: Number, Default: 010}
  Names: {Type: CommaDelimitedList, Default: "a, b"}
  Latest: {Type: "AWS::SSM::Parameter::Value<String>", Default: /image}
Mappings:
  Images: {prod: {tag: live, list: [x, y]}, dev: {tag: edge}}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  Never: !Not [Fn::Or: [Condition: IsProd, !Condition Always]]
  Always: !And [!Equals [1, 1], !Not [!Equals [a, b]]]
  Round: !Not [!Condition About]
  About: !Or [!Condition Round]
Resources: {}
Here: %s
"""


def _resolve(text: str, loops: tuple[tuple[str, str], ...] = (), **given: str) -> Value:
    template = read((TEMPLATE % text).encode(), "t.yaml")
    node = template.root.get("Here")
    assert node is not None
    return resolve(node, Scope(template.root, given, {"Gone": "it is an output"}, loops))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("010", "010"),
        ("on", "on"),
        ("~", None),
        ("''", ""),
        ("!Ref Tag", "v1"),
        ("{Ref: Stage}", "prod"),
        ("!Ref Number", "010"),
        ("!Ref Names", ["a", "b"]),
        ("!Ref AWS::NoValue", None),
        ("!Sub 'app:${Tag}-${Stage}'", "app:v1-prod"),
        ("!Sub 'app:${!Tag}'", "app:${Tag}"),
        ("!Sub ['${A}:${Tag}', {A: !Ref Stage}]", "prod:v1"),
        ("{Fn::Sub: '${Tag}'}", "v1"),
        ("!If [IsProd, !Ref Tag, b]", "v1"),
        ("!If [Never, a, b]", "b"),
        ("!If [Always, a, !GetAtt X.Y]", "a"),
        ("!Join [':', [app, !Ref Tag]]", "app:v1"),
        ("!Join ['-', !Ref Names]", "a-b"),
        ("!FindInMap [Images, !Ref Stage, tag]", "live"),
        ("!FindInMap [Images, x, tag, {DefaultValue: none}]", "none"),
        ("!FindInMap [Images, prod, list]", ["x", "y"]),
        ("!Select [1, !Ref Names]", "b"),
        ("!Select [0, !Split ['/', a/b]]", "a"),
        ("{A: !Ref Tag, B: !Ref AWS::NoValue, C: [1, x]}", {"A": "v1", "C": ["1", "x"]}),
    ],
)
def test_values(text: str, value: Value) -> None:
    assert _resolve(text, Stage="prod") == value


def test_what_somebody_states_wins_over_defaults_and_pseudo_parameters_can_be_stated() -> None:
    assert _resolve("!Sub '${Tag} ${AWS::Region}'", (), Tag="v2", **{"AWS::Region": "eu-west-1"}) == "v2 eu-west-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!Ref Stage", "the parameter Stage has no default, and the stage gives it no value"),
        ("!Sub '${AWS::Region}'", "AWS::Region is known only when the stack is deployed"),
        ("!Ref Bucket", "Bucket is no parameter"),
        ("!Ref Gone", "the parameter Gone is not known here: it is an output"),
        ("!Ref Latest", "is read from SSM"),
        ("!GetAtt A.Arn", "Fn::GetAtt is known only when the stack is deployed"),
        ("!Sub '${A.Arn}'", "A.Arn is an attribute"),
        ("!Sub '${Names}'", "Names is a list"),
        ("!Sub {A: b}", "Fn::Sub takes a text"),
        ("!Sub [a]", "Fn::Sub takes a text"),
        ("!If [Nope, a, b]", "the template has no condition Nope"),
        ("!If [Round, a, b]", "depends on itself"),
        ("!If [IsProd, a]", "Fn::If takes 3 arguments"),
        ("!Join [a]", "Fn::Join takes 2 arguments"),
        ("!Join [a, b]", "Fn::Join takes a separator and a list"),
        ("!Select [7, [a]]", "Fn::Select takes an index and a list that has it"),
        ("!Split ['', a]", "Fn::Split needs a separator"),
        ("!FindInMap [Images, prod]", "Fn::FindInMap takes a mapping and two keys"),
        ("!FindInMap [Images, qa, tag]", "the template has no mapping Images / qa / tag"),
    ],
)
def test_what_cannot_be_told_says_why(text: str, message: str) -> None:
    with pytest.raises(Unresolvable, match=message):
        _resolve(text)


def test_a_loops_variables_are_put_in_wherever_they_stand() -> None:
    loops = (("Name", "my-fn"), ("Stage", "qa"))
    assert _resolve("['./${Name}', !Ref Name, !Sub '${Name}-${Stage}', 'A&{Name}']", loops) == [
        "./my-fn", "my-fn", "my-fn-qa", "Amyfn",
    ]  # fmt: skip


def test_texts_that_grow_without_end_are_refused_fast() -> None:
    text = "x" * 60
    for _ in range(25):
        text = f"!Sub ['${{a}}${{a}}${{a}}${{a}}', {{a: {text}}}]"
    started = time.monotonic()
    with pytest.raises(Unresolvable, match=f"more than {CHARACTERS:,} characters"):
        _resolve(text)
    assert time.monotonic() - started < 1


def test_conditions_that_use_each_other_many_times_are_looked_at_once() -> None:
    names = [f"C{at}" for at in range(30)]
    lines = [f"  {name}: !And [!Condition {after}, !Condition {after}]" for name, after in itertools.pairwise(names)]
    text = "Conditions:\n" + "\n".join([*lines, "  C29: !Equals [a, a]"]) + "\nHere: !If [C0, yes, no]\n"
    template = read(text.encode(), "t.yaml")
    node = template.root.get("Here")
    assert node is not None
    assert resolve(node, Scope(template.root)) == "yes"
