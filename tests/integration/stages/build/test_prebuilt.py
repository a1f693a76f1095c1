"""Images that somebody else built: from the engine, an archive, and a real registry."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
import urllib3
from integration.stages.build.projects import Project
from integration.stages.images.running import build_scratch, running_registry

from stages import build, package
from stages.contract import InvalidInput, Request, StageError
from stages.images import engine
from stages.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import APIClient


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, tmp_path.name, [])
    made.source.mkdir()
    return made


@pytest.fixture
def image(client: APIClient, tmp_path: Path) -> Iterator[str]:
    """The id of an image of this test's own."""
    made = build_scratch(client, f"code {tmp_path}")
    yield made
    if engine.find(client, made):
        client.remove_image(made, force=True)


def write_template(project: Project, metadata: str = "{}", **functions: str) -> None:
    lines = ["Parameters: {Image: {Type: String, Default: none}}", "Resources:"]
    for name, uri in functions.items():
        lines += [
            f"  {name}:",
            "    Type: AWS::Serverless::Function",
            f"    Properties: {{PackageType: Image, ImageUri: {uri}}}",
            f"    Metadata: {metadata}",
        ]
    project.write("template.yaml", "\n".join(lines) + "\n")


def refused(project: Project) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        project.build()
    return [str(problem).partition("\n")[0] for problem in caught.value.problems]


def save(client: APIClient, path: Path, *images: str, compressed: bool = False) -> None:
    data = b"".join(engine.save(client, images))
    path.write_bytes(gzip.compress(data) if compressed else data)


def push(client: APIClient, image: str, repository: str, tag: str) -> str:
    digest = engine.push(client, image, repository, tag, None)
    client.remove_image(f"{repository}:{tag}")
    return digest


def test_a_local_name_and_an_id_and_a_parameter_that_names_one(project: Project, client: APIClient, image: str) -> None:
    """`sam package` neither resolves nor pushes an image that a parameter names."""
    name = f"prebuilt-{project.work.name.replace('_', '-')}"
    client.tag(image, name, "v1")
    write_template(project, A=f"{name}:v1", B=image, C="!Ref Image")
    built = project.build(parameters={"Image": f"{name}:v1"})
    client.remove_image(f"{name}:v1")
    assert {each["config"] for each in built.values()} == {image}
    assert {each["source"] for each in built.values()} == {None}
    assert built["A"]["carrier"] == {"type": "engine", "engine": engine.engine_id(client), "image": image}


@pytest.mark.parametrize("name", ["app.tar", "app.tar.gz"])
@pytest.mark.parametrize("carrier", ["engine", "oci-layout"])
def test_an_archive_is_loaded(project: Project, client: APIClient, image: str, name: str, carrier: str) -> None:
    save(client, project.source / name, image, compressed=name.endswith("gz"))
    client.remove_image(image, force=True)
    write_template(project, A=f"./{name}", B=name)
    built = project.build(carrier=carrier)
    assert [each["config"] for each in built.values()] == [image, image]
    assert built["A"]["carrier"]["type"] == carrier


def test_an_archive_does_not_take_a_local_name_from_another_function(
    project: Project, client: APIClient, image: str, tmp_path: Path
) -> None:
    """An archive brings its name along: loaded first, it would be the image of both functions."""
    name = f"taken-{tmp_path.name.replace('_', '-')}"
    client.tag(image, name, "v1")
    save(client, project.source / "a.tar", f"{name}:v1")
    other = build_scratch(client, f"other {tmp_path}")
    client.tag(other, name, "v1", force=True)
    write_template(project, A="a.tar", B=f"{name}:v1")
    built = project.build()
    client.remove_image(f"{name}:v1")
    client.remove_image(other, force=True)
    assert (built["A"]["config"], built["B"]["config"]) == (image, other)


