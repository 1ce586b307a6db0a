"""A frame on its way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.common.chain.draft import Drafted
from libs.common.chain.rule import AcceptedFrame


@dataclass(slots=True)
class Flight:
    """Done when the broker has acknowledged it and its writer has read it back accepted."""

    drafted: Drafted
    done: asyncio.Future[AcceptedFrame]
    is_acknowledged: bool = False
    accepted: AcceptedFrame | None = None

    @property
    def is_done(self) -> bool:
        """Whether both have happened."""
        return self.is_acknowledged and self.accepted is not None
