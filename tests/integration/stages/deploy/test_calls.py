"""What a deployment of many functions reads, and that it reads enough: what was changed since is read again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from chaos.front import Calls, Front
from integration.stages.deploy.releases import image_uri, write_many

from stages.aws import following
from stages.aws.session import connect
from stages.contract import Access, Proposal, StageError
from stages.deploy import apply, propose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from integration.stages.deploy.releases import Deployer
    from integration.stages.deploy.scripted_aws import ScriptedAws

ONE = ["one"] * 12
"""From ten functions on their revisions are listed."""
CHANGED = ["two", *ONE[1:]]


class Many:
    """Deploys releases of many functions by both phases of one attempt."""

    def __init__(self, deployer: Deployer) -> None:
        self.deployer = deployer
        self.target = deployer.target
        self.lambda_: Any = connect(self.target, deployer.access).lambda_
        self.names: dict[str, str] = {}
        self.number = 0

    def propose(self, contents: Sequence[str]) -> Proposal:
        self.number += 1
        proposal = propose(self.deployer.request("propose", f"a-{self.number}"), self._work(contents)).proposal
        assert proposal is not None
        return proposal

    def apply(self, proposal: Proposal, contents: Sequence[str], *, fresh: bool = True) -> dict[str, str]:
        """Give the manifest of the image that each function runs."""
        work = self._work(contents)
        apply(replace(self.deployer.request("apply", f"a-{self.number}", proposal), fresh=fresh), work)
        found = json.loads((work / "outputs/deployment/deployment.json").read_text())["functions"]
        self.names = {name: each["name"] for name, each in found.items()}
        return {name: each["image"] for name, each in found.items()}

    def change(self, name: str, content: str) -> None:
        """Change a function past CloudFormation."""
        self.lambda_.update_function_code(FunctionName=self.names[name], ImageUri=image_uri(self.target, content))

    def _work(self, contents: Sequence[str]) -> Path:
        self.deployer.number += 1
        work = self.deployer.root / f"many-{self.deployer.number}"
        write_many(work / "inputs/release", self.target, contents)
        (work / "outputs").mkdir()
        return work


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def many(embedded: Deployer, embedded_url: str, calls: Calls) -> Iterator[Many]:
    """A stack of twelve functions, behind something that counts."""
    front = Front(calls, int(urlsplit(embedded_url).port or 0))
    embedded.access = Access(endpoint_url=front.address)
    made = Many(embedded)
    made.apply(made.propose(ONE), ONE)
    calls.reset()
    yield made
    front.close()


def counted(calls: Calls) -> Counter[str]:
    """How often each thing was read since the last time; of functions also which."""
    found: Counter[str] = Counter()
    for each in calls.made:
        name = each.name.partition(" #")[0].partition("/2015-03-31/")[2].partition("?")[0].rstrip("/")
        found["ListFunctions" if name == "functions" else "GetFunction" if name else each.name.split()[1]] += 1
    calls.reset()
    return found


def test_only_what_was_touched_is_read_again(many: Many, calls: Calls) -> None:
    proposal = many.propose(CHANGED)
    proposed = counted(calls)
    images = many.apply(proposal, CHANGED)
    applied = counted(calls)
    assert images == {f"Fn{at}": image_uri(many.target, content) for at, content in enumerate(CHANGED)}
    assert (proposed["GetFunction"], proposed["ListFunctions"], proposed["GetTemplate"]) == (12, 0, 4)
    assert (applied["ListFunctions"], applied["GetTemplate"]) == (2, 0)
    assert 1 <= applied["GetFunction"] <= 9  # Fn0, until it is ready

    proposal = many.propose(CHANGED)
    assert proposal.subject["nothing_to_do"]
    counted(calls)
    assert many.apply(proposal, CHANGED) == images
    assert counted(calls).total() == 4  # who we are, the stack, its resources, the revisions
    assert many.apply(proposal, CHANGED, fresh=False) == images
    assert counted(calls)["GetFunction"] == 12


def test_code_that_moved_since_it_was_proposed_is_named(many: Many) -> None:
    proposal = many.propose(CHANGED)
    many.change("Fn3", "two")
    with pytest.raises(StageError, match=r"these differ: base\.functions\.Fn3\.image$") as caught:
        many.apply(proposal, CHANGED)
    assert caught.value.cls == "moved"

    # Who can write to the store, and has no key, can say in a handle that this is what was seen.
    now = many.lambda_.get_function(FunctionName=many.names["Fn3"])["Configuration"]["RevisionId"]
    proposal.handle["seen"]["functions"]["Fn3"]["revision"] = now
    with pytest.raises(StageError, match=r"these differ: base\.functions\.Fn3\.image$"):
        many.apply(proposal, CHANGED, fresh=False)


def test_code_that_moves_while_it_is_deployed_is_a_mismatch(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = following.follow

    def moving(*arguments: Any) -> Any:
        many.change("Fn5", "two")
        return follow(*arguments)

    monkeypatch.setattr(following, "follow", moving)
    proposal = many.propose(CHANGED)
    with pytest.raises(StageError, match=r"^Fn5 runs .*, but the release says") as caught:
        many.apply(proposal, CHANGED)
    assert caught.value.cls == "mismatch"


@pytest.mark.parametrize("refused", [True, False])
def test_where_listing_does_not_help_each_is_read(aws: ScriptedAws, deployer: Deployer, *, refused: bool) -> None:
    """A role may not list, or the account has many more functions: that is found out once."""
    aws.resources |= {f"Other{at}": ("AWS::Lambda::Function", "CREATE_COMPLETE", "") for at in range(9)}
    aws.listed = ["another"] * 50
    aws.status, aws.stack_name, aws.stack_id = "CREATE_COMPLETE", "demo", "arn:demo"
    if refused:
        aws.fail("ListFunctions", "AccessDeniedException", status=403, times=9)
    proposal = deployer.propose("a")
    aws.calls.clear()
    apply(replace(deployer.request("apply", "a", proposal), fresh=True), deployer.work("one"))
    assert (aws.count("ListFunctions"), aws.count("GetFunction")) == (1, 20)
