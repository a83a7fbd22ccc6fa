"""What the tests of the compression package share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tiny_models import plain_machine


@pytest.fixture(autouse=True)
def on_a_plain_machine() -> Iterator[None]:
    with plain_machine():
        yield
