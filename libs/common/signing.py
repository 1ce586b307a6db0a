"""Signed heads of the ledger's journal: what exactly is signed, by whom, and whether it holds (Ed25519, RFC 8032)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from google.protobuf.message import DecodeError

from ballast.events.v1 import notary_pb2
from libs.common.errors import ConfigurationError

_CONTEXT = b"ballast.ledger.head.v1\0"  # a signature made for anything else is none of a head
_KEY_ID_BYTES = 8
_FILE_BYTES_MAX = 16 * 1024


class Standing(Enum):
    """What a signed head is worth."""

    SIGNED = "signed by a trusted key"
    UNSIGNED = "not signed"
    UNKNOWN_KEY = "signed by a key that is not trusted"
    FORGED = "the signature does not match"


def key_id(public_key: bytes) -> bytes:
    """Short name of a public key."""
    return hashlib.sha256(public_key).digest()[:_KEY_ID_BYTES]


class HeadSigner:
    """Signs heads with one private key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key().public_bytes_raw()
        self._key_id = key_id(self.public_key)

    @classmethod
    def from_file(cls, path: Path) -> HeadSigner:
        """The signer of a PEM file (PKCS 8, not encrypted). Raises ConfigurationError."""
        try:
            with path.open("rb") as file:
                found = load_pem_private_key(file.read(_FILE_BYTES_MAX), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(f"{path}: expected a private key in PEM: {error}") from error
        if not isinstance(found, Ed25519PrivateKey):
            raise ConfigurationError(f"{path}: expected an Ed25519 key, was {type(found).__name__}")
        return cls(found)

    def sign(self, head: notary_pb2.JournalHead) -> notary_pb2.SignedHead:
        """The head with its signature."""
        signed = head.SerializeToString(deterministic=True)
        signature = self._private_key.sign(_CONTEXT + signed)
        return notary_pb2.SignedHead(head=signed, key_id=self._key_id, signature=signature)


def unsigned(head: notary_pb2.JournalHead) -> notary_pb2.SignedHead:
    """The head as nobody signed it: it still tells how far a journal had come."""
    return notary_pb2.SignedHead(head=head.SerializeToString(deterministic=True))


def standing(signed: notary_pb2.SignedHead, trusted: Iterable[bytes]) -> Standing:
    """What the head is worth to whoever trusts these public keys (32 bytes each)."""
    if not signed.signature:
        return Standing.UNSIGNED
    named = [each for each in trusted if key_id(each) == signed.key_id]
    for each in named:
        try:
            Ed25519PublicKey.from_public_bytes(each).verify(signed.signature, _CONTEXT + signed.head)
        except (InvalidSignature, ValueError):
            continue
        return Standing.SIGNED
    return Standing.FORGED if named else Standing.UNKNOWN_KEY


def head_of(signed: notary_pb2.SignedHead) -> notary_pb2.JournalHead | None:
    """The head, None when the bytes are none."""
    try:
        return notary_pb2.JournalHead.FromString(signed.head)
    except DecodeError:
        return None


def new_key_file(path: Path) -> bytes:
    """Public key of a new private key that is written to a file which did not exist, for its owner's eyes only.

    Raises: FileExistsError, OSError.
    """
    private_key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return private_key.public_key().public_bytes_raw()
