"""Requests told by what has come before: the same, or with the same fields, or nearly the same.

| what comes in one piece                  | is known by         | what is decided anew          |
|------------------------------------------|---------------------|-------------------------------|
| the same head                            | all its bytes       | no more than its token        |
| the same fields for another target       | those of its fields | its way too                   |
| the same but for values that nothing is  | the rest of them    | its way too                   |
| decided by, such as an X-Request-Id      |                     |                               |

Which values those are is learned: of lines that came before only the one that is another is open.
It stays shut where its name is one that the guard, the framing or an injection looks behind.
"""

from tokenproxy.proxy.guard import WATCHED, Guard
from tokenproxy.proxy.headers import CLIENT_KEY
from tokenproxy.proxy.request import Request
from tokenproxy.proxy.wire.inbound import FRAMING, MAX_LINE, Head
from tokenproxy.proxy.wire.known import LONGEST, KnownFields, KnownRequest, Memory

_WORDS = 3  # in a request line
_BLANK = 4  # bytes: the end of a line, and an empty line
_VALUE_CHARS = b"\t" + bytes(range(0x20, 0x7F))

# Fields whose value decides something; of all others only the name does.
_DECIDING = (WATCHED | FRAMING).union(
    {CLIENT_KEY, b"authorization"},  # the client key
    {b"access-control-request-headers", b"access-control-request-method"},  # a preflight
    {b"cookie"},  # where the credential goes in among others
    {b"proxy-connection"},  # the parser takes its word
)


class Known:
    """What one listener remembers. Its guard has let all of it in, and says where each may go."""

    __slots__ = ("fields", "guard", "lines", "requests", "shapes")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.requests: Memory[KnownRequest] = Memory()
        self.fields: Memory[KnownFields] = Memory()
        self.shapes: Memory[KnownFields] = Memory()  # fields, some with their names alone
        self.lines: Memory[bool] = Memory()  # that have come

    def recognized(self, data: bytes, end: int) -> KnownRequest | None:
        """A request with known fields, where it may go on."""
        start = data.find(b"\r\n")
        words = data[:start].split(b" ")
        if len(words) != _WORDS or words[2] != b"HTTP/1.1" or end > MAX_LINE:
            return None
        lines = data[start + 2 : end]
        values: list[bytes] = []
        fields = self.fields.get(lines)
        if fields is None and self.shapes:
            shape, values = self._shape(lines)
            fields = self.shapes.get(shape)
        # As many values as are open: then none of the names alone has come without a colon.
        if fields is None or len(values) != len(fields.open) or not all(map(_is_plain, values)):
            return None
        known = self._known(words[0], words[1], fields, values)
        if known is not None and not values:
            self.requests.keep(data[:end], known)
        return known

    def _known(
        self, method: bytes, target: bytes, fields: KnownFields, values: list[bytes]
    ) -> KnownRequest | None:
        way = self.guard.admit(fields.admission, method, target)
        if way is None or fields.length > way.route.takes_whole:
            return None
        headers = fields.filled(values)
        request = Request(method, target, headers, "1.1", fields.length > 0)
        return KnownRequest(Head.plain(request, fields.length), way, fields, values)

    def _shape(self, lines: bytes) -> tuple[bytes, list[bytes]]:
        """The lines, of those that are new only the name; and the values of these."""
        known, parts, values = self.lines, lines.split(b"\r\n"), []
        for at, part in enumerate(parts):
            if part not in known:
                name, _, value = part.partition(b":")
                if value[:1] == b" ":
                    parts[at] = name
                    values.append(value[1:])
        return b"\r\n".join(parts), values

    def learn(self, head: Head, data: bytes, seen: int) -> int:
        """Remember the fields of a request that came alone and in one piece, the second time.

        `seen` is what this gave for the request before it, on the same connection.
        """
        start, end = data.find(b"\r\n"), data.find(b"\r\n\r\n") + _BLANK
        lines = data[start + 2 : end]
        shape, values = self._shape(lines)
        if not _DECIDING.isdisjoint(name.lower() for _, name in _names_alone(shape)):
            shape, values = lines, []
        told = hash(shape)  # an idle connection should cost little
        if told != seen:
            for line in lines.split(b"\r\n"):
                self.lines.keep(line, meaning=True)
            return told
        request, length = head.request, head.length or 0
        first = b"%b %b HTTP/1.1" % (request.method, request.target)
        if head.is_plain and len(data) == end + length and data[:start] == first:
            self._keep(lines, shape, values, request, length)
        return told

    def _keep(
        self, lines: bytes, shape: bytes, values: list[bytes], request: Request, length: int
    ) -> None:
        headers = request.headers
        admission = self.guard.admission(headers)
        is_one_each = len(headers) == lines.count(b"\r\n") - 1
        if admission is None or len(lines) > LONGEST or not is_one_each:
            return
        places = [at for at, _ in _names_alone(shape)]
        fields = KnownFields(headers, length, admission, places)
        if not places:
            self.fields.keep(lines, fields)
        elif [headers[at][1] for at in places] == values:
            self.shapes.keep(shape, fields)


def _names_alone(shape: bytes) -> list[tuple[int, bytes]]:
    """The places of the lines whose values are open, and their names."""
    lines = shape.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return [(at, line) for at, line in enumerate(lines) if b":" not in line]


def _is_plain(value: bytes) -> bool:
    """Whether any parser takes it for what it is."""
    return value[:1] > b" " < value[-1:] and not value.translate(None, _VALUE_CHARS)
