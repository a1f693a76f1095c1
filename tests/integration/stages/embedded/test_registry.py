"""The registry with ECR's behaviour, as docker, skopeo and a plain client see it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from support import functions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytestmark = pytest.mark.engine
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Client:
    """A client of the registry's API that follows what it is told, as the specification says."""

    def __init__(self, aws: Any, repository: str) -> None:
        self.http = urllib3.PoolManager()
        self.origin = aws.endpoint_url
        self.base = f"/v2/{aws.account}/{aws.region}/{repository}"
        self.name = self.base.removeprefix("/v2/")
        login = aws.login
        self.headers = urllib3.make_headers(basic_auth=f"{login['username']}:{login['password']}")

    def call(self, method: str, path: str, **more: Any) -> urllib3.BaseHTTPResponse:
        headers = {**self.headers, **more.pop("headers", {})}
        return self.http.request(method, f"{self.origin}{self.base}{path}", headers=headers, **more)

    def upload(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        begun = self.call("POST", "/blobs/uploads/")
        assert begun.status == 202
        sent = self.http.request("PATCH", begun.headers["Location"], body=data)
        assert sent.status == 202, sent.data
        location = sent.headers["Location"]
        done = self.http.request("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}")
        assert done.status == 201, done.data
        return digest

    def manifest(self, layer: bytes) -> bytes:
        config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": self.upload(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(layer),
                        "digest": self.upload(layer),
                    }
                ],
            }
        ).encode()

    def put(self, reference: str, manifest: bytes) -> urllib3.BaseHTTPResponse:
        return self.call("PUT", f"/manifests/{reference}", body=manifest, headers={"Content-Type": MANIFEST})


def errors(response: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    return response.status, response.json()["errors"][0]["code"]


@pytest.fixture
def repository(aws: Any) -> str:
    aws.client("ecr").create_repository(repositoryName="team/app", imageTagMutability="IMMUTABLE")
    return "team/app"


@pytest.fixture
def client(aws: Any, repository: str) -> Client:
    return Client(aws, repository)


@pytest.fixture
def other_image(engine: docker.DockerClient) -> Iterator[str]:
    tag = f"towpath-test-tiny:{uuid.uuid4().hex[:8]}"
    functions.build(engine, tag, "FROM scratch\nCOPY handler.py /\n", b"another")
    yield tag
    engine.images.remove(tag, force=True)


def test_docker_pushes_and_pulls_and_ecr_knows(
    aws: Any, repository: str, engine: docker.DockerClient, tiny_image: str
) -> None:
    digest = aws.push(engine, tiny_image, repository, "1")
    [image] = aws.client("ecr").describe_images(repositoryName=repository)["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (digest, ["1"])
    by_digest = aws.reference(repository, f"@{digest}")
    assert engine.images.pull(by_digest, auth_config=aws.login).id == engine.images.get(tiny_image).id
    engine.images.remove(by_digest)
    assert aws.push(engine, tiny_image, repository, "1") == digest, "the same again is no error, as on AWS"


def test_an_immutable_tag_does_not_move(
    aws: Any, repository: str, engine: docker.DockerClient, tiny_image: str, other_image: str
) -> None:
    aws.push(engine, tiny_image, repository, "1")
    with pytest.raises(AssertionError, match="cannot be overwritten because the tag is immutable"):
        aws.push(engine, other_image, repository, "1")
    aws.push(engine, other_image, repository, "2")
    [first] = aws.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": "1"}])["imageDetails"]
    assert first["imageTags"] == ["1"]


def test_a_mutable_tag_moves(aws: Any, engine: docker.DockerClient, tiny_image: str, other_image: str) -> None:
    aws.client("ecr").create_repository(repositoryName="loose")
    aws.push(engine, tiny_image, "loose", "latest")
    digest = aws.push(engine, other_image, "loose", "latest")
    [image] = aws.client("ecr").describe_images(repositoryName="loose", imageIds=[{"imageTag": "latest"}])[
        "imageDetails"
    ]
    assert image["imageDigest"] == digest


def test_of_two_that_race_for_an_immutable_tag_one_wins(client: Client) -> None:
    manifests = [client.manifest(b"one"), client.manifest(b"two")]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda manifest: client.put("1", manifest).status, manifests))
    assert sorted(answers) == [201, 400]


def test_repositories_of_accounts_and_regions_are_apart(
    aws: Any, other_aws: Any, repository: str, engine: docker.DockerClient, tiny_image: str
) -> None:
    aws.push(engine, tiny_image, repository, "1")
    elsewhere = type(aws)(aws.endpoint_url, aws.account, "us-east-1")
    for stranger in (other_aws, elsewhere):
        with pytest.raises(AssertionError, match="does not exist in the registry with id"):
            stranger.push(engine, tiny_image, repository, "1")
        assert errors(Client(stranger, repository).call("GET", "/manifests/1")) == (404, "NAME_UNKNOWN")
        assert stranger.client("ecr").describe_repositories()["repositories"] == []


def test_nobody_gets_in_without_ecrs_token(client: Client) -> None:
    client.headers = {}
    refused = client.call("GET", "/tags/list")
    assert errors(refused) == (401, "UNAUTHORIZED")
    assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    client.headers = urllib3.make_headers(basic_auth="AWS:guessed")
    assert client.call("GET", "/tags/list").status == 401


