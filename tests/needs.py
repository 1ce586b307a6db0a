"""What a test does without a tool that not every machine has: it is skipped, but fails where CI=true."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def without_prometheus() -> NoReturn:
    """Ends the test: prometheus or promtool was not found."""
    message = "prometheus is needed and was not found (Debian, Ubuntu: apt-get install prometheus)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
