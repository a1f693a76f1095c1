"""Registries that speak HTTPS with a certificate of their own, and one that does not speak it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.fake_registry import Server, serving

from stages.contract import StageError
from stages.images import refusals, registry
from stages.images.registry import Manifest, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry of the test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "registry.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(refusals, "FIRST_DELAY_S", 0)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as server:
        server.manifests["v1"] = b"{}"
        yield server


def _ask(server: Server) -> Manifest | None:
    url = f"https://127.0.0.1:{server.server_port}/v2/app"
    http = registry.connections(url, 1)
    try:
        return registry.manifest(Repository(url, http), "v1")
    finally:
        http.clear()


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_that_the_environment_names_is_trusted(
    secure: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    assert _ask(secure) is not None


def test_an_authority_that_nobody_knows_is_told_at_once(secure: Server) -> None:
    with pytest.raises(StageError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed") as caught:
        _ask(secure)
    assert "is not trusted here" in (caught.value.hint or "")
    assert caught.value.cls == "terminal"


def test_plain_http_where_https_is_meant_is_told(server: Server) -> None:
    with pytest.raises(StageError) as caught:
        _ask(server)
    assert "speaks plain HTTP" in (caught.value.hint or "")
    assert caught.value.cls == "terminal"
