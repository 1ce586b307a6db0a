"""What of a state has changed since a checkpoint was begun."""

from __future__ import annotations

from dataclasses import dataclass, field

CHUNK_BITS = 8  # outcomes of a session are saved together while their numbers share all but these bits


@dataclass(slots=True)
class Changes:
    """Names of what is to be saved again, in the order it changed; what is no longer there is to be removed.

    Args:
        accounts: whose attributes or lines.
        items: keys of the fingerprint's items, and negative ones of what outlives them.
        sessions: (principal, session) -> chunks of outcomes.
        client_keys: (principal, key).
        funding: instruments.
    """

    accounts: dict[int, None] = field(default_factory=dict)
    items: dict[tuple[int, ...], None] = field(default_factory=dict)
    sessions: dict[tuple[str, bytes], set[int]] = field(default_factory=dict)
    client_keys: dict[tuple[str, str], None] = field(default_factory=dict)
    funding: dict[int, None] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of items that saving writes, at least."""
        few = len(self.accounts) + len(self.items) + len(self.client_keys) + len(self.funding)
        return few + sum(1 + len(chunks) for chunks in self.sessions.values())
