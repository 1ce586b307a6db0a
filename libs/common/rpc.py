"""gRPC: servers and channels with every option stated, the principal of a call, and refusals as statuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import grpc

from ballast.types.v1 import ledger_pb2
from libs.common.errors import ConfigurationError
from libs.common.trace import TRACEPARENT, Trace, traceparent

PRINCIPAL_KEY = "ballast-principal"
REFUSAL_KEY = "ballast-refusal"
COMMAND_BYTES_MAX = 64 * 1024  # one unary command at the edge
STREAM_BYTES_MAX = 1024 * 1024  # one message of a stream at the edge
INTERNAL_BYTES_MAX = 8 * 1024 * 1024
PRINCIPAL_LENGTH_MAX = 64

_KEEPALIVE_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 5_000

_STATUS = grpc.StatusCode
_BY_REFUSAL: dict[int, grpc.StatusCode] = {
    ledger_pb2.REFUSAL_KEY_EXPIRED: _STATUS.FAILED_PRECONDITION,
    ledger_pb2.REFUSAL_KEY_REUSED: _STATUS.ALREADY_EXISTS,
    ledger_pb2.REFUSAL_TOO_MANY_KEYS: _STATUS.RESOURCE_EXHAUSTED,
    ledger_pb2.REFUSAL_UNKNOWN_COMMAND: _STATUS.INVALID_ARGUMENT,
    ledger_pb2.REFUSAL_NOT_AUTHORISED: _STATUS.PERMISSION_DENIED,
    ledger_pb2.REFUSAL_INTERNAL: _STATUS.INTERNAL,
    ledger_pb2.REFUSAL_TOO_LARGE: _STATUS.RESOURCE_EXHAUSTED,
    ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_UNKNOWN_ASSET: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_UNKNOWN_INSTRUMENT: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_UNKNOWN_VENUE: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE: _STATUS.INVALID_ARGUMENT,
    ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE: _STATUS.INVALID_ARGUMENT,
    ledger_pb2.REFUSAL_UNKNOWN_ORDER: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_UNKNOWN_RESERVATION: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_UNKNOWN_EPISODE: _STATUS.NOT_FOUND,
    ledger_pb2.REFUSAL_TOO_MANY_ORDERS: _STATUS.RESOURCE_EXHAUSTED,
    ledger_pb2.REFUSAL_TOO_MANY_ACCOUNTS: _STATUS.RESOURCE_EXHAUSTED,
    ledger_pb2.REFUSAL_MARKS_SILENT: _STATUS.UNAVAILABLE,
}


def _options(*, receive_bytes_max: int, send_bytes_max: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", receive_bytes_max),
        ("grpc.max_send_message_length", send_bytes_max),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def server(
    *,
    receive_bytes_max: int = INTERNAL_BYTES_MAX,
    streams_max: int = 1_024,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> grpc.aio.Server:
    """A server without services or port yet; `bind` gives it a port.

    Args:
        receive_bytes_max: largest message taken; larger ones end with RESOURCE_EXHAUSTED.
        streams_max: calls at once on one connection.
    """
    options = _options(receive_bytes_max=receive_bytes_max, send_bytes_max=INTERNAL_BYTES_MAX)
    options += [("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", streams_max)]
    return grpc.aio.server(interceptors=interceptors, options=options)


def bind(aio_server: grpc.aio.Server, *, host: str, port: int) -> int:
    """The port the server listens on, chosen by the system when `port` is 0.

    Raises:
        ConfigurationError: the port is taken.
    """
    try:
        bound = aio_server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise ConfigurationError(f"grpc_port: expected a free port on {host}, was {port}: {error}") from error
    if bound == 0:
        raise ConfigurationError(f"grpc_port: expected a free port on {host}, was {port}")
    return bound


def channel(target: str) -> grpc.aio.Channel:
    """A channel to `host:port` that reconnects within a second."""
    options = _options(receive_bytes_max=INTERNAL_BYTES_MAX, send_bytes_max=INTERNAL_BYTES_MAX)
    options += [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.enable_http_proxy", 0),
    ]
    return grpc.aio.insecure_channel(target, options=options)


def principal_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Name of the principal in the call's metadata, empty when it is absent, impossible or given twice.

    A proxy that adds the name it has authenticated behind one that the caller sent must not let the caller choose.
    """
    named = [value for key, value in context.invocation_metadata() or () if key == PRINCIPAL_KEY]
    if len(named) != 1:
        return ""
    name = named[0] if isinstance(named[0], str) else named[0].decode("ascii", "replace")
    return name if 0 < len(name) <= PRINCIPAL_LENGTH_MAX and name.isprintable() else ""


async def require_principal(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Name of the principal; ends the call with UNAUTHENTICATED when there is none."""
    name = principal_of(context)
    if not name:
        await context.abort(_STATUS.UNAUTHENTICATED, f"expected metadata {PRINCIPAL_KEY} of 1 to 64 characters")
    return name


def status_of(refusal: int) -> grpc.StatusCode:
    """The gRPC status that carries a refusal; FAILED_PRECONDITION for those that depend on state."""
    return _BY_REFUSAL.get(refusal, _STATUS.FAILED_PRECONDITION)


def caller(context: grpc.aio.ServicerContext[Any, Any]) -> Trace | None:
    """The span that the call is made for, None when the metadata names none."""
    for key, value in context.invocation_metadata() or ():
        if key == TRACEPARENT and isinstance(value, str):
            return traceparent(value)
    return None


async def abort_refusal(context: grpc.aio.ServicerContext[Any, Any], refusal: int, detail: str) -> NoReturn:
    """Ends the call with the refusal's status; its name goes into the trailing metadata `ballast-refusal`."""
    name = ledger_pb2.Refusal.Name(ledger_pb2.Refusal.ValueType(refusal))
    await context.abort(status_of(refusal), f"{name}: {detail}", ((REFUSAL_KEY, name),))
    raise AssertionError("abort returned")  # grpc's stub says it may
