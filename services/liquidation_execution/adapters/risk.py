"""RiskService behind RiskPort."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from ballast.api.v1 import risk_pb2_grpc
from libs.common import rpc
from libs.common.errors import Fault
from libs.common.ids import AccountId
from libs.common.service import Condition
from libs.common.trace import TRACEPARENT
from services.liquidation_execution.adapters.tracing import EpisodeTraces
from services.liquidation_execution.adapters.wire import answer_of, evaluate_request
from services.liquidation_execution.app.ports import Answer
from services.liquidation_execution.domain.slices import Candidate
from services.liquidation_execution.errors import RiskBehind

_DEADLINE_SECONDS = 1.0
_ATTEMPTS = 4
_BACK_OFF_SECONDS = 0.02
_WATCH_SECONDS = 0.5
# It restarts, hands a partition over, or its book is behind: it will answer later.
_PASSING = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.NOT_FOUND,
    )
)


class RiskClient:
    """Asks risk, with a deadline a call and a bound on attempts."""

    def __init__(self, target: str, *, principal_id: str, traces: EpisodeTraces) -> None:
        self._traces = traces
        self._channel = rpc.channel(target)
        self._stub = risk_pb2_grpc.RiskServiceStub(self._channel)
        self._metadata: tuple[tuple[str, str], ...] = ((rpc.PRINCIPAL_KEY, principal_id),)
        self._target = target

    async def evaluate(
        self, *, account: AccountId, at_least: int, candidates: Sequence[Candidate], without_orders: bool
    ) -> Answer:
        """Margins now and after each candidate.

        Raises:
            RiskBehind: it did not answer after a few attempts.
            Fault: it refuses the question.
        """
        request = evaluate_request(account, at_least, candidates, without_orders=without_orders)
        metadata = self._metadata
        if self._traces.on and (cause := self._traces.asked(account)) is not None:
            metadata = (*metadata, (TRACEPARENT, cause))
        for attempt in range(_ATTEMPTS):
            try:
                response = await self._stub.Evaluate(request, timeout=_DEADLINE_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise Fault(f"risk refused a question: {error.code().name} {error.details()}") from error
                if attempt == _ATTEMPTS - 1:
                    raise RiskBehind(f"{self._target}: {error.code().name} {error.details()}") from error
                await asyncio.sleep(_BACK_OFF_SECONDS * 2**attempt)
            else:
                return answer_of(response, count=len(candidates))
        raise RiskBehind(self._target)

    async def watch(self, condition: Condition, stopping: asyncio.Event) -> None:
        """Keeps the condition true while risk is connected."""
        while not stopping.is_set():
            state = self._channel.get_state(try_to_connect=True)
            condition.set(state is grpc.ChannelConnectivity.READY, f"risk at {self._target} is {state.name.lower()}")
            try:
                async with asyncio.timeout(_WATCH_SECONDS):
                    await self._channel.wait_for_state_change(state)
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Returns when the channel is closed."""
        await self._channel.close()
