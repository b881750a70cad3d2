"""Header fields (RFC 9112 5, RFC 9110 5, 7.6.1 and 10.1.1)."""

from tests.proxy.raw.case import (
    CHUNKS,
    GET,
    HIDDEN,
    Case,
    Outcome,
    Sent,
    get,
    last,
    passes,
    post,
    posted,
    refused,
    well,
)
from tests.wire import Field

HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def bad(name: str, *lines: bytes, status: int = 400) -> Case:
    return Case(name, get(*lines), refused(status))


def kept(name: str, line: bytes, *fields: Field) -> Case:
    return Case(name, get(line), passes(Sent(fields=fields)))


def dropped(name: str, *lines: bytes, handler: Outcome | None = None) -> Case:
    return Case(name, get(*lines), passes(GET), handler)


NAMES = [
    bad("9112-5 no colon", b"X-Field"),
    bad("9112-5 a request line for a field", b"GET /hidden HTTP/1.1"),
    bad("9112-5.1 no name", b": y"),
    bad("9112-5.1 a colon alone", b":"),
    bad("9112-5.1 a space before the colon", b"X-Field : y"),
    bad("9112-5.1 a tab before the colon", b"X-Field\t: y"),
    bad("9112-5.1 a space in the name", b"X Field: y"),
    bad("9112-5.1 a space before a coding's colon", b"Transfer-Encoding : chunked"),
    *(
        bad(f"9110-5.1 the byte {byte:02x} in a name", b"X%cField: y" % byte)
        for byte in (
            0x00,
            0x01,
            0x08,
            0x0B,
            0x0C,
            0x1F,
            0x7F,
            0x80,
            0xA0,
            0xFF,
            *b'"(),/;<=>?@[\\]{}',
        )
    ),
    bad("9112-5.1 an empty name before others", b":", b"Content-Length: 24"),
    bad("9110-5.1 a name that ends in NUL", b"X-Field\x00: y"),
    kept(
        "9110-5.1 all that a name may hold", b"!#$%&'*+-.^_`|~9aZ: y", (b"!#$%&'*+-.^_`|~9aZ", b"y")
    ),
    kept("9110-5.1 no space behind the colon", b"X-Field:y", (b"X-Field", b"y")),
]

VALUES = [
    kept("9110-5.5 an empty value", b"X-Field:", (b"X-Field", b"")),
    kept("9110-5.5 spaces for a value", b"X-Field: \t ", (b"X-Field", b"")),
    kept("9110-5.5 spaces around a value", b"X-Field: \t y\t ", (b"X-Field", b"y")),
    kept("9110-5.5 a tab in a value", b"X-Field: a\tb", (b"X-Field", b"a\tb")),
    kept("9110-5.5 colons in a value", b"X-Field: : a: b", (b"X-Field", b": a: b")),
    kept(
        "9110-5.5 bytes that are no text",
        b"X-Field: \x80\x85\xa0\xff",
        (b"X-Field", b"\x80\x85\xa0\xff"),
    ),
    *(
        bad(f"9110-5.5 the byte {byte:02x} in a value", b"X-Field: a%cb" % byte)
        for byte in (*range(9), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0x7F)
    ),
    bad("9112-2.2 a bare CR in a value", b"X-Field: a\rb"),
    bad("9112-2.2 a bare LF in a value", b"X-Field: a\nb"),
    bad("9112-2.2 a field behind a bare CR", b"X-Field: a\rTransfer-Encoding: chunked"),
    bad("9112-2.2 a field behind a bare LF", b"X-Field: a\nTransfer-Encoding: chunked"),
    bad("9112-11.1 a request behind bare CRs", b"X-Field: a\r\rGET /hidden HTTP/1.1\r\r"),
    bad("9112-2.2 an empty value by a bare CR", b"X-Field:\rTransfer-Encoding: chunked"),
    bad("9112-2.2 a field that ends in CR alone", b"X-Field: a\r"),
    bad("9112-2.2 a bare LF before a field", b"\nX-Field: a"),
]

FOLDED = [
    bad("9112-5.2 a folded value", b"X-Field: a", b" b"),
    bad("9112-5.2 a value folded by a tab", b"X-Field: a", b"\tb"),
    bad("9112-5.2 an empty value that is folded", b"X-Field:", b" a"),
    bad("9112-5.2 a fold of spaces alone", b"X-Field: a", b"   "),
    bad("9112-5.2 a field in a fold", b"X-Field: a", b" Transfer-Encoding: chunked"),
    bad("9112-5.2 a fold by a bare LF", b"X-Field: a\n b"),
    bad("9112-5.2 a fold by a bare CR", b"X-Field: a\r b"),
    bad("9112-5.2 a folded Connection", b"Connection: keep-alive,", b" close"),
    bad("9112-5.2 a folded Authorization", b"Authorization:", b" Bearer mine"),
]

