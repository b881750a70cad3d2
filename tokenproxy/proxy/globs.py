"""Path globs, as regular expressions that take no longer than glob times path.

`*` is any characters within a segment, `?` is one of them, and `**`, which stands for segments
as a whole, is any number of them, also none: `/items/**` has `/items` too.

With one kind of wildcard at a time, the first match of what stands between two of them leaves the
most for what follows, so it need never be taken back: each goes into an atomic group. Segments
are one kind (what is between two `**` has a fixed number of them), the `*` in a segment another.
"""

import re
from collections.abc import Iterable, Iterator

_SEGMENTS = rb"(?:/[^/]*+)*?"
_DOUBLE = "**"


def matcher(globs: Iterable[str]) -> re.Pattern[bytes]:
    """What matches a path that one of the globs does, whole."""
    return re.compile(b"|".join(b"(?:%b)" % _pattern(glob) for glob in globs))


def _pattern(glob: str) -> bytes:
    first, *others = _blocks(glob)
    if not others:
        return first + rb"\Z"
    *middle, last = others
    found = [rb"(?>%b%b)" % (_SEGMENTS, block + _SEGMENT_ENDS) for block in middle if block]
    return b"".join([first + _SEGMENT_ENDS, *found, rb"(?>%b%b\Z)" % (_SEGMENTS, last)])


_SEGMENT_ENDS = rb"(?![^/])"


def _blocks(glob: str) -> Iterator[bytes]:
    """What stands between the `**`: segments, each with its slash."""
    block: list[bytes] = []
    for segment in glob.split("/")[1:]:
        if segment == _DOUBLE:
            yield b"".join(block)
            block = []
        else:
            block.append(b"/" + _segment(segment))
    yield b"".join(block)


def _segment(segment: str) -> bytes:
    first, *others = (_letters(piece) for piece in segment.split("*"))
    if not others:
        return first
    *middle, last = others
    found = [rb"(?>[^/]*?%b)" % piece for piece in middle if piece]
    return b"".join([first, *found, rb"(?>[^/]*?%b%b)" % (last, _SEGMENT_ENDS)])


def _letters(piece: str) -> bytes:
    return b"[^/]".join(re.escape(part.encode()) for part in piece.split("?"))
