"""A Lambda function that does as its event says: what the tests of the runtime and of the embedded AWS run."""

import json
import os
import resource
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

_state = {"counted": 0}


def handler(event: Any, context: Any) -> Any:
    print("handling", flush=True)
    return globals()[event.get("do", "hello")](event, context)


def hello(event: Any, _context: Any) -> Any:
    body = json.dumps({"message": "hello", "path": event.get("path")})
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}


def count(_event: Any, _context: Any) -> Any:
    _state["counted"] += 1
    return _state["counted"]


def fail(_event: Any, _context: Any) -> Any:
    raise ValueError("no good")


def sleep(event: Any, _context: Any) -> Any:
    time.sleep(event["seconds"])


def leave(_event: Any, _context: Any) -> Any:
    os._exit(7)


def eat(_event: Any, _context: Any) -> Any:
    return len(bytearray(os.urandom(1) * 400 * 1024 * 1024))


def large(event: Any, _context: Any) -> Any:
    return "x" * event["bytes"]


def write(event: Any, _context: Any) -> Any:
    Path(event["path"]).write_text("x")


def look(_event: Any, context: Any) -> Any:
    effective = Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
    return {
        "uid": os.getuid(),
        "capabilities": int(effective, 16),
        "arn": context.invoked_function_arn,
        "left_ms": context.get_remaining_time_in_millis(),
        "memory_mb": context.memory_limit_in_mb,
        "request_id": context.aws_request_id,
        "log": [context.log_group_name, context.log_stream_name],
        "version": context.function_version,
        "custom": context.client_context and context.client_context.custom,
        "environment": dict(os.environ),
    }


def probe(_event: Any, _context: Any) -> Any:
    """What of the machine it may use."""
    usage = os.statvfs("/tmp")  # noqa: S108 - Lambda's one place to write
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    return {
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "shared_memory": Path("/dev/shm").exists(),  # noqa: S108 - as above
        "storage_mb": usage.f_blocks * usage.f_frsize // 2**20,
        "kept": sorted(path.name for path in Path("/tmp").iterdir()),  # noqa: S108 - as above
        "folder": str(Path.cwd()),
    }


def listen(event: Any, context: Any) -> Any:
    """Answer one connection, as a debugger would."""
    with socket.create_server(("0.0.0.0", event["port"])) as server:  # noqa: S104 - within a container
        connection, _ = server.accept()
        connection.sendall(b"hello")
    return context.get_remaining_time_in_millis()


def call(event: Any, _context: Any) -> Any:
    """Call AWS, as an SDK would: a signature nobody checks, and the endpoint from the environment."""
    key = os.environ["AWS_ACCESS_KEY_ID"]
    scope = f"{key}/20260101/{os.environ['AWS_REGION']}/s3/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    url = os.environ["AWS_ENDPOINT_URL"] + event["path"]
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the tests' own
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - as above
        return response.read().decode()
