from __future__ import annotations

import pytest

from stages.build.builders import Client, Engine, choose, numbers
from stages.contract import StageError

ENGINE = Engine("Docker", "20.10.24", (1, 41))
OLD = Client("/usr/bin/docker", (20, 10, 24), None)
NEW = Client("/usr/local/bin/docker", (28, 2, 2), None)
BUILDX = Client("/opt/docker", (28, 2, 2), (0, 13, 1))


@pytest.mark.parametrize(
    ("clients", "client"),
    [([OLD, BUILDX], BUILDX), ([BUILDX, OLD], BUILDX), ([NEW, OLD], OLD), ([OLD], OLD)],
)
def test_buildx_goes_before_an_older_client_and_both_before_the_classic_builder(
    clients: list[Client], client: Client
) -> None:
    for wanted in ("auto", "buildkit"):
        chosen = choose(wanted, ENGINE, clients)
        assert (chosen.name, chosen.client) == ("buildkit", client)
        assert client.path in chosen.told


@pytest.mark.parametrize(
    ("engine", "clients", "reason"),
    [
        (ENGINE, [], "there is no docker client here"),
        (ENGINE, [NEW], "no docker client here has the buildx plugin"),
        (ENGINE, [Client("/bin/docker", (), None)], "no docker client here has the buildx plugin"),
        (Engine("Docker", "18.06", (1, 38)), [BUILDX], "the engine 18.06 is too old for BuildKit"),
        (Engine("Podman", "4.3.1", (1, 41)), [BUILDX], "Podman has no BuildKit"),
    ],
)
def test_without_buildkit_the_classic_builder_is_used_and_the_log_says_why(
    engine: Engine, clients: list[Client], reason: str
) -> None:
    assert choose("auto", engine, clients).name == "classic"
    assert reason in choose("auto", engine, clients).told
    with pytest.raises(StageError, match=f"BuildKit cannot be had: {reason}") as caught:
        choose("buildkit", engine, clients)
    assert caught.value.hint


def test_the_classic_builder_is_used_if_asked_for() -> None:
    assert choose("classic", ENGINE, [BUILDX]).name == "classic"


def test_only_a_buildx_that_attests_is_told_not_to() -> None:
    """An older one does not know the flags; Lambda refuses the index that a newer one makes without them."""
    assert choose("auto", ENGINE, [BUILDX]).attests
    assert not choose("auto", ENGINE, [Client("/b", (20, 10), (0, 9, 1))]).attests
    assert not choose("auto", ENGINE, [OLD]).attests


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128", (20, 10, 24)),
        ("github.com/docker/buildx v0.13.1 88f7c9", (0, 13, 1)),
        ("1.41", (1, 41)),
        ("none", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert numbers(text) == version
