"""Random secrets in random forms, wrapped, coloured and cut at random: none is to be seen, however the stream came in."""

from __future__ import annotations

import base64
import html
import json
import random
import shlex
import string
import urllib.parse
from typing import TYPE_CHECKING

from pipeline.executors.lines import Lines
from pipeline.redaction import Redactor
from pipeline.redaction.forms import visible

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3_000
VALUES = ROUNDS // 10
SIZES = (1, 2, 3, 7, 64, 4096)
"""Bytes: the largest piece of a stream."""
WINDOW = 7
"""Bytes: so many of a form in a row are no chance, and three may be shown."""

ALPHABETS = (
    string.ascii_letters + string.digits,
    string.printable.strip(),
    string.ascii_letters + "éü€漢 \t\n",
    "ab",
)
NOISE = "!#$%&()*,-.:;<=>?@[]^_{|}~ "


def _base64(encode: Callable[[bytes], bytes]) -> Callable[[bytes, random.Random], tuple[bytes, bytes]]:
    def form(value: bytes, chance: random.Random) -> tuple[bytes, bytes]:
        before, after = chance.randbytes(chance.randrange(8)), chance.randbytes(chance.randrange(8))
        written = encode(before + value + after)
        return written, written[-(-8 * len(before) // 6) : 8 * (len(before) + len(value)) // 6]

    return form


def _plain(write: Callable[[str], str]) -> Callable[[bytes, random.Random], tuple[bytes, bytes]]:
    def form(value: bytes, _: random.Random) -> tuple[bytes, bytes]:
        written = write(value.decode()).encode()
        return written, written

    return form


FORMS = [
    _plain(str),
    _plain(lambda text: json.dumps(text)[1:-1]),
    _plain(lambda text: json.dumps(text, ensure_ascii=False)[1:-1]),
    _plain(lambda text: repr(text)[1:-1]),
    _plain(urllib.parse.quote),
    _plain(lambda text: urllib.parse.quote(text, safe="")),
    _plain(urllib.parse.quote_plus),
    _plain(html.escape),
    _plain(shlex.quote),
    _plain(lambda text: text.encode().hex()),
    _plain(lambda text: text.encode().hex().upper()),
    _base64(base64.b64encode),
    _base64(base64.urlsafe_b64encode),
]


def secret(chance: random.Random) -> bytes:
    while True:
        value = "".join(chance.choices(chance.choice(ALPHABETS), k=chance.choice([6, 7, 8, 12, 24, 40, 200])))
        if len(visible(value.encode()).strip().strip(b"\"'")) >= 6:
            return value.encode()


def wrapped(text: bytes, chance: random.Random) -> bytes:
    """The same for whoever looks at it, with line breaks and colours in it."""
    if chance.random() < 0.5:
        return text
    width = chance.randrange(1, len(text) + 2)
    between = chance.choice([b"\n", b"\r\n", b"\x1b[31m", b"\n\n", b"\x00"])
    return between.join(text[at : at + width] for at in range(0, len(text), width))


def masked(redactor: Redactor, stream: bytes, chance: random.Random, sizes: tuple[int, ...] = SIZES) -> list[bytes]:
    """What is logged of a stream that comes in pieces, from one byte on."""
    said: list[bytes] = []
    lines = Lines("stdout", lambda name, line: said.extend(text for text, _ in redactor.line(name, line, None)))
    largest, at = chance.choice(sizes), 0
    while at < len(stream):
        size = chance.randint(1, largest)
        lines.feed(stream[at : at + size])
        at += size
    lines.finish()
    return said + [text for text, _ in redactor.end()]


def leaks(said: list[bytes], inner: bytes) -> list[bytes]:
    """Pieces of a form that can be read in what was logged."""
    whole, inner = b"".join(said).replace(b"\n", b""), visible(inner)
    size = min(WINDOW, len(inner))
    return [piece for at in range(len(inner) - size + 1) if (piece := inner[at : at + size]) in whole]


def stream(values: list[bytes], chance: random.Random) -> tuple[bytes, list[bytes]]:
    """What a stage writes, and the forms in it that must not be seen."""
    pieces, forms = [], []
    for _ in range(chance.randint(1, 3)):
        written, inner = chance.choice(FORMS)(chance.choice(values), chance)
        pieces += ["".join(chance.choices(NOISE + "\n", k=chance.randrange(60))).encode(), wrapped(written, chance)]
        forms.append(inner)
    return b"".join(pieces), forms


def test_nothing_leaks_and_the_pieces_change_nothing() -> None:
    chance = random.Random(20_261_126)  # noqa: S311 - chance that can be had again
    for _ in range(VALUES):
        values = [secret(chance) for _ in range(chance.randint(1, 4))]
        values += [b"\n".join(secret(chance) for _ in range(chance.randint(2, 5)))]
        redactor = Redactor({str(number): value for number, value in enumerate(values)})
        for _ in range(ROUNDS // VALUES):
            written, forms = stream(values, chance)
            said = masked(redactor, written, chance)
            assert [leak for form in forms for leak in leaks(said, form)] == [], (values, written)
            assert masked(redactor, written, chance) == said, (values, written)


def test_a_secret_that_is_cut_where_a_long_line_is_cut_does_not_leak() -> None:
    chance = random.Random(1)  # noqa: S311 - chance that can be had again
    value = secret(chance)
    for before in (0, 1, 65_530, 65_535, 65_536, 131_070):
        said = masked(Redactor({"S": value}), b"." * before + value + b"." * 70_000, chance, (4096, 65_536))
        assert leaks(said, value) == []
        assert len(b"".join(said)) >= before + 70_000
