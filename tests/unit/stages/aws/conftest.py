from __future__ import annotations

import pytest

from stages.aws.session import Session, _boto
from stages.contract import Access, Target


@pytest.fixture
def session() -> Session:
    """Clients whose calls are stubbed: nothing answers at the endpoint."""
    target, access = Target("e", "123456789012", "eu-west-1", embedded=True), Access(endpoint_url="http://127.0.0.1:9")
    return Session(target, access, _boto(target, access))
