"""What is asked for, and of whom (RFC 9112 3.2, RFC 9110 4 and 7.2)."""

from tests.proxy.raw.case import (
    GET,
    HIDDEN,
    HOST,
    Case,
    Outcome,
    Sent,
    denied,
    get,
    last,
    message,
    passes,
    post,
    refused,
)


def kept(name: str, target: bytes) -> Case:
    return Case(name, get(target=target), passes(Sent(target=target)))


def bad(
    name: str, target: bytes, outcome: Outcome | None = None, handler: Outcome | None = None
) -> Case:
    return Case(name, get(target=target), outcome or denied(400), handler)


def host(name: str, *values: bytes, outcome: Outcome | None = None) -> Case:
    raw = message(b"GET /x HTTP/1.1", *(b"Host: " + value for value in values))
    return Case(name, raw, outcome or refused())


TARGETS = [
    kept("9112-3.2.1 an empty query", b"/x?"),
    kept("9112-3.2.1 an authority in the path", b"//evil.example/x"),
    kept("9112-3.2.1 a URL in the path", b"/http://evil.example/"),
    kept("9112-3.2.1 an encoded line end", b"/x%0d%0aX:%20y"),
    kept("9112-3.2.1 an encoded line end in the query", b"/x?a=%0D%0A%0D%0AGET%20/hidden"),
    kept("9112-3.2.1 characters that should be encoded", b'/x"<>{}|^`\\y'),
    kept("9112-3.2.1 broken percent-encoding", b"/x%zz%"),
    kept("3986-5.2.4 a dot segment that stays within", b"/a/b/../x"),
    # Nothing is above the root; what leaves a route or a base path is a matter of test_route.
    kept("3986-5.2.4 a dot segment at the root", b"/../x"),
    kept("3986-5.2.4 an encoded one", b"/%2e%2E/x"),
    bad("9112-3.2 a fragment", b"/x#y"),
    bad("9112-3.2 a fragment alone", b"/#"),
    bad("9112-3.2 an encoded NUL", b"/x%00"),
    *(
        bad(f"9112-3.2 the byte {byte:02x}", b"/x%cy" % byte, refused())
        for byte in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F, 0x80, 0x85, 0xA0, 0xE9, 0xFF)
    ),
    bad("9112-3.2 no slash", b"x", refused()),
    bad("9112-3.2 a query alone", b"?x", refused()),
    bad("9112-3.2 a backslash", b"\\x", refused()),
    bad("9112-3.2.3 authority-form", b"HOST", refused()),
    bad("9112-3.2.3 authority-form of another", b"evil.example:80", refused()),
    bad("9112-3.2.4 the asterisk", b"*", handler=refused()),
    bad("9112-3.2.4 the asterisk and more", b"*x", handler=refused()),
    Case("9112-3.2.4 OPTIONS of all", message(b"OPTIONS * HTTP/1.1", HOST), denied(204)),
    Case(
        "9112-3.2.4 OPTIONS of all with a body",
        message(b"OPTIONS * HTTP/1.1", HOST, b"Content-Length: 24", body=HIDDEN),
        denied(204),
    ),
    Case("9112-3.2.2 absolute-form", get(target=b"http://HOST/x?y"), passes(Sent(target=b"/x?y"))),
    Case("9112-3.2.2 without a path", get(target=b"http://HOST"), passes(Sent(target=b"/"))),
    Case(
        "9112-3.2.2 with a query alone", get(target=b"http://HOST?y"), passes(Sent(target=b"/?y"))
    ),
    Case("9112-3.2.2 its scheme in upper case", get(target=b"HTTP://HOST/x"), passes(GET)),
    bad("9112-3.2.2 of another", b"http://evil.example/x", denied(421)),
    bad("9112-3.2.2 by https", b"https://HOST/x", denied(421)),
    bad("9112-3.2.2 with userinfo", b"http://HOST@evil.example/x", refused()),
    bad("9112-3.2.2 with our name as userinfo's host", b"http://evil@HOST/x", refused()),
    bad("9112-3.2.2 with a backslash", b"http://HOST\\@evil.example/x", refused()),
    bad("9112-3.2.2 without an authority", b"http:///x", refused()),
    bad("9112-3.2.2 with one slash", b"http:/x", refused()),
    bad("9112-3.2.2 by ftp", b"ftp://HOST/x"),
    Case(
        "9112-3.2.2 with another's Host",
        message(b"GET http://HOST/x HTTP/1.1", b"Host: evil.example"),
        denied(421),
    ),
    Case("9112-3.2.2 without a Host", message(b"GET http://HOST/x HTTP/1.1"), refused()),
    Case("9112-3 a target of 17 KiB", get(target=b"/" + b"x" * (17 << 10)), refused(431)),
    Case("9112-3 a target of 80 KiB", get(target=b"/" + b"x" * (80 << 10)), refused(431)),
]

