"""Where a request begins, and its first line (RFC 9112 2.2, 2.3, 3)."""

from tests.proxy.raw.case import (
    GET,
    HIDDEN,
    HOST,
    Case,
    Outcome,
    get,
    last,
    message,
    passes,
    refused,
)


def line(name: str, first: bytes, status: int = 400, *, handler: Outcome | None = None) -> Case:
    return Case(name, message(first, HOST), refused(status), handler)


BEFORE = [
    Case("9112-2.2 an empty line before", b"\r\n" + get(), passes(GET)),
    Case("9112-2.2 a thousand empty lines before", b"\r\n" * 1000 + get(), passes(GET)),
    Case("9112-2.2 a bare CR before", b"\r" + get(), passes(GET)),
    Case("9112-2.2 a bare LF before", b"\n" + get(), passes(GET)),
    Case("9112-2.2 CR CR LF before", b"\r\r\n" + get(), passes(GET)),
    Case("9112-2.2 a space before the method", b" " + get(), refused(501)),
    Case("9112-2.2 a tab before the method", b"\t" + get(), refused(501)),
    Case("9112-2.2 a line of a space before", b" \r\n" + get(), refused(501)),
    Case("9112-2.2 NUL before the method", b"\x00" + get(), refused(501)),
    Case("9112-2.2 a byte order mark before", b"\xef\xbb\xbf" + get(), refused(501)),
    Case("9112-2.2 a field before the first line", b"X: y\r\n" + get(), refused(501)),
    Case("9112-2.2 a ClientHello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", refused(501)),
    Case("9112-2.2 all lines end in LF", get().replace(b"\r\n", b"\n"), refused()),
    Case("9112-2.2 the first line ends in LF", get().replace(b"\r\n", b"\n", 1), refused()),
    Case("9112-2.2 the first line ends in CR", get().replace(b"\r\n", b"\r", 1), refused()),
    Case(
        "9112-2.2 the first line ends in CR CR LF", get().replace(b"\r\n", b"\r\r\n", 1), refused()
    ),
    Case("9112-2.2 lines end in LF CR", get().replace(b"\r\n", b"\n\r"), refused()),
    Case("9112-2.2 the head ends in LF LF", get()[:-4] + b"\n\n", refused()),
    Case("9112-2.2 the head ends in CR LF LF", get()[:-2] + b"\n", refused()),
    Case("9112-2.2 the head ends in LF CR LF", get()[:-4] + b"\n\r\n", refused()),
    Case("9112-2.2 the head ends in CR CR", get()[:-4] + b"\r\r", refused()),
    Case("9112-2.2 CR before a field", get()[:-2] + b"\rX: y\r\n\r\n", refused()),
    Case(
        "9112-2.2 whitespace before the first field",
        b"GET /x HTTP/1.1\r\n " + HOST + b"\r\n\r\n",
        refused(),
    ),
    Case(
        "9112-2.2 a tab before the first field",
        b"GET /x HTTP/1.1\r\n\t" + HOST + b"\r\n\r\n",
        refused(),
    ),
    Case(
        "9112-2.2 a blank line of a space, then fields",
        b"GET /x HTTP/1.1\r\n \r\n" + HOST + b"\r\n\r\n",
        refused(),
    ),
]

