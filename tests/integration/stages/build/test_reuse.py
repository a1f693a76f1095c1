"""Nothing is built twice, and nothing is taken for built that is not."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from stages.build import builder
from stages.contract import StageError
from stages.images import engine

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = pytest.mark.engine

METADATA = "Dockerfile: Dockerfile, DockerContext: {}, DockerTag: v1"


@pytest.fixture
def built_by(capsys: pytest.CaptureFixture[str]) -> Any:
    """Tells which functions were built, and which were not, since it was asked last."""

    def states() -> dict[str, str]:
        entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {entry["function"]: entry["state"] for entry in entries if entry.get("state") in ("built", "reused")}

    return states


def _apps(project: Any, *names: str) -> None:
    for name in names:
        project.write_scratch(name, name)
    project.write_template({name.upper(): METADATA.format(name) for name in names})


def test_only_what_changed_is_built(project: Any, built_by: Any, code_of: Any) -> None:
    _apps(project, "a", "b", "c")
    first = project.build()
    built_by()
    assert project.build_again() == first
    assert built_by() == {"A": "reused", "B": "reused", "C": "reused"}
    project.write("b/code", "changed")
    again = project.build_again()
    assert built_by() == {"A": "reused", "B": "built", "C": "reused"}
    assert code_of(again["B"]["config"]) == "changed"
    assert (again["A"], again["C"]) == (first["A"], first["C"])


def test_the_same_size_and_time_do_not_hide_a_change(project: Any, code_of: Any) -> None:
    _apps(project, "a")
    project.build()
    path = project.source / "a" / "code"
    about = path.stat()
    for content in ("x", "y"):
        path.write_text(content)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert code_of(project.build_again()["A"]["config"]) == content


def test_an_image_that_is_gone_is_built_again(project: Any, built_by: Any, client: APIClient) -> None:
    _apps(project, "a")
    first = project.build()
    client.remove_image(first["A"]["config"], force=True)
    built_by()
    again = project.build_again()
    assert built_by() == {"A": "built"}
    assert engine.inspect(client, again["A"]["config"])


def test_a_label_or_a_name_is_not_enough(project: Any, built_by: Any) -> None:
    """The image is there with our label and name, but no verified record says that it is of this source."""
    _apps(project, "a")
    project.build()
    (project.work / "outputs" / "images" / "images.json").unlink()
    built_by()
    project.build_again()
    assert built_by() == {"A": "built"}


def test_a_base_image_that_moved_is_noticed(project: Any, make_project: Any, built_by: Any, client: APIClient) -> None:
    """Catches an image on an old base: the tag is the same, and what it names is not."""
    other = make_project("base")
    _apps(other, "old", "new")
    bases = other.build()
    name = f"moving-{project.mark}"
    project.built.append(f"{name}:1")
    client.tag(bases["OLD"]["config"], name, "1")
    project.write("app/Dockerfile", f"ARG V=1\nFROM {name}:$V\nCOPY mark /mark2\n")
    project.write("app/mark", project.mark)
    project.write_template({"Fn": METADATA.format("app")})
    first = project.build()["Fn"]
    assert first["bases"] == {f"{name}:1": bases["OLD"]["config"]}
    assert first["base"] == bases["OLD"]["config"]
    built_by()
    project.build_again()
    assert built_by() == {"Fn": "reused"}
    client.tag(bases["NEW"]["config"], name, "1", force=True)
    again = project.build_again()["Fn"]
    assert built_by() == {"Fn": "built"}
    assert again["base"] == bases["NEW"]["config"]
    assert again["source"] != first["source"]


@pytest.mark.parametrize("options", [{"pull": True}, {"no-cache": True}])
def test_who_asks_for_a_build_gets_one(project: Any, built_by: Any, options: dict[str, bool]) -> None:
    _apps(project, "a")
    project.build()
    built_by()
    project.build_again(**options)
    assert built_by() == {"A": "built"}


def test_no_cache_really_builds_anew(project: Any, code_of: Any) -> None:
    project.write_shell("app", 'RUN ["/bin/sh", "-c", "read t < /proc/uptime; echo $t > /code"]')
    project.write_template({"Fn": METADATA.format("app")})
    first = code_of(project.build()["Fn"]["config"])
    assert code_of(project.build_again()["Fn"]["config"]) == first
    assert code_of(project.build_again(**{"no-cache": True})["Fn"]["config"]) != first


def test_what_fetches_is_always_built(project: Any, built_by: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The second stage is not built, so nothing is fetched here; what counts is that the Dockerfile could."""
    project.write_scratch("app", "x")
    text = (project.source / "app" / "Dockerfile").read_text()
    project.write("app/Dockerfile", f"FROM scratch AS never\nADD https://example.invalid/x /\n{text}")
    project.write_template({"Fn": METADATA.format("app") + ", DockerBuildTarget: never"})
    with pytest.raises(StageError):
        project.build()  # nothing answers there
    assert "is always built: ADD fetches https://example.invalid/x" in capsys.readouterr().out