def test_skopeo_copies_in_and_out(
    aws: Any, repository: str, engine: docker.DockerClient, tiny_image: str, tmp_path: Path
) -> None:
    digest = aws.push(engine, tiny_image, repository, "1")
    aws.client("ecr").create_repository(repositoryName="copy")
    credentials = f"AWS:{aws.login['password']}"
    source, target = aws.reference(repository, f"@{digest}"), aws.reference("copy", ":1")
    skopeo = ["skopeo", "copy", "--quiet"]
    out = [*skopeo, "--src-tls-verify=false", "--src-creds", credentials, f"docker://{source}", f"oci:{tmp_path}/l:1"]
    into = [
        *skopeo,
        "--dest-tls-verify=false",
        "--dest-creds",
        credentials,
        f"oci:{tmp_path}/l:1",
        f"docker://{target}",
    ]
    subprocess.run(out, check=True, capture_output=True)
    subprocess.run(into, check=True, capture_output=True)
    [image] = aws.client("ecr").describe_images(repositoryName="copy")["imageDetails"]
    assert image["imageManifestMediaType"] == "application/vnd.oci.image.manifest.v1+json"


def test_layers_do_not_go_through_the_daemons_memory(aws: Any, client: Client, daemon_pid: int) -> None:
    client.put("0", client.manifest(b"warm up"))
    before = peak_kb(daemon_pid)
    layer = os.urandom(1024) * 1024 * 200
    manifest = client.manifest(layer)
    assert client.put("large", manifest).status == 201
    digest = json.loads(manifest)["layers"][0]["digest"]
    got = client.call("GET", f"/blobs/{digest}", preload_content=False)
    assert sum(len(piece) for piece in got.stream(1 << 20)) == len(layer)
    assert peak_kb(daemon_pid) - before < 20_000


def peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_manifest_whose_layers_are_missing_is_refused(client: Client) -> None:
    manifest = json.loads(client.manifest(b"there"))
    manifest["layers"][0]["digest"] = "sha256:" + "0" * 64
    refused = client.put("1", json.dumps(manifest).encode())
    assert errors(refused) == (404, "MANIFEST_BLOB_UNKNOWN") or refused.status == 400
    assert client.call("GET", "/manifests/1").status == 404, "ECR must not know of it"


def test_layers_are_mounted_from_the_same_registry_only(aws: Any, other_aws: Any, client: Client) -> None:
    digest = client.upload(b"shared layer")
    aws.client("ecr").create_repository(repositoryName="second")
    other_aws.client("ecr").create_repository(repositoryName="theirs")
    query = f"?mount={digest}&from={client.name}"
    assert Client(aws, "second").call("POST", f"/blobs/uploads/{query}").status == 201
    assert Client(aws, "second").call("HEAD", f"/blobs/{digest}").status == 200
    assert Client(other_aws, "theirs").call("POST", f"/blobs/uploads/{query}").status == 202
    assert Client(other_aws, "theirs").call("HEAD", f"/blobs/{digest}").status == 404


def test_what_a_client_may_ask(client: Client) -> None:
    manifest = client.manifest(b"layer")
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    for tag in ("b", "a", "c"):
        assert client.put(tag, manifest).headers["Docker-Content-Digest"] == digest
    head = client.call("HEAD", "/manifests/a")
    assert (head.status, head.headers["Docker-Content-Digest"]) == (200, digest)
    assert int(head.headers["Content-Length"]) == len(manifest)
    assert client.call("GET", f"/manifests/{digest}").data == manifest
    assert client.call("GET", "/tags/list").json() == {"name": client.name, "tags": ["a", "b", "c"]}
    page = client.call("GET", "/tags/list?n=2")
    assert page.json()["tags"] == ["a", "b"]
    assert "last=b" in page.headers["Link"]
    assert client.call("GET", "/tags/list?n=2&last=b").json()["tags"] == ["c"]
    assert client.call("GET", f"/referrers/{digest}").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/manifests/missing", 404),
        ("GET", "/manifests/sha256:" + "0" * 64, 404),
        ("DELETE", "/manifests/sha256:" + "0" * 64, 405),
        ("GET", "/blobs/../../../etc/passwd", 404),
        ("PATCH", "/blobs/uploads/none", 405),
        ("PUT", "/manifests/sha256:" + "0" * 64, 400),
    ],
)
def test_what_it_may_not(client: Client, method: str, path: str, status: int) -> None:
    assert client.call(method, path, body=b"{}" if method == "PUT" else None).status == status


def test_a_name_without_account_is_not_ministacks_own_registry(client: Client) -> None:
    client.base = "/v2/team/app"
    assert errors(client.call("GET", "/manifests/1")) == (404, "NAME_UNKNOWN")


def test_an_image_that_ecr_deleted_is_gone(aws: Any, client: Client) -> None:
    digest = client.put("1", client.manifest(b"layer")).headers["Docker-Content-Digest"]
    aws.client("ecr").batch_delete_image(repositoryName="team/app", imageIds=[{"imageDigest": digest}])
    assert client.call("GET", f"/manifests/{digest}").status == 404