WORDS = [
    line("9112-3 two spaces before the target", b"GET  /x HTTP/1.1", handler=passes(GET)),
    line("9112-3 a tab before the target", b"GET\t/x HTTP/1.1", 501),
    line("9112-3 a form feed before the target", b"GET\x0c/x HTTP/1.1", 501),
    line("9112-3 two spaces before the version", b"GET /x  HTTP/1.1", handler=passes(GET)),
    line("9112-3 a tab before the version", b"GET /x\tHTTP/1.1"),
    line("9112-3 a vertical tab before the version", b"GET /x\x0bHTTP/1.1"),
    line("9112-3 a space behind the version", b"GET /x HTTP/1.1 "),
    line("9112-3 a tab behind the version", b"GET /x HTTP/1.1\t"),
    line("9112-3 NUL behind the version", b"GET /x HTTP/1.1\x00"),
    line("9112-3 a word behind the version", b"GET /x HTTP/1.1 HTTP/1.1"),
    line("9112-3 four words", b"GET /x /y HTTP/1.1"),
    line("9112-3 a version in the target's place", b"GET HTTP/1.1"),
    line("9112-3 no target", b"GET  HTTP/1.1"),
    line("9112-3 no method", b"/x HTTP/1.1", 501),
    line("9112-3 a second request line by CR", b"GET /x HTTP/1.1\rGET /hidden HTTP/1.1"),
    line("9112-3 CR in the target", b"GET /x\r/hidden HTTP/1.1"),
    line("9112-3 LF in the target", b"GET /x\n/hidden HTTP/1.1"),
    line("9110-9.1 a method in lower case", b"get /x HTTP/1.1", 501),
    line("9110-9.1 a method in mixed case", b"Get /x HTTP/1.1", 501),
    line("9110-9.1 a method that nobody knows", b"FROB /x HTTP/1.1", 501),
    line("9110-9.1 a method that begins like one", b"GETS /x HTTP/1.1", 501),
    line("9110-9.1 a method that is no token", b"G(T /x HTTP/1.1", 501),
    line("9110-9.1 a method with a colon", b"GET: /x HTTP/1.1", 501),
    line("9110-9.1 a method with NUL", b"GE\x00T /x HTTP/1.1", 501),
    line("9110-9.1 a very long method", b"G" * 20_000 + b" /x HTTP/1.1", 501),
    line("9110-9.3.8 TRACE", b"TRACE /x HTTP/1.1", 405),
    line("9110-9.3.8 TRACK", b"TRACK /x HTTP/1.1", 405),
    line("9110-9.3.6 CONNECT", b"CONNECT evil.example:443 HTTP/1.1", 405),
    line("9110-9.3.6 CONNECT to a path", b"CONNECT /x HTTP/1.1", 405),
    Case("9113-3.4 the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(405)),
    Case("9113-3.4 PRI in HTTP/1.1", message(b"PRI * HTTP/1.1", HOST), refused(405)),
]

VERSIONS = [
    *(
        line(f"9110-2.5 HTTP/{version}", b"GET /x HTTP/" + version.encode(), 505)
        for version in ("0.9", "1.2", "1.9", "2.0", "3.0", "9.9")
    ),
    line("9112-2.3 RTSP/1.0", b"GET /x RTSP/1.0", handler=last(GET)),
    Case("1945 a request of HTTP/0.9", b"GET /x\r\n\r\n", refused(505)),
    Case("1945 a request of HTTP/0.9 with a space", b"GET /x \r\n\r\n", refused()),
    Case("1945 a request of HTTP/0.9 with fields", message(b"GET /x", HOST), refused(505)),
    *(
        line(f"9112-2.3 {version}", b"GET /x " + version.encode())
        for version in (
            "http/1.1",
            "Http/1.1",
            "HTTQ/1.1",
            "HTTP /1.1",
            "HTTP\\1.1",
            "HTTP1.1",
            "HTTP/",
            "HTTP/ 1.1",
            "HTTP/1",
            "HTTP/1.",
            "HTTP/.1",
            "HTTP/1.1.1",
            "HTTP/1,1",
            "HTTP/1.10",
            "HTTP/1.1x",
            "HTTP/11",
            "HTTP/x.y",
            "HTTP/+1.1",
            "HTTP/-1.1",
            "HTTP/1.-1",
            "HTTP/01.1",
            "HTTP/1.01",
            "ICE/1.0",
            "HTTPS/1.1",
        )
    ),
]

PIPELINED = [
    Case("9112-9.3 two requests", get() + get(), passes(GET, GET)),
    Case(
        "9112-9.3 an error between requests",
        get() + get(b"X : y") + HIDDEN,
        refused(400, 200, arrives=[GET]),
    ),
    Case(
        "9112-9.3 an unknown method between",
        get() + b"FROB / HTTP/1.1\r\n\r\n" + HIDDEN,
        refused(501, 200, arrives=[GET]),
    ),
    Case(
        "9112-9.3 nonsense behind a request",
        get() + b"\x00\x01\x02",
        refused(501, 200, arrives=[GET]),
    ),
    Case("9112-9.6 a request behind close", get(b"Connection: close") + HIDDEN, last(GET)),
    Case("9112-9.6 close among others", get(b"Connection: x, CLOSE ,y") + HIDDEN, last(GET)),
    Case(
        "9112-9.6 close behind keep-alive",
        get(b"Connection: keep-alive", b"Connection: close") + HIDDEN,
        last(GET),
    ),
    Case(
        "9112-9.3 a request behind one of HTTP/1.0", message(b"GET /x HTTP/1.0") + HIDDEN, last(GET)
    ),
    Case(
        "9112-9.3 HTTP/1.0 that keeps alive",
        message(b"GET /x HTTP/1.0", b"Connection: keep-alive"),
        passes(GET),
    ),
]

CASES = [*BEFORE, *WORDS, *VERSIONS, *PIPELINED]
