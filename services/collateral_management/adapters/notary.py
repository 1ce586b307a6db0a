"""Heads of the journal on their topic, signed when there is a key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ballast.events.v1 import notary_pb2
from libs.common.codec import Publisher
from libs.common.errors import ConfigurationError, Fault
from libs.common.signing import HeadSigner, unsigned
from libs.common.topics import NOTARY

_ANSWER_SECONDS_MAX = 5.0


class NotaryTopic:
    """Publishes heads.

    Args:
        signer: None leaves them unsigned.
    """

    def __init__(self, *, bootstrap: str, client_id: str, signer: HeadSigner | None) -> None:
        self._signer = signer
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id)

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        await self._publisher.stop()

    async def publish(self, heads: Sequence[notary_pb2.JournalHead]) -> None:
        """Returns when the broker has them. Raises Fault when it has not."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):  # the producer would retry for ever
                await self._publisher.arrived([await self._enqueue(head) for head in heads])
        except TimeoutError as error:
            raise Fault(f"{NOTARY.name} took no head within {_ANSWER_SECONDS_MAX} s") from error

    async def _enqueue(self, head: notary_pb2.JournalHead) -> asyncio.Future[Any]:
        signed = self._signer.sign(head) if self._signer is not None else unsigned(head)
        return await self._publisher.enqueue(
            NOTARY.name, signed.SerializeToString(), partition=0, key=b"%d" % head.partition
        )


def signer_of(key_file: Path | None, *, trusted: Sequence[bytes]) -> HeadSigner | None:
    """The signer of a key file, None without one.

    Raises:
        ConfigurationError: not an Ed25519 key, or one that the parameters do not trust: nobody would believe it.
    """
    if key_file is None:
        return None
    signer = HeadSigner.from_file(key_file)
    if signer.public_key not in trusted:
        raise ConfigurationError(
            f"BALLAST_NOTARY_KEY_FILE={key_file}: expected a key of ledger.notary_keys, was {signer.public_key.hex()}"
        )
    return signer