SIZES = [
    bad("9112-11.2 129 fields", *(b"X-%d: y" % at for at in range(128)), status=431),
    bad("9112-11.2 ten thousand fields", *(b"X: y" for _ in range(10_000)), status=431),
    bad("9112-11.2 a value of 17 KiB", b"X-Field: " + b"y" * (17 << 10), status=431),
    bad("9112-11.2 a name of 17 KiB", b"X" * (17 << 10) + b": y", status=431),
    bad(
        "9112-11.2 66 KiB of fields",
        *(b"X-%d: " % at + b"y" * 1000 for at in range(66)),
        status=431,
    ),
    bad("9112-11.2 a field without an end", b"X-Field: " + b"y" * (100 << 10), status=431),
]

OWN = [
    dropped("9110-11.6.2 an Authorization", b"Authorization: Bearer mine"),
    dropped(
        "9110-11.6.2 several Authorizations",
        b"authorization: Bearer a",
        b"AUTHORIZATION: Basic eDp5",
    ),
    Case(
        "9110-11.6.2 a name that is none of ours",
        get(b"Authorization: a", b"Authori_zation: b"),
        passes(Sent(fields=((b"Authori_zation", b"b"),))),
    ),
    dropped(
        "9110-7.6.1 Connection names the Authorization",
        b"Authorization: a",
        b"Connection: Authorization",
    ),
    dropped("9110-7.6.1 the same without one", b"Connection: authorization, via, host"),
    dropped("9110-7.6.1 Connection names a field", b"Connection: X-Field", b"X-Field: y"),
    dropped(
        "9110-7.6.1 in several fields and letters",
        b"Connection: x-a",
        b"X-A: 1",
        b"connection: , ,X-b",
        b"x-B: 2",
    ),
    kept("9110-7.6.1 an empty Connection", b"Connection:"),
    kept("9110-7.6.1 a Connection of commas", b"Connection: ,,, ,"),
    dropped(
        "9110-7.6.1 hop-by-hop fields",
        b"Keep-Alive: timeout=5",
        b"TE: gzip",
        b"Trailer: X",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic eDp5",
    ),
    dropped(
        "9110-7.6.1 hop-by-hop fields with _",
        b"Keep_Alive: 1",
        b"Transfer_Encoding: chunked",
        b"Proxy_Connection: close",
    ),
    dropped(
        "9110-7.8 an Upgrade that is not listed",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        handler=last(GET),
    ),
    dropped("9110-7.8 an Upgrade that Connection does not name", b"Upgrade: h2c"),
    dropped("9110-7.8 an Upgrade to nothing", b"Connection: Upgrade", b"Upgrade:"),
    Case(
        "9110-7.6.1 Connection names the length",
        post(b"Connection: Content-Length", b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN)),
    ),
    Case(
        "9110-7.6.1 Connection names the coding",
        post(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked", body=HELLO),
        *well(CHUNKS),
    ),
    Case(
        "9110-7.6.1 Connection names both, and close",
        post(
            b"Connection: close, Content-Length, Transfer-Encoding, Host",
            b"Content-Length: 24",
            body=HIDDEN,
        ),
        last(posted(HIDDEN)),
    ),
]

EXPECT = [
    Case(
        "9110-10.1.1 Expect with its body",
        post(b"Expect: 100-continue", b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN)),
    ),
    Case(
        "9110-10.1.1 Expect with chunks",
        post(b"Expect: 100-continue", b"Transfer-Encoding: chunked", body=HELLO),
        *well(CHUNKS),
    ),
    Case("9110-10.1.1 Expect without a body", get(b"Expect: 100-continue"), passes(GET)),
    Case(
        "9110-10.1.1 Expect in other letters",
        post(b"expect: 100-Continue", b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN)),
    ),
    Case(
        "0.CL an Expect that nobody knows",
        post(b"Expect: y 100-continue", b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN, (b"Expect", b"y 100-continue"))),
    ),
    Case(
        "0.CL an Expect with a fold",
        post(b"Expect:", b" 100-continue", b"Content-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case(
        "CL.0 two Expects",
        post(b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 24", body=HIDDEN),
        passes(posted(HIDDEN)),
    ),
    Case(
        "9110-10.1.1 Expect of another Host",
        post(b"Host: HOST", b"Expect: 100-continue", b"Content-Length: 24", body=HIDDEN),
        refused(),
    ),
]

CASES = [*NAMES, *VALUES, *FOLDED, *SIZES, *OWN, *EXPECT]
