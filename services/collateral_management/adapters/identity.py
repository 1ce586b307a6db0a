"""What a claim on the journal says of the commands that feed it."""

from __future__ import annotations

import hashlib

from aiokafka.admin import AIOKafkaAdminClient

from libs.common.topics import COMMANDS


async def input_identity(bootstrap: str) -> bytes:
    """16 bytes that name the cluster's commands topic, as far as aiokafka tells (it speaks no topic ids)."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="collateral_management-identity")
    await admin.start()
    try:
        described = await admin.describe_cluster()
    finally:
        await admin.close()
    return hashlib.sha256(f"{described['cluster_id']}/{COMMANDS.name}".encode()).digest()[:16]
