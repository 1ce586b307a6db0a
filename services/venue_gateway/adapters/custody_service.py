"""CustodyService over gRPC: what is asked of client money is decided in app."""

from __future__ import annotations

from typing import Any

from ballast.api.v1 import custody_pb2 as api
from ballast.api.v1 import custody_pb2_grpc
from services.venue_gateway.adapters.client_service import ClientService, Context
from services.venue_gateway.app.custody_requests import CUSTODY_REQUESTS
from services.venue_gateway.app.custody_view import custody_response


class CustodyService(custody_pb2_grpc.CustodyServiceServicer):
    """Client money at the edge. `RESPONSES` says which message carries the outcome of which command.

    Args:
        edge: answers calls as it does for client commands.
    """

    RESPONSES: dict[str, Any] = {  # noqa: RUF012 - a table is a plain dict
        "set_custody_terms": api.SetCustodyTermsResponse,
        "recall_lent": api.RecallLentResponse,
        "sweep_lendable": api.SweepLendableResponse,
        "move_location": api.MoveLocationResponse,
        "impair_venue": api.ImpairVenueResponse,
        "set_gate": api.SetGateResponse,
    }

    def __init__(self, edge: ClientService) -> None:
        self._edge = edge

    async def SetCustodyTerms(self, request: api.SetCustodyTermsRequest, context: Context) -> Any:
        """Answers when the terms are journalled."""
        return await self._command("set_custody_terms", request, context)

    async def RecallLent(self, request: api.RecallLentRequest, context: Context) -> Any:
        """Answers when what the pool has is back."""
        return await self._command("recall_lent", request, context)

    async def SweepLendable(self, request: api.SweepLendableRequest, context: Context) -> Any:
        """Answers when the loan is journalled."""
        return await self._command("sweep_lendable", request, context)

    async def MoveLocation(self, request: api.MoveLocationRequest, context: Context) -> Any:
        """Answers when the movement is journalled: then the assets may move."""
        return await self._command("move_location", request, context)

    async def ImpairVenue(self, request: api.ImpairVenueRequest, context: Context) -> Any:
        """Answers when the loss is allocated, or as much of it as one command takes."""
        return await self._command("impair_venue", request, context)

    async def SetGate(self, request: api.SetGateRequest, context: Context) -> Any:
        """Answers when the gate has moved."""
        return await self._command("set_gate", request, context)

    async def GetCustody(self, request: api.GetCustodyRequest, context: Context) -> Any:
        """Answers from accepted frames, at the asked sequence or at the tail of the moment."""
        view, directory = await self._edge.reached(request.account, request.at_least, context)
        return custody_response(view, directory, request.account)

    async def _command(self, name: str, request: Any, context: Context) -> Any:
        outcome = await self._edge.outcome(name, request, context, CUSTODY_REQUESTS)
        return self.RESPONSES[name](outcome=outcome)
