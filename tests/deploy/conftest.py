"""Rendered once: overlays as the cluster would get them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tools.manifests.render import OVERLAYS, Object, overlay

Overlays = Callable[[str], list[Object]]


@pytest.fixture(scope="session")
def overlays() -> Overlays:
    """Gives the objects of an overlay, each time a copy of their own."""
    rendered = {name: overlay(name) for name in OVERLAYS}
    return lambda name: copy.deepcopy(rendered[name])
