"""The one place that knows pyyaml-include: its `!include`, confined to the project directory.

pyyaml-include takes URLs, wildcards, parameters and any path, and its `base_dir` confines nothing. So it is given a file
system of ours, which opens plain names below the project and nothing else, and only after the name was looked at. Why it
is used at all, and what its licence means: docs/adr/0006-includes-and-gpl.md.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.beneath import Refused, plain_name

if TYPE_CHECKING:
    from collections.abc import Callable

TAG = "!include"


class _Files:
    """All that pyyaml-include asks of a file system: to open a name."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read

    def open(self, name: str) -> io.BytesIO:
        return io.BytesIO(self._read(plain_name(name)))


def include(node: yaml.Node, loader: Any, *, read: Callable[[str], bytes], build: Callable[[str, bytes], Any]) -> Any:
    """Give what `build(name, bytes)` makes of the file that an `!include` node names.

    `loader` is a PyYAML loader; `read` gives a name's bytes, or raises. Raises Refused if the name is not plain.
    """
    if not isinstance(node, yaml.ScalarNode):
        raise Refused("!include takes one file name and no parameters", "Write: !include pipeline.d/environments.yaml")
    plain_name(node.value)
    import yaml_include

    def load(name: str, file: Any, _loader: Any) -> Any:
        return build(name, file.read())

    files: Any = _Files(read)  # the type asks for a whole fsspec file system, the code calls `open` alone
    return yaml_include.Constructor(fs=files, custom_loader=load)(loader, node)
