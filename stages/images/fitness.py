"""What Lambda takes as an image, https://docs.aws.amazon.com/lambda/latest/dg/images-create.html and gettingstarted-limits.html. Pure."""

from __future__ import annotations

from stages.limits import LIMITS


def unfit(platform: str, size_bytes: int, wanted: str) -> tuple[str, str] | None:
    """Why Lambda would refuse an image for a function of the platform `wanted`, and what to do; None if it takes it."""
    if platform != wanted:
        return (
            f"the template asks for {wanted}, but the image is for {platform}",
            "Use an image for that platform, or correct Architectures of the function.",
        )
    if size_bytes > LIMITS.lambda_image_bytes:
        return (
            f"the image has {size_bytes:,} bytes, and Lambda takes at most {LIMITS.lambda_image_bytes:,}, uncompressed",
            "Leave out what the function does not need: build in stages, and copy the result into a small base image.",
        )
    return None
