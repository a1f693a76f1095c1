"""An entry is added to a section, however the template is written: every byte that was there stays, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stages.contract import InvalidInput
from stages.template import appended, find, node_text, read
from stages.template.edits import meaning

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAIN = "Resources:\n  A:\n    Type: X\n    Properties:\n      K: v\n"
ENTRY = 'Type: Y # why\nProperties:\n  V: !Sub "${A}"\n  W: [x]'

WRITTEN = {
    "plain": PLAIN,
    "no line end": PLAIN.rstrip(),
    "document markers": f"---\n{PLAIN}...\n",
    "a comment, then an end": f"{PLAIN}# c\n...\n# d\n",
    "nothing at the end": "Resources:\n  A:\n    Type: X\n    Properties:\n",
    "nothing, then another section": "Resources:\n  A:\n    Properties:\nOutputs:\n  O:\n",
    "a text that ends in lines": "Resources:\n  A:\n    D: |-\n      t\n\n\n",
    "a folded text": "Resources:\n  A:\n    D: >\n      t\n      u\n\n# c\n",
    "a long plain text": "Resources:\n  A:\n    D: some\n      more\n  # c\n",
    "a long quoted text": 'Resources:\n  A:\n    D: "some\n      more" # x\n',
    "flow style over lines": "Resources:\n  A: {Type: X,\n    P: [1,\n 2]} # end\n\n\n",
    "quoted keys": '"Resources":\n  "A":\n    "Type": X\n',
    "a list at the end": "Resources:\n  A:\n    L:\n    - 1\n    - 2\n",
    "one space": "Resources:\n A:\n  Type: X\n",
    "a tab": "Resources:\n  A:\n    Type: X\t# c\n",
    "an alias at the end": "X: &a {b: c}\nResources:\n  A: *a\n",
    "a merge key": "X: &a {Type: c}\nResources:\n  A:\n    <<: *a\n",
    "a tag at the end": "Resources:\n  A:\n    V: !Sub a\n",
    "an empty section": "Resources:\n",
    "an empty section in flow style": "Resources: {}\n",
    "old line ends": PLAIN.replace("\n", "\r"),
    "DOS line ends": PLAIN.replace("\n", "\r\n"),
    "JSON": '{\n  "Resources": {\n    "A": {"Type": "X"}\n  }\n}\n',
    "JSON without a section": '{"Transform": "x"}',
    "another section alone": "Transform: x\n",
}


@pytest.mark.parametrize("section", ["Resources", "Outputs"])
@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_however_it_is_written(text: str, section: str) -> None:
    before = read(text.encode(), "t")
    data = appended(before, section, "New", ENTRY)
    after = read(data, "t")
    assert _is_in_order(text, data.decode())
    assert meaning(before.root, {(section, "New")}) == meaning(after.root, {(section, "New")})
    added = find(after.root, (section, "New", "Properties", "V"))
    assert added is not None
    assert find(after.root, (section, "New", "Properties", "W", 0)) is not None
    with pytest.raises(InvalidInput, match=f"{section} has 'New' already"):
        appended(after, section, "New", ENTRY)


def _is_in_order(before: Sequence[str], after: Sequence[str]) -> bool:
    rest = iter(after)
    return all(each in rest for each in before)


def test_comments_stay_with_what_they_are_about() -> None:
    text = PLAIN + "      # of K\n  # of A\n\n# of the outputs\nOutputs:\n  O: {Value: x}\n"
    added = appended(read(text.encode(), "t"), "Resources", "New", ENTRY).decode()
    assert added.startswith(PLAIN + "      # of K\n  # of A\n\n  New:\n    Type: Y # why\n")
    assert added.endswith("      W: [x]\n\n# of the outputs\nOutputs:\n  O: {Value: x}\n")


@pytest.mark.parametrize(
    "text",
    ["Resources:\n  A:\n    D: |+\n      t\n\n\nOutputs:\n  O: {Value: x}\n", "Resources:\n  ? A\n  : {Type: X}\n"],
    ids=["lines that count", "a key of its own"],
)
def test_where_nothing_is_safe_it_is_left_to_people(text: str) -> None:
    with pytest.raises(InvalidInput, match="no safe place") as caught:
        appended(read(text.encode(), "t"), "Resources", "New", ENTRY)
    assert caught.value.problems[0].hint == "Write an entry 'New' in Resources by hand."


def test_a_node_is_given_as_if_it_stood_alone() -> None:
    template = read(b"A:\n    B: # why\n        C: 1\n\n        D: |\n          x\n    E: 2\n", "t")
    node = find(template.root, ("A",))
    assert node is not None
    assert node_text(template, node) == "B: # why\n    C: 1\n\n    D: |\n      x\nE: 2"
