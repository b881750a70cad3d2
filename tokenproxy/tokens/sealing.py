"""Records sealed with AES-256-GCM, so that whoever can read a store cannot read its tokens.

    tokenproxy-sealed:1:0a1b2c3d:BASE64.

This is a version, the first hex digits of the SHA-256 of the key, and a nonce with what was
sealed (RFC 5116 5.2); the full stop tells a whole record from one that was cut off. What stands
before the base64, and the credential's key in the store, are authenticated too: a sealed record
that is moved to another credential does not open there. That an older record of the same
credential was put back is not noticed.

| in the store                           | is                                               |
|----------------------------------------|--------------------------------------------------|
| sealed with one of our keys            | opened; the next save seals it with the first    |
| sealed with another key                | StoreError: the key is missing, the record whole |
| sealed, but altered or moved           | StoreError: somebody has been at it              |
| sealed by a later version              | StoreError: that version can still open it       |
| sealed and cut off, or no record       | Unreadable: nothing is lost by setting it aside  |
| not sealed                             | read where that is allowed, else StoreError      |
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tokenproxy.errors import StoreError
from tokenproxy.tokens import codec
from tokenproxy.tokens.codec import SEALED, Codec, Unreadable
from tokenproxy.tokens.token import Record

NONCE = 12  # bytes; drawn at random, one key seals 2**32 records before two are likely to meet
TAG = 16  # bytes
KEY_ID = 8  # hex digits: told apart, not guarded
FORM = re.compile(rb"(?P<head>%b1:(?P<key_id>[0-9a-f]{8}):)(?P<base64>[A-Za-z0-9+/]+=*)\." % SEALED)
LATER = re.compile(rb"%b(?!1:)[0-9]+:" % SEALED)


class Sealer:
    """Keys of 32 bytes each: the first seals, all open.

    `reads_plain` says whether records that nothing has sealed are taken as they are.
    """

    def __init__(self, keys: Sequence[bytes], *, reads_plain: bool) -> None:
        self._keys = [(_key_id(key), AESGCM(key)) for key in keys]
        self._reads_plain = reads_plain

    def codec(self, record_key: str) -> Codec:
        """The codec of that record, and of no other."""
        return _SealedCodec(record_key, self._keys, reads_plain=self._reads_plain)


class _SealedCodec:
    """How the record of one key is sealed and opened."""

    def __init__(
        self, record_key: str, keys: Sequence[tuple[bytes, AESGCM]], *, reads_plain: bool
    ) -> None:
        self._record_key = record_key
        self._keys = keys
        self._reads_plain = reads_plain

    def encode(self, record: Record) -> bytes:
        """The record, sealed with the first key."""
        key_id, key = self._keys[0]
        head = b"%b1:%b:" % (SEALED, key_id)
        nonce = os.urandom(NONCE)
        sealed = key.encrypt(nonce, codec.encode(record), self._authenticated(head))
        return head + base64.b64encode(nonce + sealed) + b".\n"

    def decode(self, content: bytes) -> Record:
        """The record in `content`. Raises Unreadable, StoreError: see the table above."""
        if not codec.is_sealed(content):
            return self._not_sealed(content)
        text = content.strip()
        if LATER.match(text):
            raise self._error(
                "was sealed by a later version of tokenproxy: run that version, or remove the "
                "record to begin anew"
            )
        form = FORM.fullmatch(text)
        if form is None:
            raise Unreadable("a sealed record that was cut off")
        return codec.decode(self._open(form["head"], form["key_id"], _payload(form["base64"])))

    def _open(self, head: bytes, key_id: bytes, payload: bytes) -> bytes:
        keys = [key for known_id, key in self._keys if known_id == key_id]
        if not keys:
            raise self._error(
                f"is sealed with another encryption_key ({key_id.decode()}): put the key that it "
                "was sealed with back into the list in the config's 'store', or remove the record "
                "to begin anew"
            )
        for key in keys:
            try:
                return key.decrypt(payload[:NONCE], payload[NONCE:], self._authenticated(head))
            except InvalidTag:
                continue
        raise self._error(
            "does not open with the key that it was sealed with: it was altered, or moved here "
            "from another credential; put it back as it was, or remove it to begin anew"
        )

    def _not_sealed(self, content: bytes) -> Record:
        record = codec.decode(content)
        if not self._reads_plain:
            raise self._error(
                "is not sealed, though there is an encryption_key: remove it, for anybody may "
                "have put it there"
            )
        return record

    def _authenticated(self, head: bytes) -> bytes:
        return head + self._record_key.encode()

    def _error(self, what: str) -> StoreError:
        return StoreError(f"the stored record '{self._record_key}' {what}")


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).hexdigest()[:KEY_ID].encode()


def _payload(text: bytes) -> bytes:
    """A nonce and what was sealed; `text` is the one way of writing them."""
    try:
        payload = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Unreadable("a sealed record that was cut off") from error
    if base64.b64encode(payload) != text or len(payload) < NONCE + TAG:
        raise Unreadable("a sealed record that was edited")
    return payload
