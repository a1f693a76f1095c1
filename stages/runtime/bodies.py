"""Bodies of HTTP requests: by their length or in chunks, bounded."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES = 65_536


class BodyHandler(BaseHTTPRequestHandler):
    """A handler of requests on connections that are kept, whose answers are sent in one packet."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # unbuffered, Nagle's algorithm and delayed ACKs cost 88 ms each time
    disable_nagle_algorithm = True

    def body(self, limit: int) -> bytes | None:
        """The request's body, or None if it is larger than `limit`; then it is read to its end all the same.

        Raises ValueError if its length makes no sense, ConnectionError if it ends early.
        """
        kept = bytearray()
        too_large = False
        for piece in self._pieces():
            too_large = too_large or len(kept) + len(piece) > limit
            if not too_large:
                kept += piece
        return None if too_large else bytes(kept)

    def _pieces(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline(128).split(b";")[0], 16):
                yield from self._exactly(size)
                self.rfile.readline(8)
            while self.rfile.readline(_PIECE_BYTES).strip():  # trailers
                pass
        else:
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size > 0:
            piece = self.rfile.read(min(size, _PIECE_BYTES))
            if not piece:
                raise ConnectionError("the body ended early")
            size -= len(piece)
            yield piece