def test_a_moved_context_is_the_same_source(project: Any, built_by: Any) -> None:
    _apps(project, "a")
    first = project.build()["A"]
    (project.source / "a").rename(project.source / "z")
    project.write_template({"OTHER": METADATA.format("z")})
    built_by()
    assert project.build_again()["OTHER"]["source"] == first["source"]
    assert built_by() == {"OTHER": "reused"}


def test_a_context_that_changes_before_it_is_sent_is_no_source(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an image of which nobody can say what is in it: it was looked at before, and is sent after, somebody edits."""
    project.write_scratch("app", "x")
    project.write_template({"Fn": METADATA.format("app")})
    real = builder.choose

    def slow(*args: Any) -> Any:
        project.write("app/code", "y")
        return real(*args)

    monkeypatch.setattr(builder, "choose", slow)
    with pytest.raises(StageError, match="files of its build context changed while it was built") as caught:
        project.build()
    assert caught.value.cls == "retryable"


def test_a_project_that_is_its_own_context_is_not_sent_its_record(project: Any, client: APIClient) -> None:
    """The record changes with every run: each would build another image, and be in it."""
    project.write_scratch(".", "x")
    project.write("Dockerfile", "FROM scratch\nCOPY . /\n")
    project.write_template({"Fn": METADATA.format(".")})
    project.write(".towpath/store/secret", "1")
    first = project.build()["Fn"]
    project.write(".towpath/store/secret", "2")
    assert project.build()["Fn"]["config"] == first["config"]
    container = client.create_container(first["config"], command=["none"])["Id"]
    try:
        assert b".towpath" not in b"".join(client.export(container))
    finally:
        client.remove_container(container)


def test_layouts_are_exported_of_what_was_built_before_too(project: Any, built_by: Any) -> None:
    _apps(project, "a", "b")
    first = project.build(carrier="oci-layout")
    built_by()
    project.write("b/code", "changed")
    again = project.build_again(carrier="oci-layout")
    assert built_by() == {"A": "reused", "B": "built"}
    index = json.loads((project.work / "outputs" / "images" / "oci" / "index.json").read_bytes())
    names = {each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]}
    assert names == {again["A"]["config"], again["B"]["config"]}
    assert again["A"] == first["A"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_large_context_costs_next_to_nothing_if_nothing_changed(project: Any) -> None:
    """Catches a check that reads, packs or sends what nobody touched."""
    project.write_scratch("app", "x")
    for number in range(4000):
        project.write(f"app/d{number % 40}/f{number}", str(number))
    project.write_template({"Fn": METADATA.format("app")})
    project.build()
    time.sleep(2.1)  # what was just written is read again
    project.build_again()
    start = time.monotonic()
    project.build_again()
    assert time.monotonic() - start < 1.5