def test_a_registrys_image_is_pinned_and_never_pushed(
    project: Project, client: APIClient, image: str, registry_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = f"{registry_host}/team/app"
    digest = push(client, image, repository, "v1")
    write_template(project, A=f"{repository}:v1", B=f"{repository}@{digest}", C="!Sub '${Image}:v1'")
    built = project.build(parameters={"Image": repository})
    carrier = {"type": "registry", "name": repository, "manifest": digest}
    assert [(each["config"], each["carrier"]) for each in built.values()] == [(image, carrier)] * 3
    monkeypatch.setattr("stages.package.publish.send", None)  # it would push
    (project.work / "inputs").mkdir()
    (project.work / "outputs" / "images").rename(project.work / "inputs" / "images")
    package.apply(Request("package", "apply", "h", {}, {"images": "inputs/images"}), project.work)
    template = (project.work / "outputs/release/packaged-template.yaml").read_text()
    assert template.count(f"ImageUri: {repository}@{digest}") + template.count(f"'{repository}@{digest}'") == 3
    document = json.loads((project.work / "outputs/release/release.json").read_text())
    assert document["functions"]["A"]["image"] == f"{repository}@{digest}"


def test_an_index_is_refused_with_the_images_it_names(
    project: Project, client: APIClient, image: str, registry_host: str
) -> None:
    repository = f"{registry_host}/team/indexed"
    digest = push(client, image, repository, "amd64")
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "digest": digest,
                "size": 1,
                "platform": {"os": "linux", "architecture": architecture},
            }
            for architecture in ("amd64", "arm64")
        ],
    }
    answer = urllib3.request(
        "PUT",
        f"http://{registry_host}/v2/team/indexed/manifests/both",
        body=json.dumps(index),
        headers={"Content-Type": str(index["mediaType"])},
    )
    assert answer.status == 201
    write_template(project, A=f"{repository}:both")
    with pytest.raises(InvalidInput) as caught:
        project.build()
    (problem,) = caught.value.problems
    assert problem.where == "template.yaml:5:48"
    assert "it is an index of 2 images, and Lambda takes one image only" in problem.message
    assert f"linux/arm64 {repository}@{digest}" in (problem.hint or "")


def test_every_mistake_is_told_at_once_and_before_anything_is_built(
    project: Project, client: APIClient, image: str, registry_host: str
) -> None:
    project.write("text.tar", "x" * 2000)
    project.write_scratch("app", "x")
    other = build_scratch(client, f"two {project.work}")
    save(client, project.source / "two.tar", image, other)
    client.remove_image(other, force=True)
    write_template(project, A="nobody-has-this:v1", B=f"{registry_host}/team/none:v1", C="sha256:" + "0" * 64)
    template = project.source / "template.yaml"
    built = "  Z:\n    Type: AWS::Serverless::Function\n    Properties: {PackageType: Image}\n"
    built += "    Metadata: {Dockerfile: Dockerfile, DockerContext: app}\n"
    template.write_text(template.read_text() + built)
    assert refused(project) == [
        "template.yaml:5:48: A: nobody-has-this:v1: the engine of this machine has no such image",
        f"template.yaml:9:48: B: {registry_host}/team/none:v1: its registry has no such image",
        f"template.yaml:13:48: C: sha256:{'0' * 64}: the engine of this machine has no such image",
    ]
    write_template(project, D="text.tar", E="two.tar", F="missing.tar", G="../../out.tar")
    with pytest.raises(InvalidInput) as caught:
        build.check(project.request(), project.work)
    messages = [problem.message for problem in caught.value.problems]
    assert messages[0].startswith("D: text.tar: it is no archive of an image: ")
    assert messages[1:] == [
        "E: two.tar: it holds 2 images, and a function runs one",
        "F: the archive 'missing.tar' does not exist",
        "G: the archive '../../out.tar' is outside the project",
    ]


@pytest.mark.parametrize("kind", ["local", "archive", "registry"])
def test_an_image_for_another_architecture_is_refused(
    project: Project, client: APIClient, image: str, registry_host: str, kind: str
) -> None:
    uri = image
    if kind == "archive":
        save(client, project.source / "a.tar", image)
        uri = "a.tar"
    elif kind == "registry":
        push(client, image, f"{registry_host}/team/{kind}", "v1")
        uri = f"{registry_host}/team/{kind}:v1"
    write_template(project, A=f"{uri}, Architectures: [arm64]")
    (problem,) = refused(project)
    assert problem.endswith("the template asks for linux/arm64, but the image is for linux/amd64")


def test_an_image_too_large_for_lambda_is_refused_prebuilt_or_built(
    project: Project, client: APIClient, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(client, project.source / "a.tar", image)
    monkeypatch.setattr("stages.images.fitness.LIMITS", Limits(lambda_image_bytes=3))
    write_template(project, A=image, B="a.tar")
    assert all("and Lambda takes at most 3, uncompressed" in problem for problem in refused(project))
    project.write_scratch("app", "much")
    project.write_template({"Z": "Dockerfile: Dockerfile, DockerContext: app"})
    with pytest.raises(Exception, match=r"Z: the image has .* bytes, and Lambda takes at most 3"):
        project.build()


def test_a_registry_that_does_not_answer_is_no_mistake_of_the_template(project: Project) -> None:
    write_template(project, A="127.0.0.1:1/app:v1")
    with pytest.raises(StageError, match=r"A: 127\.0\.0\.1:1/app:v1: .*Connection refused") as caught:
        project.build()
    assert caught.value.cls == "retryable"


def test_skip_build_leaves_a_dockerfile_alone(project: Project, image: str) -> None:
    write_template(project, "{SkipBuild: true, Dockerfile: none, DockerContext: none}", A=image)
    assert project.build()["A"]["config"] == image