HOSTS = [
    Case("9112-3.2 no Host", message(b"GET /x HTTP/1.1"), refused()),
    Case(
        "9112-3.2 no Host and a body",
        message(b"POST /x HTTP/1.1", b"Content-Length: 24", body=HIDDEN),
        refused(),
    ),
    Case("9112-3.2 no Host in HTTP/1.0", message(b"GET /x HTTP/1.0"), last(GET)),
    host("9112-3.2 the same Host twice", b"HOST", b"HOST"),
    host("9112-3.2 two Hosts", b"HOST", b"evil.example"),
    host("9112-3.2 two Hosts, ours last", b"evil.example", b"HOST"),
    Case("9112-3.2 two Hosts in HTTP/1.0", message(b"GET /x HTTP/1.0", HOST, HOST), refused()),
    Case(
        "9112-3.2 a Host in other letters twice",
        message(b"GET /x HTTP/1.1", b"hosT: HOST", b"host: evil.example"),
        refused(),
    ),
    host("9110-7.2 an empty Host", b""),
    host("9110-7.2 a list of Hosts", b"HOST, evil.example"),
    host("9110-7.2 a Host with a space", b"HOST evil.example"),
    host("9110-7.2 a Host with a tab", b"HOST\tevil.example"),
    host("9110-7.2 a Host with a path", b"HOST/x"),
    host("9110-7.2 a Host with a scheme", b"http://HOST"),
    host("9110-7.2 a Host with userinfo", b"user@HOST"),
    host("9110-7.2 a Host with a fragment", b"HOST#x"),
    host("9110-7.2 a Host with a query", b"HOST?x"),
    host("9110-7.2 a Host with a backslash", b"HOST\\x"),
    host("9110-7.2 a Host with NUL", b"HOST\x00"),
    host("9110-7.2 a Host with the byte 80", b"HOST\x80"),
    host("9110-7.2 a Host with a bare CR", b"HOST\rX: y"),
    host("9110-7.2 a Host with a bare LF", b"HOST\nX: y"),
    host("9112-5.2 a folded Host", b"HOST\r\n .evil.example"),
    host("9110-7.2 another Host", b"evil.example", outcome=denied(421)),
    host("9110-7.2 our name before another", b"HOST.evil.example", outcome=denied(421)),
    host("9110-7.2 no port", b"127.0.0.1", outcome=denied(421)),
    host("9110-7.2 an empty port", b"127.0.0.1:", outcome=denied(421)),
    host("9110-7.2 another port", b"127.0.0.1:1", outcome=denied(421)),
    host("9110-7.2 a port that wraps", b"HOST4294967296", outcome=denied(421)),
    host("9110-7.2 a port with a sign", b"127.0.0.1:+80", outcome=denied(421)),
    host("9110-7.2 a port with a trailing dot", b"HOST.", outcome=denied(421)),
    host("9110-7.2 an address in another spelling", b"0x7f.1", outcome=denied(421)),
    host("9110-7.2 spaces around the Host", b"  HOST \t", outcome=passes(GET)),
    Case(
        "9110-7.4 another Host with a body",
        message(b"POST /x HTTP/1.1", b"Host: evil.example", b"Content-Length: 24", body=HIDDEN),
        denied(421),
    ),
    Case(
        "9110-7.4 another Host with chunks",
        message(
            b"POST /x HTTP/1.1",
            b"Host: evil.example",
            b"Transfer-Encoding: chunked",
            body=b"18\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
        ),
        denied(421),
        refused(421),
    ),
    Case("9110-7.6.1 Connection names the Host", get(b"Connection: Host"), passes(GET)),
    Case("9110-7.6.1 Connection names Host and close", get(b"Connection: Host, close"), last(GET)),
    Case(
        "9112-3.2 Host behind a body's length",
        message(b"POST /x HTTP/1.1", b"Content-Length: 0", HOST),
        passes(Sent(b"POST", framing="length")),
    ),
    Case(
        "9112-3.2 a Host of another name with _",
        post(b"Ho_st: evil.example", b"Content-Length: 0"),
        passes(Sent(b"POST", fields=((b"Ho_st", b"evil.example"),), framing="length")),
    ),
]

CASES = [*TARGETS, *HOSTS]
