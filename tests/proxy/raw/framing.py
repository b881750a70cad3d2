"""How a body is framed (RFC 9112 6): Content-Length, Transfer-Encoding, and both."""

from tests.proxy.raw.case import (
    CHUNKS,
    GET,
    HIDDEN,
    HOST,
    Case,
    Outcome,
    Sent,
    get,
    last,
    message,
    passes,
    post,
    posted,
    refused,
    well,
)
from tests.proxy.raw.fields import HELLO

EMPTY = b"0\r\n\r\n"


def shown(value: bytes) -> str:
    return repr(value)[2:-1] or "nothing"


def length(value: bytes, *more: bytes, outcome: Outcome | None = None) -> Case:
    raw = post(b"Content-Length: " + value, *more, body=b"hello")
    return Case(f"9112-6.2 a length of {shown(value)}", raw, outcome or refused())


_MALFORMED = (
    b"",
    b" ",
    b"+5",
    b"-5",
    b"-0",
    b"0x5",
    b"0X5",
    b"5,5",
    b"5, 5",
    b"5, 6",
    b"5 5",
    b"5\t5",
    b"5.0",
    b"5e0",
    b"5;",
    b"5;x",
    b"5,",
    b",5",
    b"5_0",
    b"0_5",
    b"_5",
    b"5h",
    b"h",
    b"five",
    b"(5)",
    b'"5"',
    b"'5'",
    b"--5",
    b"5-",
    b"0b101",
    b"0o5",
    b"5L",
    b"NaN",
    b"\x0b5",
    b"5\x0b",
    b"\x0c5",
    b"5\x0c",
    b"\x005",
    b"5\x00",
    b"5\x7f",
    b"5\xa0",
    b"\xa05",
    b"\x855",
    b"\xd9\xa5",
    b"\xef\xbc\x95",
    b"18446744073709551616",
    b"18446744073709551621",
    b"5" * 100,
    b"5\r\n 5",
    b"\r\n 5",
    b"5\r6",
    b"5\n6",
    b"5\rX: y",
    b"5\nX: y",
)

