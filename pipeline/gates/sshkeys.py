"""Public keys as SSH writes them, and whether a signature is theirs.

The wire format is that of RFC 4251, section 5 (`string`, `mpint`). Keys and signatures: ssh-ed25519 (RFC 8709), ECDSA (RFC
5656), RSA with SHA-2 (RFC 8332; never SHA-1, never fewer than 2048 bits), and the two kinds of hardware keys (OpenSSH's
PROTOCOL.u2f), which count only if their owner touched them. Certificates and DSA keys are not taken.

There is one way to write each: whatever could be written in two ways is refused in all but one of them, so that a key
is known by its text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    Check = Callable[[str, "Reader", bytes], None]

ED25519 = "ssh-ed25519"
RSA = "ssh-rsa"
SK_ED25519 = "sk-ssh-ed25519@openssh.com"
SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
CURVES = {f"ecdsa-sha2-nistp{bits}": bits for bits in (256, 384, 521)}
TYPES = (ED25519, *CURVES, RSA, SK_ED25519, SK_ECDSA)

_RSA_HASHES = {"rsa-sha2-256": 256, "rsa-sha2-512": 512}
_RSA_BITS = range(2048, 16_385)
_USER_PRESENT = 0x01
_KEY_BYTES = 16_384


class Malformed(Exception):
    """A key or a signature is not of its form, or of a kind that is not taken."""


class Reader:
    """Reads SSH's wire format from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """Give the next `count` bytes. Raises Malformed if there are not as many."""
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise Malformed("it ends too early")
        self.at += count
        return taken

    def uint32(self) -> int:
        """Give a number of four bytes."""
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        """Give bytes whose length stands before them."""
        return self.take(self.uint32())

    def text(self) -> str:
        """Give a string that is a name: printable ASCII."""
        name = self.string()
        if not all(0x20 < byte < 0x7F for byte in name):
            raise Malformed(f"{name[:40]!r} is no name")
        return name.decode("ascii")

    def mpint(self) -> int:
        """Give a positive number, written in as few bytes as can be."""
        data = self.string()
        number = int.from_bytes(data, "big")
        if number == 0 or data != number.to_bytes(number.bit_length() // 8 + 1, "big"):
            raise Malformed("it holds a number that is not positive, or not in its shortest form")
        return number

    def end(self) -> None:
        """Raise Malformed if anything is left."""
        if self.at != len(self.data):
            raise Malformed("something follows its end")


def string(data: bytes) -> bytes:
    """Write a `string`."""
    return struct.pack(">I", len(data)) + data


def normal(line: str) -> str:
    """Give the key of a line `type base64 [comment]` as `type base64`. Raises Malformed for one that is not taken."""
    name, _, rest = line.strip().partition(" ")
    encoded = rest.strip().partition(" ")[0]
    blob = from_base64(encoded)
    if name != parse(blob)[0]:
        raise Malformed(f"it says {name[:60]!r}, and is of another type")
    return f"{name} {encoded}"


def line_of(blob: bytes) -> str:
    """Give a key's text, `type base64`. Raises Malformed."""
    return f"{parse(blob)[0]} {base64.b64encode(blob).decode()}"


def fingerprint(line: str) -> str:
    """Give the fingerprint of a normal line, as `ssh-keygen -l` prints it."""
    blob = base64.b64decode(line.split(" ")[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def from_base64(text: str) -> bytes:
    """Read base64 in its one form. Raises Malformed."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"it is not base64: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise Malformed("it is base64, but not in its one form")
    return data


def parse(blob: bytes) -> tuple[str, Check]:
    """Read a public key. Gives its type, and what checks a signature.

    A check takes the signature's algorithm, a Reader at what follows it, and the data; it raises Malformed unless the
    signature is this key's over just that.
    """
    if len(blob) > _KEY_BYTES:
        raise Malformed(f"the key is larger than {_KEY_BYTES:,} bytes")
    reader = Reader(blob)
    name = reader.text()
    if name not in _PARSERS:
        raise Malformed(f"a key of type {name[:60]!r} is not taken, only {', '.join(TYPES)}")
    check = _PARSERS[name](name, reader)
    reader.end()
    return name, check


def _ed25519(_name: str, reader: Reader) -> Check:
    public = _ed25519_bytes(reader)

    def check(algorithm: str, signature: Reader, data: bytes) -> None:
        _same(algorithm, ED25519)
        _verify_ed25519(public, _whole(signature), data)

    return check


def _sk_ed25519(_name: str, reader: Reader) -> Check:
    public, application = _ed25519_bytes(reader), _application(reader)

    def check(algorithm: str, signature: Reader, data: bytes) -> None:
        _same(algorithm, SK_ED25519)
        raw = signature.string()
        _verify_ed25519(public, raw, _touched(application, signature, data))

    return check


def _ecdsa(name: str, reader: Reader) -> Check:
    bits = CURVES[name]
    public = _point(reader, bits)

    def check(algorithm: str, signature: Reader, data: bytes) -> None:
        _same(algorithm, name)
        _verify_ecdsa(bits, public, _whole(signature), data)

    return check


def _sk_ecdsa(_name: str, reader: Reader) -> Check:
    public, application = _point(reader, 256), _application(reader)

    def check(algorithm: str, signature: Reader, data: bytes) -> None:
        _same(algorithm, SK_ECDSA)
        raw = signature.string()
        _verify_ecdsa(256, public, raw, _touched(application, signature, data))

    return check


def _rsa(_name: str, reader: Reader) -> Check:
    exponent, modulus = reader.mpint(), reader.mpint()
    if modulus.bit_length() not in _RSA_BITS:
        raise Malformed(f"an RSA key of {modulus.bit_length()} bits is not taken, only of {_RSA_BITS[0]} or more")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 64 or modulus % 2 == 0:
        raise Malformed("the RSA key's numbers are none that are safe")

    def check(algorithm: str, signature: Reader, data: bytes) -> None:
        if algorithm not in _RSA_HASHES:
            raise Malformed(f"a signature by {algorithm[:60]!r} is not taken, only by {' or '.join(_RSA_HASHES)}")
        _verify_rsa(exponent, modulus, _RSA_HASHES[algorithm], _whole(signature), data)

    return check


_PARSERS: dict[str, Callable[[str, Reader], Check]] = {
    ED25519: _ed25519,
    **dict.fromkeys(CURVES, _ecdsa),
    RSA: _rsa,
    SK_ED25519: _sk_ed25519,
    SK_ECDSA: _sk_ecdsa,
}


def _same(algorithm: str, expected: str) -> None:
    if algorithm != expected:
        raise Malformed(f"the signature is by {algorithm[:60]!r}, the key is {expected}")


def _whole(signature: Reader) -> bytes:
    raw = signature.string()
    signature.end()
    return raw


def _ed25519_bytes(reader: Reader) -> bytes:
    public = reader.string()
    if len(public) != 32:
        raise Malformed("an ed25519 key has 32 bytes")
    return public


def _point(reader: Reader, bits: int) -> bytes:
    if reader.text() != f"nistp{bits}":
        raise Malformed("the key is on another curve than its type says")
    point = reader.string()
    if len(point) != 1 + 2 * ((bits + 7) // 8) or point[0] != 4:
        raise Malformed("the key's point is not in its uncompressed form")
    return point


def _application(reader: Reader) -> bytes:
    application = reader.text()
    if not application.startswith("ssh:"):
        raise Malformed(f"the hardware key was made for {application[:60]!r}, not for ssh")
    return application.encode()


def _touched(application: bytes, signature: Reader, data: bytes) -> bytes:
    """Read what a hardware key signs beside the data. Raises Malformed if nobody touched it."""
    tail = signature.take(5)
    signature.end()
    if not tail[0] & _USER_PRESENT:
        raise Malformed("the hardware key was not touched: its key is one that needs no touch (no-touch-required)")
    return hashlib.sha256(application).digest() + tail + hashlib.sha256(data).digest()


@contextmanager
def _refusing() -> Iterator[None]:
    """Tell whatever the library has against a key or a signature as one thing: it does not hold."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        yield
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise Malformed("the signature is not this key's over this data") from error


def _verify_ed25519(public: bytes, raw: bytes, data: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    with _refusing():
        Ed25519PublicKey.from_public_bytes(public).verify(raw, data)


def _verify_ecdsa(bits: int, point: bytes, raw: bytes, data: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    curve, algorithm = _curve(bits)
    inner = Reader(raw)
    encoded = encode_dss_signature(inner.mpint(), inner.mpint())
    inner.end()
    with _refusing():
        public = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
        public.verify(encoded, data, ec.ECDSA(algorithm))


def _curve(bits: int) -> tuple[EllipticCurve, HashAlgorithm]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    of: dict[int, tuple[EllipticCurve, HashAlgorithm]] = {
        256: (ec.SECP256R1(), hashes.SHA256()),
        384: (ec.SECP384R1(), hashes.SHA384()),
        521: (ec.SECP521R1(), hashes.SHA512()),
    }
    return of[bits]


def _verify_rsa(exponent: int, modulus: int, bits: int, raw: bytes, data: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    with _refusing():
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        public.verify(raw, data, padding.PKCS1v15(), hashes.SHA256() if bits == 256 else hashes.SHA512())
