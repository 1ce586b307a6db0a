"""A story that is checked when its test is over: the state is the fold of its frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.collateral_management.tests.story import Story


@pytest.fixture
def story() -> Iterator[Story]:
    """A new ledger."""
    told = Story()
    yield told
    told.verify()
