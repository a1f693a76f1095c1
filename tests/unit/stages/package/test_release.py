from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from stages.package import handed, release

if TYPE_CHECKING:
    from pathlib import Path

MANIFESTS = {"A": "sha256:" + "1" * 64, "B": "sha256:" + "2" * 64}


def _write(folder: Path, out: Path, host: str) -> tuple[str, dict[str, object]]:
    uris = {name: f"{host}/app@{digest}" for name, digest in MANIFESTS.items()}
    packaged = {"": release.Packaged(f"packaged for {host}".encode())}
    digest = release.write(out, handed.read(folder), uris, packaged, {}, commit="c0ffee")
    return digest, json.loads((out / "release.json").read_text())


def test_the_digest_is_of_the_canonical_form_as_it_is_documented(folder: Path, tmp_path: Path) -> None:
    """Written out by hand: whoever reads a release in ten years computes it this way."""
    digest, document = _write(folder, tmp_path / "out", "one.example")
    template = hashlib.sha256((folder / "templates/app/template.yaml").read_bytes()).hexdigest()
    functions = ",".join(
        f'"{name}":{{"config":"sha256:{letter * 64}","manifest":"{MANIFESTS[name]}","path":["Resources","{name}"],"stack":""}}'
        for name, letter in (("A", "a"), ("B", "b"))
    )
    text = (
        f'{{"functions":{{{functions}}},"parameters":{{}},"templates":{{"":"sha256:{template}"}},"uploads":[],"v":2}}'
    )
    assert digest == document["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_a_release_is_the_same_wherever_it_is_copied(folder: Path, tmp_path: Path) -> None:
    first, here = _write(folder, tmp_path / "one", "one.example")
    second, there = _write(folder, tmp_path / "two", "two.example")
    assert first == second
    assert here["templates"] != there["templates"]  # the packaged template names the registry


def test_everything_deploy_needs_is_there(folder: Path, tmp_path: Path) -> None:
    _, document = _write(folder, tmp_path / "out", "one.example")
    functions = document["functions"]
    assert isinstance(functions, dict)
    assert functions["A"] == {
        "stack": "",
        "path": ["Resources", "A"],
        "source": "sha256:" + "5" * 64,
        "config": "sha256:" + "a" * 64,
        "manifest": MANIFESTS["A"],
        "platform": "linux/amd64",
        "size": 7,
        "base": "sha256:" + "b" * 64,
        "image": f"one.example/app@{MANIFESTS['A']}",
    }
    assert (tmp_path / "out" / "packaged-template.yaml").read_bytes() == b"packaged for one.example"
    assert document["commit"] == "c0ffee"
