"""What a log shows of events and of other libraries, and what it never shows (contract 6)."""

import io
import json
import logging
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Serving, shop
from tests.tokens.acting import DOWN, stage
from tests.wire import Upstream, answer
from tokenproxy.config.process import Log
from tokenproxy.errors import SourceRefused
from tokenproxy.events import (
    DescriptorsUsedUp,
    Event,
    InternalError,
    LoginRequired,
    NotPersisted,
    Persisted,
    Reloaded,
    ReloadFailed,
    ReloadUnneeded,
    RenewalFailed,
    RequestServed,
    SignInFailed,
    Stopping,
    StoreTrouble,
    TokenRejected,
    TokenRenewed,
    TokenTakenUp,
    WorkerDied,
    WorkerStarted,
)
from tokenproxy.secret import Secret
from tokenproxy.server.log import LINES, EventLog, ForeignLog, open_log, subscriber
from tokenproxy.testing import Issuer

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

SERVED = RequestServed("shop", "GET", "/items", 200, 0.01234, 0, 12, replayed=False, code=None)
REFUSED = RequestServed("shop", "GET", "/items", 503, 15.0, 0, 99, replayed=False, code="no_token")
SHOWN = {
    "route": "shop",
    "method": "GET",
    "path": "/items",
    "status": 200,
    "ms": 12.3,
    "bytes_in": 0,
    "bytes_out": 12,
    "replayed": False,
}
EVENTS: list[tuple[Event, str, str, dict[str, Any]]] = [
    (SERVED, "info", "request", SHOWN),
    (replace(SERVED, complete=False), "info", "request", {**SHOWN, "incomplete": True}),
    (
        TokenRenewed("shop", "ba7816bf", 0.2, 3599.96),
        "info",
        "renewed",
        {"credential": "shop", "token": "ba7816bf", "ms": 200.0, "expires_in": 3600.0},
    ),
    (
        TokenRenewed("shop", "ba7816bf", 0.2, None),
        "info",
        "renewed",
        {"credential": "shop", "token": "ba7816bf", "ms": 200.0},
    ),
    (
        TokenTakenUp("shop", "ba7816bf"),
        "info",
        "taken_up",
        {"credential": "shop", "token": "ba7816bf"},
    ),
    (
        TokenRejected("shop", "ba7816bf"),
        "info",
        "rejected",
        {"credential": "shop", "token": "ba7816bf"},
    ),
    (
        RenewalFailed("shop", "the issuer is down", 2.04),
        "warning",
        "renewal_failed",
        {"credential": "shop", "error": "the issuer is down", "retry_in": 2.0},
    ),
    (
        LoginRequired("shop", "sign in again"),
        "error",
        "login_required",
        {"credential": "shop", "error": "sign in again"},
    ),
    (
        SignInFailed("shop", "not let in"),
        "warning",
        "sign_in_failed",
        {"credential": "shop", "error": "not let in"},
    ),
    (
        NotPersisted("shop", "the disk is full"),
        "warning",
        "not_persisted",
        {"credential": "shop", "error": "the disk is full"},
    ),
    (Persisted("shop"), "info", "persisted", {"credential": "shop"}),
    (
        StoreTrouble("shop", "no lock"),
        "warning",
        "store_trouble",
        {"credential": "shop", "error": "no lock"},
    ),
    (
        InternalError("shop", "KeyError at x.py:1"),
        "error",
        "internal_error",
        {"route": "shop", "error": "KeyError at x.py:1"},
    ),
    (
        DescriptorsUsedUp("raise their number"),
        "warning",
        "descriptors_used_up",
        {"error": "raise their number"},
    ),
    (WorkerStarted(0, 4711), "info", "worker_started", {"worker": 0, "pid": 4711}),
    (
        WorkerDied(1, None, "SIGKILL", None, 0.1),
        "error",
        "worker_died",
        {"worker": 1, "signal": "SIGKILL", "restart_in": 0.1},
    ),
    (
        Reloaded("/etc/t.yaml", 0.1, "workers", "a warning"),
        "info",
        "reloaded",
        {"path": "/etc/t.yaml", "ms": 100.0, "needs_restart": "workers", "warnings": "a warning"},
    ),
    (
        ReloadFailed("/etc/t.yaml", "/etc/t.yaml:3: routes: is wrong"),
        "error",
        "reload_failed",
        {"path": "/etc/t.yaml", "error": "/etc/t.yaml:3: routes: is wrong"},
    ),
    (ReloadUnneeded("it is the same"), "info", "reload_unneeded", {"why": "it is the same"}),
    (Stopping("SIGTERM"), "info", "stopping", {"signal": "SIGTERM"}),
]
HOSTILE = "a\r\nb\x1b[2J\x9b31m\x00\x7f\u2028\u202e\ud800"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """Standard error whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def written(
    *events: Event,
    level: Level = "debug",
    form: Format = "json",
    stream: io.StringIO | None = None,
) -> str:
    stream = stream or io.StringIO()
    write = subscriber(open_log(Log(level=level, format=form), stream))
    for event in events:
        write(event)
    return stream.getvalue()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


# -- events ----------------------------------------------------------------------------------


def test_every_event_has_its_line() -> None:
    assert set(LINES) == set(get_args(Event)) == {type(event) for event, *_ in EVENTS}


@pytest.mark.parametrize(
    ("event", "level", "name", "fields"), EVENTS, ids=[name for _, _, name, _ in EVENTS]
)
def test_an_event_is_one_line_of_json(
    event: Event, level: str, name: str, fields: dict[str, Any]
) -> None:
    (line,) = lines(written(event))

    del line["timestamp"]
    assert line == {"event": name, "level": level, **fields}


def test_an_answer_of_our_own_has_its_code() -> None:
    (line,) = lines(written(REFUSED))

    assert (line["status"], line["code"], line["ms"]) == (503, "no_token", 15000.0)


def test_a_line_of_json_has_the_time_in_utc() -> None:
    (line,) = lines(written(SERVED))

    assert line["timestamp"].endswith("Z")
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("debug", {name for _, _, name, _ in EVENTS}),
        ("info", {name for _, _, name, _ in EVENTS}),
        (
            "warning",
            {
                "renewal_failed",
                "login_required",
                "sign_in_failed",
                "not_persisted",
                "store_trouble",
                "internal_error",
                "descriptors_used_up",
                "worker_died",
                "reload_failed",
            },
        ),
        ("error", {"login_required", "internal_error", "worker_died", "reload_failed"}),
    ],
)
def test_only_what_is_grave_enough_is_written(level: Level, names: set[str]) -> None:
    events = [event for event, *_ in EVENTS]

    assert {line["event"] for line in lines(written(*events, level=level))} == names


def test_opening_a_log_changes_no_other() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))

    first, second = io.StringIO(), io.StringIO()
    one = subscriber(open_log(Log(level="error", format="json"), first))
    other = subscriber(open_log(Log(level="info", format="json"), second))
    one(SERVED)
    other(SERVED)

    assert (first.getvalue() == "", len(lines(second.getvalue()))) == (True, 1)
    assert (root.level, list(root.handlers)) == before


# -- the console -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", io.StringIO, True),
        ("json", Terminal, True),
        ("console", io.StringIO, False),
        ("console", Terminal, False),
    ],
    ids=["auto pipe", "auto tty", "json pipe", "json tty", "console pipe", "console tty"],
)
def test_a_terminal_is_for_people_and_all_else_for_programs(
    form: Format, stream: type[io.StringIO], is_json: bool
) -> None:
    text = written(SERVED, form=form, stream=stream())

    assert text.startswith("{") is is_json
    assert text.count("\n") == 1


@pytest.mark.parametrize("event", [event for event, *_ in EVENTS], ids=lambda e: type(e).__name__)
def test_an_event_is_one_line_of_the_console(event: Event) -> None:
    text = written(event, form="console")

    assert text.count("\n") == 1
    assert LINES[type(event)][1] in text


def test_only_a_terminal_has_colours() -> None:
    assert "\x1b[" in written(SERVED, form="console", stream=Terminal())
    assert "\x1b[" not in written(SERVED, form="console")


# -- what others sent ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
@given(text=st.just(HOSTILE) | st.text(st.characters()))
def test_no_text_of_others_breaks_a_line_or_moves_a_cursor(form: Format, text: str) -> None:
    served = RequestServed(text, text, text, 200, 0.0, 0, 0, replayed=False, code=text)
    failed = RenewalFailed(text, text, 1.0)

    out = written(served, failed, form=form)

    assert out.count("\n") == 2
    assert not CONTROL.search(out)


def test_what_others_sent_is_still_there_to_be_read() -> None:
    (line,) = lines(written(RenewalFailed("shop", HOSTILE, 1.0)))

    assert line["error"] == HOSTILE


BIDI = "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x61C]))
TEXTS = ("route", "method", "path", "code", "error", "credential", "token", "signal")
ODD = {
    "a line break": "a\r\nb",
    "ANSI": "\x1b[2J\x1b]0;title\x07\x9b31m",
    "controls": "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])),
    "separators": "\u2028\u2029\x85",
    "bidi": BIDI,
    "a lone surrogate": "\ud800\udfff",
    "quotes": "\"}\\n{'",
}


def changed(event: Event, fields: dict[str, Any]) -> Event:
    return replace(event, **fields)


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_whatever_is_said_stays_one_line_of_printable_ascii(form: Format, text: str) -> None:
    stream = io.StringIO()
    events = [
        changed(event, {name: text for name in TEXTS if getattr(event, name, None) is not None})
        for event, *_ in EVENTS
    ]
    with EventLog(Log(format=form, level="debug"), stream) as log:
        for event in events:
            log(event)
        library = ForeignLog(lambda: log.logger)
        library.handle(
            logging.makeLogRecord({"msg": f"first{text.splitlines()[-1]}", "name": text})
        )
        library.close()
    written = stream.getvalue()
    assert written.count("\n") == len(events) + 1
    assert written.isascii()
    assert not CONTROL.search(written)


# -- secrets, should one come that far ---------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("event", [SERVED, RenewalFailed("shop", "", 1.0)], ids=["access", "event"])
def test_a_secret_that_comes_as_far_as_the_log_is_taken_out(form: Format, event: Event) -> None:
    stream = io.StringIO()
    held = Secret('s3cr3t/of-the-te"st')
    said = f"/a/{held.reveal()}/{quote(held.reveal(), safe='')}"
    place = {"path": said} if event is SERVED else {"error": said}
    with EventLog(Log(format=form), stream) as log:
        log(SERVED)
        log(changed(event, place))
    assert "of-the-te" not in stream.getvalue()
    assert stream.getvalue().count("***") == 2
    assert "/items" in stream.getvalue()


# -- faults that repeat ------------------------------------------------------------------------


FAILED = RenewalFailed("shop", "the issuer is down", 2.0)


def test_a_fault_that_repeats_is_written_at_once_and_then_counted() -> None:
    stream = io.StringIO()
    with EventLog(Log(format="json"), stream, lambda: 0.0) as log:
        for at in range(1000):
            log(replace(FAILED, retry_in=float(at)))
            log(SERVED)
    told = lines(stream.getvalue())
    faults = [(line["retry_in"], line.get("repeated")) for line in told if "retry_in" in line]
    assert faults == [(0.0, None), (999.0, 999)]
    assert sum(line["event"] == "request" for line in told) == 1000


@pytest.mark.parametrize(
    "other",
    [
        replace(FAILED, credential="other"),
        replace(FAILED, error="it is up, and refuses"),
        LoginRequired("shop", "the issuer is down"),
    ],
    ids=["credential", "error", "event"],
)
def test_a_fault_of_another_kind_is_written_at_once(other: Event) -> None:
    stream = io.StringIO()
    log = EventLog(Log(format="json"), stream, lambda: 0.0)
    for event in (FAILED, other, FAILED, other):
        log(event)
    assert len(lines(stream.getvalue())) == 2


def test_what_is_no_fault_is_never_held_back() -> None:
    stream = io.StringIO()
    with EventLog(Log(format="json"), stream, lambda: 0.0) as log:
        for _ in range(3):
            log(TokenRejected("shop", "ba7816bf"))
            log(REFUSED)
    assert len(lines(stream.getvalue())) == 6


def test_a_library_that_repeats_itself_is_counted() -> None:
    stream = io.StringIO()
    log = open_log(Log(format="json"), stream)
    handler = ForeignLog(lambda: log, lambda: 0.0)
    for number in range(100):
        handler.handle(
            logging.makeLogRecord({"msg": "no %s", "args": (number,), "name": "asyncio"})
        )
    handler.close()
    assert [line.get("repeated") for line in lines(stream.getvalue())] == [None, 99]


# -- a log that nobody reads -----------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_that_nobody_reads_any_more_stops_nothing(form: Format) -> None:
    closed = io.StringIO()
    to_nobody = [subscriber(open_log(Log(format=form), stream)) for stream in (Gone(), closed)]
    closed.close()

    for write in to_nobody:
        write(SERVED)


# -- other libraries -------------------------------------------------------------------------


def foreign(stream: io.StringIO, level: Level = "info", form: Format = "json") -> logging.Logger:
    logger = logging.Logger("aiohttp.server")  # noqa: LOG001 - one of its own, known to nobody
    log = open_log(Log(level=level, format=form), stream)
    logger.addHandler(ForeignLog(lambda: log))
    return logger


def test_a_library_is_quoted_without_what_it_was_given() -> None:
    stream = io.StringIO()

    foreign(stream).warning("Bad request from %s: %r", "10.0.0.1", "s3cr3t-marker")

    (line,) = lines(stream.getvalue())
    assert line["event"] == "library"
    assert line["level"] == "warning"
    assert line["logger"] == "aiohttp.server"
    assert line["message"] == "Bad request from %s: %r"
    assert "s3cr3t-marker" not in stream.getvalue()


def test_of_an_exception_in_a_library_only_its_type_is_told() -> None:
    stream = io.StringIO()

    try:
        raise ValueError("s3cr3t-marker")  # noqa: TRY301 - this is what is told
    except ValueError:
        foreign(stream).exception("Unhandled")

    (line,) = lines(stream.getvalue())
    assert (line["message"], line["error"]) == ("Unhandled", "ValueError")
    assert "s3cr3t-marker" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_message_of_many_lines_is_one_event_of_its_first(form: Format) -> None:
    stream = io.StringIO()

    foreign(stream, form=form).error("Task failed\nsource: s3cr3t-marker\x1b[2J")

    assert stream.getvalue().count("\n") == 1
    assert "Task failed" in stream.getvalue()
    assert "s3cr3t-marker" not in stream.getvalue()


def test_a_library_that_only_chats_is_not_quoted() -> None:
    stream = io.StringIO()
    logger = foreign(stream, level="debug")

    logger.debug("connected")
    logger.info("connected")

    assert stream.getvalue() == ""


def test_a_log_of_errors_quotes_no_library() -> None:
    stream = io.StringIO()

    foreign(stream, level="error").warning("odd")

    assert stream.getvalue() == ""


# -- no token --------------------------------------------------------------------------------


async def test_nothing_of_a_token_is_written_but_its_label() -> None:
    async with stage(retries=0, min_interval=0) as scene:
        keeper = await scene.keeper()
        held = await keeper.get()
        await scene.clock.advance(1)
        keeper.rejected(held.generation)
        scene.source.script = [DOWN]
        await keeper.replaced(held.generation)
        scene.store.failing = {"save"}
        await scene.clock.advance(60)
        newer = await keeper.get()
        scene.source.fail(SourceRefused("sign in again"))
        await scene.clock.advance(1)
        keeper.rejected(newer.generation)
        await keeper.replaced(newer.generation)
        scene.store.failing = set()
        await scene.clock.advance(120)
        out = written(*scene.events)
        console = written(*scene.events, form="console")

    told = lines(out)
    assert {line["event"] for line in told} >= {
        "renewed",
        "rejected",
        "renewal_failed",
        "not_persisted",
        "persisted",
        "login_required",
    }
    labels = {Secret("access-1").label, Secret("access-2").label}
    assert {line["token"] for line in told if "token" in line} == labels
    assert not re.search("(access|refresh)-[0-9]", out + console)


async def test_no_line_of_a_whole_journey_holds_a_secret(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await serving(
        {
            "credentials": {"shop": shop(issuer)},
            "routes": [{"upstream": upstream.url, "credential": "shop"}],
        }
    )
    upstream.replies = [answer(), answer(status=b"401 Unauthorized"), answer()]
    await proxy.ask(b"/first")
    proxy.clock.skip(2)

    replayed = await proxy.ask(
        b"/items?access_token=s3cr3t-query",
        b"Authorization: Bearer s3cr3t-header",
        b"Cookie: s3cr3t-cookie",
        method=b"POST",
        body=b"s3cr3t-body",
    )

    assert replayed.status == 200
    out = written(*proxy.events) + written(*proxy.events, form="console")
    sent = b"".join(request.head for request in upstream.requests).decode()
    tokens = set(re.findall(r"Bearer ([^\r\n]+)", sent))
    assert len(tokens) == 2
    assert {line["path"] for line in lines(written(*proxy.served))} == {"/first", "/items"}
    assert [line["replayed"] for line in lines(written(*proxy.served))] == [False, True]
    parts = {part for token in tokens for part in token.split(".") if len(part) > 8}
    for secret in {issuer.password, "s3cr3t", *tokens, *parts}:
        assert secret not in out
    for token in tokens:
        assert Secret(token).label in out
