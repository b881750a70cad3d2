"""The head of a message, as bytes: written here as it is given, and never re-encoded."""

from collections.abc import Sequence

from tokenproxy.proxy.headers import Header

# RFC 9110 5.5 and RFC 9112 4: what a field or a reason phrase may not hold. HTAB is allowed.
_CONTROLS = bytes(byte for byte in range(0x20) if byte != ord("\t")) + b"\x7f"


def message_head(start_line: bytes, fields: Sequence[Header]) -> bytes:
    """The start line and the fields with their line ends, and the empty line after them."""
    lines = [start_line]
    lines += [b"%b: %b" % field for field in fields]
    lines += (b"", b"")
    return b"\r\n".join(lines)


def is_clean(reason: bytes, fields: Sequence[Header]) -> bool:
    """Whether no control character is in a head; a line break there would forge what follows."""
    text = b"".join([part for field in fields for part in field]) + reason
    return len(text.translate(None, _CONTROLS)) == len(text)
