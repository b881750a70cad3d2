"""Bodies in chunks (RFC 9112 7.1): sizes, extensions, data and trailers."""

from tests.proxy.raw.case import CHUNKS, HIDDEN, WAITS, Case, in_chunks, last, posted, refused, well
from tests.proxy.raw.framing import shown

END = b"0\r\n\r\n"
EMPTY = posted(framing="chunked")


def size(line: bytes, *, good: bool = False) -> Case:
    """A chunk whose size is written so."""
    raw = in_chunks(line + b"\r\nhello\r\n" + END)
    return Case(f"9112-7.1 a size of {shown(line)}", raw, *(well(CHUNKS) if good else (refused(),)))


def extension(name: str, line: bytes, *, good: bool = False) -> Case:
    raw = in_chunks(line + b"hello\r\n" + END)
    return Case(f"9112-7.1.1 {name}", raw, *(well(CHUNKS) if good else (refused(),)))


def data(name: str, body: bytes) -> Case:
    return Case(f"9112-7.1 {name}", in_chunks(body), refused())


def trailer(line: bytes, *, good: bool = False) -> Case:
    raw = in_chunks(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n")
    name = f"9112-7.1.2 the trailer {shown(line)[:60]}"
    return Case(name, raw, *(well(CHUNKS) if good else (refused(),)))


SIZES = [
    *(size(line, good=True) for line in (b"5", b"05", b"0000005", b"000000000000005")),
    *(
        size(line)
        for line in (
            b"",
            b" ",
            b"0x5",
            b"0X5",
            b"x5",
            b"+5",
            b"-5",
            b"--5",
            b" 5",
            b"\t5",
            b"5 ",
            b"5\t",
            b"5  ",
            b"5_0",
            b"0_5",
            b"_5",
            b"5h",
            b"g",
            b"five",
            b"5.0",
            b"5,5",
            b"5:",
            b"5=",
            b"#5",
            b'"5"',
            b"5L",
            b"\x005",
            b"5\x00",
            b"5\x0b",
            b"\x0b5",
            b"5\x0c",
            b"5\x7f",
            b"5\xa0",
            b"\xa05",
            b"\xd9\xa5",
            b"\xef\xbc\x95",
            b"10000000000000005",
            b"FFFFFFFFFFFFFFFF5",
            b"f" * 17,
            b"1" + b"0" * 100,
            b"-fffffffffffffffb",
            b"5\r",
            b"\r5",
            b"\n5",
            b"5 5",
            b"5\r\n ",
        )
    ),
    Case(
        "9112-7.1 sizes in other letters",
        in_chunks(b"00A\r\n0123456789\r\na\r\n0123456789\r\n" + END),
        *well(posted(b"0123456789" * 2, framing="chunked")),
    ),
    Case(
        "9112-7.1 a request for a chunk",
        in_chunks(b"18\r\n" + HIDDEN + b"\r\n" + END),
        *well(posted(HIDDEN, framing="chunked")),
    ),
    Case("9112-7.1 no chunk but the last", in_chunks(END), *well(EMPTY)),
    Case(
        "9112-7.1 a last chunk of many zeros",
        in_chunks(b"5\r\nhello\r\n0000000\r\n\r\n"),
        *well(CHUNKS),
    ),
    *(
        data(f"a last chunk of {shown(line)}", b"5\r\nhello\r\n" + line + b"\r\n\r\n" + HIDDEN)
        for line in (b"-0", b"+0", b"0x0", b"0 ", b" 0", b"0\x00", b"0_0")
    ),
]

EXTENSIONS = [
    extension("a name", b"5;a\r\n", good=True),
    extension("a name and a value", b"5;a=b\r\n", good=True),
    extension("several", b"5;a=b;c;d=e\r\n", good=True),
    extension("a quoted value", b'5;a="b;c=\\"d e"\r\n', good=True),
    Case(
        "9112-7.1.1 one of the last chunk",
        in_chunks(b'5\r\nhello\r\n0;a="b"\r\n\r\n'),
        *well(CHUNKS),
    ),
    extension("no name", b"5;\r\n"),
    extension("no name but a value", b"5;=b\r\n", good=True),
    extension("no value", b"5;a=\r\n", good=True),
    extension("a space before it", b"5 ;a=b\r\n"),
    extension("a space in it", b"5;a b\r\n"),
    extension("a tab before it", b"5\t;a=b\r\n"),
    extension("a name that is no token", b"5;a(b)\r\n"),
    extension("NUL in a name", b"5;a\x00b\r\n"),
    extension("NUL in a value", b"5;a=\x00\r\n"),
    extension("NUL in a quoted value", b'5;a="\x00"\r\n'),
    extension("a quote without an end", b'5;a="b\r\n'),
    extension("more behind a quote", b'5;a="b"c\r\n'),
    extension("a line end in quotes", b'5;a="\r\n"\r\n'),
    extension("a bare LF in quotes", b'5;a="\n"\r\n'),
    extension("a bare CR in quotes", b'5;a="\r"\r\n'),
    extension("a bare LF behind a size", b"5\n"),
    extension("a bare CR behind a size", b"5\r"),
    extension("a bare LF behind a name", b"5;a\n"),
    extension("a bare LF behind a value", b"5;a=b\n"),
    extension("a bare LF behind the semicolon", b"5;\n"),
    extension("a bare CR behind a name", b"5;a\r"),
    extension("a bare CR in a name", b"5;a\rb\r\n"),
    extension("a bare LF in a name", b"5;a\nb\r\n"),
    extension("CR CR LF behind a size", b"5\r\r\n"),
    Case(
        "TERM.EXT: a request behind a bare LF",
        in_chunks(b"2;\nxx\r\n18\r\n" + END + HIDDEN),
        refused(),
    ),
    Case(
        "EXT.TERM: a size behind a bare LF",
        in_chunks(b"5;x\n18\r\nhello\r\n" + END + HIDDEN),
        refused(),
    ),
    Case("9112-7.1.1 one without an end", in_chunks(b"5;" + b"x" * (1 << 20)), refused(), WAITS),
]

DATA = [
    data("no line end behind a chunk", b"5\r\nhello" + END + HIDDEN),
    data("a bare LF behind a chunk", b"5\r\nhello\n" + END),
    data("a bare CR behind a chunk", b"5\r\nhello\r" + END),
    data("LF CR behind a chunk", b"5\r\nhello\n\r" + END),
    data("two other bytes behind a chunk", b"5\r\nhelloXX" + END),
    data("a space behind a chunk", b"5\r\nhello \r\n" + END),
    data("two line ends behind a chunk", b"5\r\nhello\r\n\r\n" + END),
    data("a chunk that is longer than its size", b"4\r\nhello\r\n" + END),
    data("a chunk that is shorter than its size", b"6\r\nhello\r\n" + END + b"12345"),
    data("a chunk with a request behind it", b"5\r\nhelloGET /hidden HTTP/1.1\r\n\r\n"),
    data("a bare LF behind the last chunk", b"5\r\nhello\r\n0\n\n" + HIDDEN),
    data("a bare LF at the end", b"5\r\nhello\r\n0\r\n\n" + HIDDEN),
    data("a bare CR at the end", b"5\r\nhello\r\n0\r\n\rX" + HIDDEN),
    data("a bare LF behind the last size", b"5\r\nhello\r\n0\n\r\n" + HIDDEN),
    data("the last chunk at once behind the data", b"5\r\nhello0\r\n\r\n" + HIDDEN),
]

TRAILERS = [
    *(
        trailer(line, good=True)
        for line in (
            b"X-Field: y",
            b"X-Field:",
            b"X-Field: y\r\nX-More: z",
            b"Host: evil.example",
            b"Authorization: Bearer mine",
            b"Connection: Upgrade\r\nUpgrade: websocket",
            b"Proxy-Connection: Upgrade\r\nUpgrade: h2c",
            b"Expect: 100-continue",
            b"Trailer: X",
        )
    ),
    *(
        trailer(line)
        for line in (
            b"Content-Length: 24",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip",
            b"X-Field",
            b"X-Field : y",
            b": y",
            b" X-Field: y",
            b"X-Field: y\r\n z",
            b"X Field: y",
            b"X-Field\x00: y",
            b"X-Field: \x00",
            b"X-Field: a\rb",
            b"X-Field: a\nb",
            b"X-Field: y\nGET /hidden HTTP/1.1",
            b"GET /hidden HTTP/1.1",
            b"X(Field: y",
        )
    ),
    Case(
        "9112-7.1.2 the trailer Connection: close",
        in_chunks(b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n"),
        last(CHUNKS),
    ),
    Case(
        "9112-7.1.2 30 KiB of trailers",
        in_chunks(b"5\r\nhello\r\n0\r\n" + b"X-Field: y\r\n" * 2500 + b"\r\n"),
        *well(CHUNKS),
    ),
    Case(
        "9112-7.1.2 trailers without an end",
        in_chunks(b"5\r\nhello\r\n0\r\n" + b"X-Field: y\r\n" * 90_000),
        refused(),
    ),
    Case(
        "9112-7.1.2 a trailer without an end",
        in_chunks(b"5\r\nhello\r\n0\r\nX: " + b"y" * (1 << 20)),
        refused(),
    ),
]

CASES = [*SIZES, *EXTENSIONS, *DATA, *TRAILERS]
