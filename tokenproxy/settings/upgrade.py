"""Protocols that a caller may switch to: `upgrade` (contract 1, RFC 9110 7.8)."""

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_PROTOCOL = re.compile(rf"{_NAME}(/{_NAME})?")  # its name, and perhaps a version
_HTTP = re.compile(r"h2c?|http(/.*)?")


def _protocols(names: tuple[str, ...]) -> tuple[str, ...]:
    """In lower case, as they are compared."""
    return tuple(_protocol(name.lower()) for name in names)


def _protocol(name: str) -> str:
    if not _PROTOCOL.fullmatch(name):
        raise ValueError("must be a list of names of protocols, as in [websocket]")
    if _HTTP.fullmatch(name):
        raise ValueError(
            f"names '{name}', which would carry requests past the proxy's checks and its token: "
            "leave it out"
        )
    return name


Upgrade = Annotated[tuple[str, ...], AfterValidator(_protocols)]
