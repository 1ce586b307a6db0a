"""Serves RiskService: translates questions and refusals, decides nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from ballast.api.v1 import outlook_pb2, risk_pb2, risk_pb2_grpc
from ballast.types.v1 import ledger_pb2
from libs.common.errors import ConfigurationError
from libs.common.ids import partition_of
from libs.common.rpc import abort_refusal, caller
from libs.common.trace import Tracer
from services.risk_evaluation.app import outlook
from services.risk_evaluation.app.contagion import Contagions
from services.risk_evaluation.app.dry_run import DryRuns
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.app.questions import Refused, explain, what_if
from services.risk_evaluation.app.risk import Behind, Risk
from services.risk_evaluation.domain.whatif import OutOfRange

WAIT_SECONDS_MAX = 10.0
_ANSWER_SECONDS = 0.05  # left of the caller's deadline to answer in

Context = grpc.aio.ServicerContext[Any, Any]


class RiskApi(risk_pb2_grpc.RiskServiceServicer):
    """Answers from the live book."""

    def __init__(self, risk: Risk, dry_runs: DryRuns, contagions: Contagions, tracer: Tracer) -> None:
        self._contagions = contagions
        self._one_outlook_at_a_time = asyncio.Lock()
        self._tracer = tracer
        self._risk = risk
        self._dry_runs = dry_runs

    async def Explain(self, request: risk_pb2.ExplainRequest, context: Context) -> risk_pb2.ExplainResponse:
        """The margin of one account now, explained."""
        partition = await self._partition(request.account, request.at_least, context)
        try:
            return explain(self._risk.model, partition, self._risk.market, self._risk.control, request.account)
        except Refused as refused:
            await abort_refusal(context, refused.refusal, str(refused))

    async def Evaluate(self, request: risk_pb2.EvaluateRequest, context: Context) -> risk_pb2.EvaluateResponse:
        """Margins under hypothetical changes."""
        if self._tracer.on and (cause := caller(context)) is not None:
            self._tracer.work_for(self._tracer.follow("evaluate", cause, cause.span_id, start_ns=time.time_ns()))
        partition = await self._partition(request.account, request.at_least, context)
        try:
            return what_if(self._risk.model, partition, self._risk.market, self._risk.control, request)
        except Refused as refused:
            await abort_refusal(context, refused.refusal, str(refused))
        except OutOfRange as error:
            await abort_refusal(context, ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, str(error))

    async def DryRun(self, request: risk_pb2.DryRunRequest, context: Context) -> risk_pb2.DryRunResponse:
        """What another parameter set would do to the live book."""
        try:
            return await self._dry_runs.answer(request)
        except ConfigurationError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Behind as behind:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Behind: {behind}")
        raise AssertionError("abort returned")  # grpc's stub says it may

    async def Outlook(self, request: outlook_pb2.OutlookRequest, context: Context) -> outlook_pb2.OutlookResponse:
        """What moves one account, what it may lose, and how likely it defaults."""
        partition = await self._partition(request.account, request.at_least, context)
        try:
            async with self._one_outlook_at_a_time:
                asked = outlook.ask(self._risk.model, partition, self._risk.market, self._risk.control, request)
                return await asyncio.to_thread(outlook.answered, asked)
        except Refused as refused:
            await abort_refusal(context, refused.refusal, str(refused))

    async def Contagion(self, request: outlook_pb2.ContagionRequest, context: Context) -> outlook_pb2.ContagionResponse:
        """If a venue or an asset fails: who cannot pay."""
        try:
            return await self._contagions.answer(request)
        except Refused as refused:
            await abort_refusal(context, refused.refusal, str(refused))
        except Behind as behind:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Behind: {behind}")
        raise AssertionError("abort returned")  # grpc's stub says it may

    async def _partition(self, account: int, at_least: int, context: Context) -> PartitionRisk:
        wait = _wait_seconds(context.time_remaining())
        try:
            async with asyncio.timeout(wait):
                return await self._risk.at_least(partition_of(account), at_least)
        except TimeoutError:
            detail = f"partition {partition_of(account)} did not reach sequence {at_least} in {wait:.2f} s"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"Behind: {detail}")
        except Behind as behind:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Behind: {behind}")
        raise AssertionError("abort returned")  # grpc's stub says it may


def _wait_seconds(left: float | None) -> float:
    return WAIT_SECONDS_MAX if left is None else min(WAIT_SECONDS_MAX, max(0.0, left - _ANSWER_SECONDS))