LENGTHS = [
    *(length(value) for value in _MALFORMED),
    *(
        length(value, outcome=passes(posted(b"hello")))
        for value in (b"5", b" 5", b"5 ", b"\t5\t", b"05", b"0000000005")
    ),
    Case(
        "9112-6.3 the same length twice",
        post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        refused(),
    ),
    Case(
        "9112-6.3 two lengths",
        post(b"Content-Length: 5", b"Content-Length: 29", body=b"hello" + HIDDEN),
        refused(),
    ),
    Case(
        "9112-6.3 two lengths, nothing first",
        post(b"Content-Length: 0", b"Content-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9112-6.3 two lengths in other letters",
        post(b"CONTENT-LENGTH: 24", b"content-length: 0", body=HIDDEN),
        refused(),
    ),
    Case(
        "9112-6.3 two lengths of GET",
        get(b"Content-Length: 0", b"Content-Length: 24") + HIDDEN,
        refused(),
    ),
    Case(
        "9112-6.2 a length, and one with _",
        post(b"Content-Length: 24", b"Content_Length: 0", body=HIDDEN),
        passes(posted(HIDDEN)),
    ),
    Case("9112-6.2 a length with _ alone", post(b"Content_Length: 24"), passes(Sent(b"POST"))),
    Case(
        "9112-5.1 a space before a length's colon",
        post(b"Content-Length : 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9112-5.1 a tab before a length's colon",
        post(b"Content-Length\t: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9110-5.1 a space in a length's name", post(b"Content Length: 24", body=HIDDEN), refused()
    ),
    Case(
        "9112-5.2 a length in a fold",
        post(b"X-Field: y", b" Content-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9112-2.2 a length behind a bare LF",
        post(b"X-Field: y\nContent-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9112-2.2 a length behind a bare CR",
        post(b"X-Field: y\rContent-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9112-6.2 a name that begins like a length and is long",
        post(b"Content-Length0" + b"a" * 255 + b":", b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN, (b"Content-Length0" + b"a" * 255, b""))),
    ),
    Case(
        "CL.0 a GET with a request for its body",
        get(b"Content-Length: 24") + HIDDEN,
        passes(Sent(body=HIDDEN, framing="length")),
    ),
    Case(
        "CL.0 a POST with a request for its body",
        post(b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN)),
    ),
    Case(
        "CL.0 a DELETE with a request for its body",
        message(b"DELETE /x HTTP/1.1", HOST, b"Content-Length: 24", body=HIDDEN),
        passes(Sent(b"DELETE", body=HIDDEN, framing="length")),
    ),
    Case(
        "CL.0 OPTIONS with a request for its body",
        message(b"OPTIONS /x HTTP/1.1", HOST, b"Content-Length: 24", body=HIDDEN),
        passes(Sent(b"OPTIONS", body=HIDDEN, framing="length")),
    ),
    Case(
        "CL.0 TRACE with a request for its body",
        message(b"TRACE /x HTTP/1.1", HOST, b"Content-Length: 24", body=HIDDEN),
        refused(405),
    ),
    Case(
        "CL.0 CONNECT with a request for its body",
        message(b"CONNECT /x HTTP/1.1", HOST, b"Content-Length: 24", body=HIDDEN),
        refused(405),
    ),
    Case(
        "0.CL a request behind a length of nothing",
        post(b"Content-Length: 0") + get(),
        passes(posted(), GET),
    ),
    Case(
        "9112-6.3 no framing: what follows is a request", post() + get(), passes(Sent(b"POST"), GET)
    ),
    Case(
        "9112-6.2 a length in HTTP/1.0",
        message(b"POST /x HTTP/1.0", b"Content-Length: 24", body=HIDDEN),
        last(posted(HIDDEN)),
    ),
    Case(
        "9110-7.8 an Upgrade with a length",
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "9110-7.8 an Upgrade with chunks",
        post(
            b"Connection: Upgrade",
            b"Upgrade: h2c",
            b"Transfer-Encoding: chunked",
            body=b"18\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
        ),
        refused(),
    ),
    Case(
        "9110-7.8 an Upgrade to WebSocket with a length",
        get(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 24") + HIDDEN,
        refused(),
    ),
    Case(
        "9110-7.8 an Upgrade with a length and chunks",
        post(
            b"Connection: Upgrade",
            b"Upgrade: x",
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            body=EMPTY,
        ),
        refused(),
    ),
]

_GOOD = (b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"\tchunked", b"chunked ")
# RFC 9112 6.3: where another coding is the last, the end of the body cannot be known.
_NOT_LAST = (
    b"chunked, chunked",
    b"chunked,chunked",
    b"chunked, identity",
    b"chunked, gzip",
    b"chunked,",
    b"chunked\t",
)
_UNKNOWN = (
    b"xchunked",
    b"chunkedx",
    b"chunk",
    b"identity, chunked",
    b"identity",
    b"gzip",
    b"gzip, chunked",
    b"deflate, chunked",
    b"compress",
    b"trailers",
    b"x, chunked",
    b"chunked;",
    b"chunked;x=1",
    b"chunked; q=0.5",
    b'"chunked"',
    b"'chunked'",
    b"(chunked)",
    b"chunked chunked",
    b"chunked identity",
    b",",
    b",chunked",
    b", chunked",
    b"chunked\xa0",
    b"\xa0chunked",
    b"\x85chunked",
    b"chunked\xff",
    b"chun\xc4\xb8ed",
    b"chun ked",
    b"=chunked",
    b"chunked=",
    b"*",
    b"0",
)
_NONSENSE = (
    b"\x0bchunked",
    b"chunked\x0b",
    b"\x0cchunked",
    b"chunked\x0c",
    b"\x00chunked",
    b"chunked\x00",
    b"chu\x00nked",
    b"chunked\x7f",
    b"\x1fchunked",
    b"\r\n chunked",
    b"chunked\r\n ",
    b"chun\r\n ked",
    b"chunked\r\n\tx",
    b"\nchunked",
    b"chunked\n",
    b"\n chunked",
    b"\rchunked",
    b"chunked\r",
    b"chunked\rX: y",
    b"chunked\nX: y",
)
_EMPTY = (b"", b" ", b"\t")


def coded(value: bytes, status: int) -> list[Case]:
    """The coding by itself (TE.TE), and beside a length: before it and behind it."""
    coding, sized = b"Transfer-Encoding: " + value, b"Content-Length: 29"
    body = EMPTY + HIDDEN
    return [
        Case(f"TE.TE {shown(value)}", post(coding, body=body), refused(status)),
        Case(f"CL.TE {shown(value)}", post(sized, coding, body=body), refused()),
        Case(f"TE.CL {shown(value)}", post(coding, sized, body=body), refused()),
    ]


def twice(first: bytes, second: bytes, status: int = 400) -> Case:
    lines = b"Transfer-Encoding: " + first, b"Transfer-Encoding: " + second
    name = f"TE.TE {shown(first)} and {shown(second)}"
    return Case(name, post(*lines, body=EMPTY + HIDDEN), refused(status))


def named(name: bytes) -> Case:
    raw = post(b"Content-Length: 29", name + b": chunked", body=EMPTY + HIDDEN)
    return Case(f"CL.TE by the name {shown(name)}", raw, refused())


CODINGS = [
    *(
        Case(
            f"9112-6.1 {shown(value)}",
            post(b"Transfer-Encoding: " + value, body=HELLO),
            *well(CHUNKS),
        )
        for value in _GOOD
    ),
    Case(
        "9112-6.1 no space behind the colon",
        post(b"transfer-ENCODING:chunked", body=HELLO),
        *well(CHUNKS),
    ),
    *(case for value in _GOOD for case in coded(value, 400)[1:]),
    *(case for value in _UNKNOWN for case in coded(value, 501)),
    *(case for value in (*_NOT_LAST, *_NONSENSE, *_EMPTY) for case in coded(value, 400)),
    *(
        twice(first, second, 501 if first in {b"identity", b"gzip"} else 400)
        for first, second in [
            (b"chunked", b"chunked"),
            (b"chunked", b"identity"),
            (b"identity", b"chunked"),
            (b"chunked", b"x"),
            (b"gzip", b"chunked"),
            (b"chunked", b""),
            (b"", b"chunked"),
        ]
    ),
    *(
        named(name)
        for name in (
            b"Transfer-Encoding ",
            b"Transfer-Encoding\t",
            b" Transfer-Encoding",
            b"Transfer-Encoding\x0b",
            b"Transfer-Encoding\x00",
            b"\x00Transfer-Encoding",
            b"X: y\rTransfer-Encoding",
            b"X: y\nTransfer-Encoding",
            b"\rTransfer-Encoding",
            b"\nTransfer-Encoding",
            b"Transfer Encoding",
            b"Transfer-Encoding\xa0",
            b"Transfer-Encoding\x7f",
        )
    ),
    Case(
        "CL.TE by a name with _",
        post(b"Content-Length: 29", b"Transfer_Encoding: chunked", body=EMPTY + HIDDEN),
        passes(posted(EMPTY + HIDDEN)),
    ),
    Case(
        "CL.TE by a name that is another",
        post(b"Content-Length: 29", b"X-Transfer-Encoding: chunked", body=EMPTY + HIDDEN),
        passes(posted(EMPTY + HIDDEN, (b"X-Transfer-Encoding", b"chunked"))),
    ),
    Case(
        "9112-6.1 chunks in HTTP/1.0",
        message(b"POST /x HTTP/1.0", b"Transfer-Encoding: chunked", body=EMPTY + HIDDEN),
        refused(),
    ),
    Case(
        "9112-6.1 chunks in HTTP/1.0 that keeps alive",
        message(
            b"POST /x HTTP/1.0",
            b"Connection: keep-alive",
            b"Transfer-Encoding: chunked",
            body=EMPTY + HIDDEN,
        ),
        refused(),
    ),
    Case(
        "9112-6.1 chunks and a length in HTTP/1.0",
        message(
            b"POST /x HTTP/1.0",
            b"Content-Length: 29",
            b"Transfer-Encoding: chunked",
            body=EMPTY + HIDDEN,
        ),
        refused(),
    ),
    Case(
        "9112-6.1 identity in HTTP/1.0",
        message(
            b"POST /x HTTP/1.0", b"Transfer-Encoding: identity", b"Content-Length: 24", body=HIDDEN
        ),
        refused(),
    ),
    Case(
        "9112-6.1 chunks of GET",
        get(b"Transfer-Encoding: chunked") + HELLO,
        *well(Sent(body=b"hello", framing="chunked")),
    ),
    Case(
        "9112-6.1 a coding beside a malformed length",
        post(b"Content-Length: +5", b"Transfer-Encoding: chunked", body=EMPTY),
        refused(),
    ),
]

CASES = [*LENGTHS, *CODINGS]
