from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from pipeline.cli.local import _terminated
from pipeline.errors import Interrupted, TowpathError


def test_who_bears_with_errors_does_not_bear_with_being_asked_to_end() -> None:
    with pytest.raises(Interrupted) as ended, _terminated(), suppress(TowpathError):
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
