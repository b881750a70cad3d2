"""A record as bytes, and back: what every store that leaves the process writes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.tokens.token import Record, Setback, Token, is_sendable

VERSION = 1
LATEST = 1e11  # the year 5138, in seconds since the epoch
SEALED = b"tokenproxy-sealed:"  # what a sealed record begins with, and JSON never


class Unreadable(ValueError):
    """These bytes are no record: cut off, edited badly, or of a later version."""


class Codec(Protocol):
    """How one store writes the record of one credential."""

    def encode(self, record: Record) -> bytes:
        """The record as bytes."""

    def decode(self, content: bytes) -> Record:
        """The record in `content`.

        Raises:
            Unreadable: it is no record: a store sets it aside and begins anew.
            StoreError: it is one, but cannot be opened: a store leaves it as it is.
        """


CodecFor = Callable[[str], Codec]  # the codec of a record's key


class PlainCodec:
    """JSON, for a person to read too."""

    def encode(self, record: Record) -> bytes:
        """The record as JSON."""
        return encode(record)

    def decode(self, content: bytes) -> Record:
        """The record in that JSON."""
        return decode(content)


def plain(key: str) -> Codec:
    """The codec of records that nothing seals."""
    del key
    return PlainCodec()


def encode(record: Record) -> bytes:
    """The record as JSON, for a person to read too."""
    token = record.token
    fields: dict[str, Any] = {
        "version": VERSION,
        "generation": record.generation,
        "access_token": token and token.access.reveal(),
        "issued_at": token and token.issued_at,
        "expires_at": token and token.expires_at,
        "refresh_token": record.refresh and record.refresh.reveal(),
        "seed": record.seed,
        "renewed_at": record.renewed_at,
        "setbacks": [asdict(each) for each in (record.setback, *record.others) if each],
        "spent": list(record.spent),
        "dpop_key": record.dpop_key and record.dpop_key.reveal(),
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def decode(content: bytes) -> Record:
    """The record in `content`.

    Raises:
        Unreadable: it is not what `encode` writes.
        StoreError: it is sealed and there is no key, or a newer program's: it must stay.
    """
    if is_sealed(content):
        raise StoreError(
            "a stored record is sealed, and the config's 'store' has no encryption_key: put the "
            "key that it was sealed with there, or remove the record to begin anew"
        )
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error
    if not isinstance(fields, dict):
        raise Unreadable("not a record")
    _check_version(fields.get("version"))
    setback, others = _setbacks(fields.get("setbacks"))
    return Record(
        generation=_generation(fields.get("generation")),
        token=_token(fields),
        refresh=_secret(fields.get("refresh_token")),
        seed=_text(fields.get("seed")),
        renewed_at=_seconds(fields.get("renewed_at")),
        setback=setback,
        others=others,
        spent=tuple(map(_label, _list(fields.get("spent")))),
        dpop_key=_secret(fields.get("dpop_key")),
    )


def is_sealed(content: bytes) -> bool:
    """Whether it is, or was, a record that `tokenproxy.tokens.sealing` has sealed."""
    return content.lstrip().startswith(SEALED)


def _check_version(version: object) -> None:
    if isinstance(version, int) and version > VERSION:
        raise StoreError(
            "a stored record was written by a newer tokenproxy: update this one, or name another "
            "'store' in the config"
        )
    if version != VERSION:
        raise Unreadable("not a record of a version that there was")


def _setbacks(value: object) -> tuple[Setback | None, tuple[Setback, ...]]:
    """The latest, and the others."""
    found = [each for each in map(_setback, _list(value)) if each is not None]
    return (found[0] if found else None), tuple(found[1:])


def _setback(fields: object) -> Setback | None:
    if not isinstance(fields, dict):
        raise Unreadable("a setback is none")
    error, config = _text(fields.get("error")), _text(fields.get("config"))
    if error is None or config is None:
        return None
    return Setback(
        error=error,
        config=config,
        failures=_count(fields.get("failures")),
        doubts=_count(fields.get("doubts")),
        not_before=_seconds(fields.get("not_before")) or 0.0,
        pause=_seconds(fields.get("pause")) or 0.0,
        rescued_at=_seconds(fields.get("rescued_at")) or 0.0,
        login_refused=_text(fields.get("login_refused")),
        seed_refused=_text(fields.get("seed_refused")),
        means_refused=_text(fields.get("means_refused")),
    )


def _token(fields: dict[str, Any]) -> Token | None:
    access, issued_at = _secret(fields.get("access_token")), _seconds(fields.get("issued_at"))
    if access is None or issued_at is None:
        return None
    if not is_sendable(access.reveal()):
        raise Unreadable("the access token holds what no header can carry")
    return Token(access, issued_at, _seconds(fields.get("expires_at")))


def _generation(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Unreadable("no generation")
    return value


def _count(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Unreadable("a field is no count")
    return value


def _secret(value: object) -> Secret | None:
    text = _text(value)
    return None if text is None else Secret(text)


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable("a field is no list")
    return value


def _label(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable("a label is not text")
    return value


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Unreadable("a field is not text")


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable("a field is not a time")
    if not 0 <= value <= LATEST:  # NaN is not either
        raise Unreadable("a field is a time that no clock shows")
    return float(value)
