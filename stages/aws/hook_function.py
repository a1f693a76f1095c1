import re
from typing import Any

PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Refuse a function whose image is named by a tag: another image can have that name by the time it is pulled."""
    answer = {"clientRequestToken": event.get("clientRequestToken", "")}
    try:
        properties = event["requestData"]["targetModel"]["resourceProperties"]
        uri = properties.get("Code", {}).get("ImageUri")
        image = uri is not None or properties.get("PackageType") == "Image"
        if image and not PINNED.fullmatch(str(uri)):
            message = f"Code.ImageUri is {uri}, which is not pinned by digest (...@sha256:...)"
            return {**answer, "hookStatus": "FAILED", "errorCode": "NonCompliant", "message": message}
    except (KeyError, TypeError, AttributeError) as error:
        message = f"this function cannot be looked at: {error!r}"
        return {**answer, "hookStatus": "FAILED", "errorCode": "InternalFailure", "message": message}
    return {**answer, "hookStatus": "SUCCESS", "message": "its image is pinned by digest, or it has none"}
