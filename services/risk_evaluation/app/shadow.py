"""Shadow margins: a second parameter set evaluated beside the one in force, its differences published."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from ballast.events.v1 import risk_pb2
from libs.common.config import LoadedParameters
from libs.common.errors import InvariantBroken
from libs.common.parameters import Parameters
from services.risk_evaluation.app.dry_run import cut_of, fitting_model
from services.risk_evaluation.app.risk import Risk
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.side_by_side import Compared, Cut, Side, compare, most_telling
from services.risk_evaluation.domain.volatility import Sigmas

ROWS_MAX = 256  # of a frame

_LOG = logging.getLogger("ballast.risk")

Publish = Callable[[risk_pb2.ShadowFrame], Awaitable[None]]
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[Any]]


class Shadow:
    """Looks at every Nth marks frame that was judged; one still at work when the next is due lets that pass.

    Nothing is decided on a shadow: it begins once production's margins are out, and what goes wrong in it is logged.

    Args:
        loaded: the shadow set. live, parameters: what is judged by.
        every: N. publish: where frames go. spawn: runs a comparison beside the worker's turn.

    Raises: ConfigurationError where the book cannot be read under the shadow set.
    """

    def __init__(
        self,
        loaded: LoadedParameters,
        *,
        live: Model,
        parameters: Parameters,
        every: int,
        publish: Publish,
        spawn: Spawn,
    ) -> None:
        self._levels: Mapping[int, Sigmas] = {}
        self._fit = partial(fitting_model, loaded, live=live, parameters=parameters)
        self._model = self._fit(levels=self._levels)
        self._hash = loaded.hash
        self._every = every
        self._publish = publish
        self._spawn = spawn
        self._seen = 0
        self._task: asyncio.Task[Any] | None = None

    def after_marks(self, risk: Risk) -> None:
        """A marks frame was judged."""
        self._seen += 1
        if (self._seen - 1) % self._every or (self._task is not None and not self._task.done()):
            return
        if risk.market.levels != self._levels:
            self._levels = risk.market.levels
            self._model = self._fit(levels=self._levels)
        live, other = (
            Side(risk.model, risk.market.prices),
            Side(self._model, risk.market.prices_under(self._model)),
        )
        cuts: list[tuple[risk_pb2.ShadowFrame, Cut]] = []
        for number in sorted(risk.live):
            one = risk.partitions[number]
            frame = risk_pb2.ShadowFrame(
                partition=number,
                journal_sequence=one.fold.sequence,
                mark_sequence=risk.market.sequence,
                control_sequence=risk.control.sequence,
                run_time_ns=risk.market.run_time_ns,
                parameters_hash=risk.control.active_hash,
                shadow_hash=self._hash,
            )
            cuts.append((frame, cut_of(one, live, other)))
        self._task = self._spawn(self._run(cuts), "shadow")

    async def _run(self, cuts: list[tuple[risk_pb2.ShadowFrame, Cut]]) -> None:
        for frame, one in cuts:
            try:
                compared = await asyncio.to_thread(compare, one)
            except InvariantBroken as error:
                _LOG.warning("shadow margins not evaluated", extra={"partition": frame.partition, "error": str(error)})
                continue
            _fill(frame, compared)
            await self._publish(frame)


def _fill(frame: risk_pb2.ShadowFrame, one: Compared) -> None:
    frame.accounts, frame.differing = len(one.accounts), int(one.differs.sum())
    frame.initial_margin_sum = int(one.now.initial_margin.sum())
    frame.maintenance_margin_sum = int(one.now.maintenance_margin.sum())
    frame.shadow_initial_margin_sum = int(one.then.initial_margin.sum())
    frame.shadow_maintenance_margin_sum = int(one.then.maintenance_margin.sum())
    frame.accounts_by_states.extend(one.counts.reshape(-1).tolist())
    rows = most_telling(one, ROWS_MAX)
    frame.account.extend(one.accounts[rows].tolist())
    frame.equity.extend(one.now.equity[rows].tolist())
    frame.initial_margin.extend(one.now.initial_margin[rows].tolist())
    frame.maintenance_margin.extend(one.now.maintenance_margin[rows].tolist())
    frame.state = one.now.state[rows].tobytes()
    frame.shadow_equity.extend(one.then.equity[rows].tolist())
    frame.shadow_initial_margin.extend(one.then.initial_margin[rows].tolist())
    frame.shadow_maintenance_margin.extend(one.then.maintenance_margin[rows].tolist())
    frame.shadow_state = one.then.state[rows].tobytes()
