"""GitHub's token endpoint for tests: a small server that gives a job's token for who knows the job's own, as GitHub does."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

ISSUER = "https://token.actions.githubusercontent.com"
BEARER = "the-job-s-own-bearer-token"


def token(**claims: str) -> str:
    """A token in the form of a JWT. Nobody here verifies its signature."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    coded = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts]
    return ".".join([*coded, "c2lnbmF0dXJl"])


@dataclass
class Endpoint:
    """Where a job asks for its token; `answers` are statuses to give first, `asked` the audiences that were asked for."""

    subject: str
    url: str = ""
    answers: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        return {"ACTIONS_ID_TOKEN_REQUEST_URL": self.url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER}


@contextmanager
def github(subject: str) -> Iterator[Endpoint]:
    """Run it for a job of which the token says this subject."""
    endpoint = Endpoint(subject)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            status = endpoint.answers.pop(0) if endpoint.answers else 200
            if self.headers.get("Authorization") != f"bearer {BEARER}" or query.get("api-version") != ["2.0"]:
                status = 401
            audience = query.get("audience", [""])[0]
            endpoint.asked.append(audience)
            value = token(iss=ISSUER, sub=endpoint.subject, aud=audience)
            body = json.dumps({"count": len(value), "value": value} if status == 200 else {"message": "no"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
