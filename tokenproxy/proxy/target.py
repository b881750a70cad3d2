"""Request targets (RFC 9112 3.2): read here, and never rewritten.

The raw target is what goes on, byte for byte. Rules look at its *normal form*: decoded once
(RFC 3986 2.4), without dot segments, slashes merged. A target that is plain, as nearly all
are, is its own normal form, and `is_plain` is how the request path avoids working it out.

A dot segment is looked for in every reading that some server is known to use, see `climbs`.
"""

from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

# One byte is looked for as a number, several with `find`: on CPython `b"x" in data` takes four
# times as long, since it tries the number first and fails.
_PERCENT, _BACKSLASH = ord("%"), ord("\\")
_PRINTABLE = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))

# One decoding by the server, one more by a CDN before it or an application behind it. Each
# round is linear; going on until nothing changes would be quadratic in a hostile target.
_DECODINGS = 2


@dataclass(frozen=True, slots=True)
class Absolute:
    """An absolute-form target (RFC 9112 3.2.2), taken apart: `target` is its origin-form."""

    scheme: bytes  # in lower case
    authority: bytes
    target: bytes


def split(raw: bytes) -> tuple[bytes, bytes | None]:
    """Path and query of an origin-form target; `/a?` has the query `b""`, `/a` has None."""
    path, mark, query = raw.partition(b"?")
    return path, query if mark else None


def absolute(raw: bytes) -> Absolute | None:
    """The parts of an absolute-form http or https target, or None where it is not one."""
    scheme, mark, rest = raw.partition(b"://")
    if not mark or scheme.lower() not in {b"http", b"https"}:
        return None
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    target = rest[end:]
    if not target.startswith(b"/"):
        target = b"/" + target  # RFC 9112 3.2.1: an empty path is sent as "/"
    return Absolute(scheme.lower(), rest[:end], target)


def named(raw: bytes) -> str:
    """A target as a log names it: without its query, and without userinfo (RFC 3986 3.2.1)."""
    path = raw.partition(b"?")[0]
    if path[:1] != b"/":
        scheme, mark, rest = path.partition(b"://") if b"://" in path else (b"", b"", path)
        authority, slash, after = rest.partition(b"/")
        path = scheme + mark + authority.rpartition(b"@")[2] + slash + after
    return path.decode("ascii", "backslashreplace")


def split_port(authority: bytes) -> tuple[bytes, bytes | None]:
    """Host and port of `host`, `host:port` or `[v6]:port`.

    What has no port of digits is given whole, with None: it then equals no name.
    """
    host, colon, port = authority.rpartition(b":")
    if not colon or not port.isdigit() or (b":" in host and not host.endswith(b"]")):
        return authority, None
    return host, port


def fault(raw: bytes) -> str | None:
    """Why an origin-form target is refused: one sentence, or None where it is well-formed.

    Contract 3.2. An encoded NUL is looked for in the path only: a query is data, which no
    rule reads.
    """
    if raw[:1] != b"/":
        return "The request target must start with '/'."
    if raw.translate(None, _PRINTABLE):
        return "The request target holds a character that must be percent-encoded."
    if _PERCENT in raw and b"%00" in split(raw)[0]:
        return "The path holds an encoded NUL."
    return None


def is_plain(path: bytes) -> bool:
    """Whether a path can only be read in one way: it is its own normal form."""
    return (
        _PERCENT not in path
        and _BACKSLASH not in path
        and path.find(b"//") < 0
        and path.find(b"/.") < 0
    )


def normal_form(path: bytes) -> bytes:
    """The path as rules look at it: decoded once, dot-free (RFC 3986 5.2.4), slashes merged."""
    kept: list[bytes] = []
    segments = unquote_to_bytes(path).split(b"/")
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    ends_in_folder = bool(kept) and segments[-1] in {b"", b".", b".."}
    return b"/" + b"/".join(kept) + (b"/" if ends_in_folder else b"")


def lenient_form(path: bytes) -> bytes:
    r"""The path as the most lenient of servers read it.

    That is the normal form of one that is decoded twice, where `\` separates segments as well and
    what follows a `;` in one is no part of it.
    """
    pieces = (piece for segment in path.split(b"/") for piece in _pieces(segment))
    return normal_form(b"/".join(quote_from_bytes(piece, safe="").encode() for piece in pieces))


def climbs(rest: bytes) -> bool:
    r"""Whether dot segments in `rest` reach above the path that it is appended to.

    Servers disagree on what separates segments and on what is a dot segment, so this takes
    the lowest depth of all readings: `%2f`, `\` (IIS, Windows) and `%5c` may separate or
    not, empty segments may count or not, `..;x` is `..` to servlet containers, and what
    is encoded twice may be decoded twice. Reaching above and coming back counts as well.
    """
    depth = 0
    for segment in rest.split(b"/"):
        named = False
        for piece in _pieces(segment):
            if piece == b"..":
                depth -= 1
                named = False
            elif piece not in {b"", b"."} and not named:
                # Names with nothing but doubtful separators between may be a single segment.
                depth += 1
                named = True
            if depth < 0:
                return True
    return False


def _pieces(segment: bytes) -> list[bytes]:
    for _ in range(_DECODINGS):
        segment = unquote_to_bytes(segment)
    pieces = segment.replace(b"\\", b"/").split(b"/")
    return [piece.partition(b";")[0] for piece in pieces]
