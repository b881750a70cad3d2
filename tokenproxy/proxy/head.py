"""The head of a message, as bytes: written here as it is given, and never re-encoded."""

from collections.abc import Sequence

from tokenproxy.proxy.headers import TOKEN_CHARS, Header

# RFC 9110 5.5 and RFC 9112 4: what a field or a reason phrase may not hold. HTAB is allowed.
_CONTROLS = bytes(byte for byte in range(0x20) if byte != ord("\t")) + b"\x7f"


def message_head(start_line: bytes, fields: Sequence[Header]) -> bytes:
    """The start line and the fields with their line ends, and the empty line after them."""
    lines = [start_line]
    lines += [b"%b: %b" % field for field in fields]
    lines += (b"", b"")
    return b"\r\n".join(lines)


def is_clean(reason: bytes, fields: Sequence[Header]) -> bool:
    """Whether a head is of the characters that may be in it.

    A line break would forge what follows. A name that is no token (RFC 9110 5.1), such as
    `Content-Length ` with its space, is another one to us than to whoever reads it next.
    """
    if b"".join([name for name, _ in fields]).translate(None, TOKEN_CHARS):
        return False
    text = b"".join([value for _, value in fields]) + reason
    return len(text.translate(None, _CONTROLS)) == len(text)
