"""Signed heads: what is changed after signing, signed by another or for another purpose, is not believed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ballast.events.v1 import notary_pb2
from libs.common.errors import ConfigurationError
from libs.common.signing import HeadSigner, Standing, head_of, key_id, new_key_file, standing, unsigned

OURS = HeadSigner(Ed25519PrivateKey.from_private_bytes(b"1" * 32))
OTHER = HeadSigner(Ed25519PrivateKey.from_private_bytes(b"2" * 32))
HEAD = notary_pb2.JournalHead(partition=3, epoch=2, sequence=41, offset=57, hash=b"h" * 32, fingerprint=b"f" * 16)


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


@pytest.mark.parametrize(
    ("signed", "trusted", "wanted"),
    [
        (OURS.sign(HEAD),   [OURS.public_key],                   Standing.SIGNED),
        (OURS.sign(HEAD),   [OTHER.public_key, OURS.public_key], Standing.SIGNED),
        (OURS.sign(HEAD),   [OTHER.public_key],                  Standing.UNKNOWN_KEY),
        (OURS.sign(HEAD),   [],                                  Standing.UNKNOWN_KEY),
        (unsigned(HEAD),    [OURS.public_key],                   Standing.UNSIGNED),
    ],
)  # fmt: skip
def test_a_head_is_worth_what_its_signature_is(
    signed: notary_pb2.SignedHead, trusted: list[bytes], wanted: Standing
) -> None:
    assert standing(signed, trusted) is wanted
    assert head_of(signed) == HEAD


def test_no_bit_of_a_signed_head_can_be_changed() -> None:
    signed = OURS.sign(HEAD)
    for at in range(len(signed.head)):
        forged = notary_pb2.SignedHead(head=flipped(signed.head, at), key_id=signed.key_id, signature=signed.signature)
        assert standing(forged, [OURS.public_key]) is Standing.FORGED
    for at in range(len(signed.signature)):
        signature = flipped(signed.signature, at)
        forged = notary_pb2.SignedHead(head=signed.head, key_id=signed.key_id, signature=signature)
        assert standing(forged, [OURS.public_key]) is Standing.FORGED


def test_another_key_under_our_name_is_forged() -> None:
    forged = OTHER.sign(HEAD)
    forged.key_id = key_id(OURS.public_key)
    assert standing(forged, [OURS.public_key]) is Standing.FORGED


def test_a_signature_for_another_purpose_signs_no_head() -> None:
    plain = Ed25519PrivateKey.from_private_bytes(b"1" * 32).sign(HEAD.SerializeToString(deterministic=True))
    forged = notary_pb2.SignedHead(head=OURS.sign(HEAD).head, key_id=key_id(OURS.public_key), signature=plain)
    assert standing(forged, [OURS.public_key]) is Standing.FORGED


def test_a_key_file_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    public_key = new_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert HeadSigner.from_file(path).public_key == public_key
    with pytest.raises(FileExistsError):
        new_key_file(path)


def test_what_is_no_ed25519_key_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    for content, said in (
        (b"", "private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key in PEM"),
        (other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "Ed25519"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=said) as refused:
            HeadSigner.from_file(path)
        assert str(path) in str(refused.value)
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        HeadSigner.from_file(tmp_path / "missing.pem")
