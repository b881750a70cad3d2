"""One request of a caller, from its head to the end of its answer, whatever becomes of it.

A `Turn` is made as soon as the head has come, and begun when all before it have been answered.
What every request has is here: its body, the answers of our own, and the event that tells of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from tokenproxy.events import RequestServed
from tokenproxy.proxy.answers import (
    BROKE_OFF,
    CALLER_LEFT,
    Answer,
    ErrorCode,
    answer,
    options_answer,
    preflight_answer,
)
from tokenproxy.proxy.cors import share
from tokenproxy.proxy.head import message_head
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.request import Denied, OptionsAsked, Preflight
from tokenproxy.proxy.verdict import Replay as Outcome
from tokenproxy.proxy.wire.inbound import Head
from tokenproxy.proxy.wire.known import KnownRequest
from tokenproxy.proxy.wire.sweep import NEVER
from tokenproxy.proxy.wire.upload import Upload
from tokenproxy.settings.route import Replay

if TYPE_CHECKING:
    from tokenproxy.proxy.wire.downstream import Downstream

TOO_SLOW = "The request's body did not come in time."
NO_REPLAY = Replay(memory=0, max_body=0)


class Turn(ABC):
    """One request and its answer. `deadline` is when `expired` wants to be called."""

    # What most requests never change is said once: to make one costs less so.
    answered = False
    deadline = NEVER
    is_refused = False  # so that nothing after it is read
    route_name: str | None = None
    _shared: Sequence[Header] = ()  # what a page of another site is told that has asked
    _upload: Upload | None = None
    _is_begun = False
    _is_out = False  # some of the answer
    _continue_told = False
    _replayed = False
    _told = False
    _sent_at = 0.0  # to the upstream, the last time
    _upstream_seconds: float | None = None
    _replay: str | None = None
    _status = CALLER_LEFT
    _code: ErrorCode | None = None
    _error: str | None = None  # what was wrong with the upstream
    _bytes_in = 0  # of a tunnel; a body counts its own
    _bytes_out = 0
    _is_complete = True
    _is_cut_off = False
    _began = 0.0
    _instead: tuple[ErrorCode, str] | None = None  # what it is answered, whatever else would be

    def __init__(self, caller: "Downstream", head: Head) -> None:
        self.head = head
        self.closes = head.is_last  # the connection ends after it
        self._caller = caller

    # -- its course --------------------------------------------------------------------------

    def begin(self, known: KnownRequest | None = None) -> None:
        """It is this request's turn; it may be `known`."""
        self._is_begun = True
        self._began = self._sent_at = self._caller.server.loop.time()
        try:
            if self._instead is not None:
                self._refuse(*self._instead)
            else:
                self._start(known)
        except Exception as error:  # noqa: BLE001 - a fault of our own is answered with 500
            self._fail_with(error)

    @abstractmethod
    def _start(self, known: KnownRequest | None) -> None:
        """See to its answer."""

    @abstractmethod
    def _fail_with(self, error: Exception) -> None:
        """Say that it cannot go on."""

    @abstractmethod
    def _let_go(self) -> None:
        """Of all that works for this request."""

    def caller_gone(self) -> None:
        """The caller has left, or waits no more."""
        self._let_go()
        if not self.answered:
            self.answered = True
            self._is_complete = not (self._is_out or self._is_cut_off)
        self._tell()
        if self._upload is not None:
            self._upload.close()

    def cut_off(self) -> None:
        """It is ended before its time: its answer will not come whole."""
        if not self.answered:
            self._is_cut_off = True

    def expired(self) -> None:
        """The deadline is over."""
        self.deadline = NEVER

    @abstractmethod
    def pause_answer(self) -> None:
        """The caller takes no more for the moment."""

    @abstractmethod
    def resume_answer(self) -> None:
        """It takes more."""

    # -- its body ----------------------------------------------------------------------------

    @property
    def upgrades(self) -> bool:
        """Whether the caller wants to switch to a protocol that it may have."""
        return False

    @property
    def is_useless(self) -> bool:
        """Whether nobody wants the rest of the body."""
        return self._upload is None or self._upload.is_useless

    def body_came(self, piece: bytes) -> None:
        """Some of it has come."""
        if self._upload is not None:
            self._upload.feed(piece)

    def body_ended(self) -> None:
        """All of it has come."""
        if self._upload is not None:
            self._upload.end()
        if self.answered:
            self._caller.body_read_away(self)

    def body_broke_off(self) -> None:
        """It will not come whole."""
        self._refuse_body(ErrorCode.BAD_REQUEST, BROKE_OFF)

    def body_too_slow(self) -> None:
        """It does not come."""
        self._refuse_body(ErrorCode.REQUEST_TIMEOUT, TOO_SLOW)

    def _refuse_body(self, code: ErrorCode, detail: str) -> None:
        """What came is no whole request: it must not be taken for one."""
        self.closes = True
        if self._upload is not None:
            self._upload.discard()
        if self.answered:
            self._caller.abort()
        elif not self._is_begun:
            self._instead = code, detail
        elif self._is_out:
            self._break_off()
        else:
            self._refuse(code, detail)

    # -- answers of our own ------------------------------------------------------------------

    def _refuse(self, code: ErrorCode, detail: str) -> None:
        self._own(answer(code, detail=detail, route=self.route_name, close=True))

    def _own(self, own: Answer) -> None:
        """Answer by ourselves."""
        self._let_go()
        self._status, self._code = own.status, own.code
        self._decide_to_close()
        self.closes = self.closes or own.close
        request = self.head.request
        fields = [*own.headers, (b"Date", formatdate(usegmt=True).encode())]
        if self._shared:
            share(fields, self._shared)
        is_new = request.version != "1.0"
        if self.closes == is_new:  # in either case not what the version means by itself
            fields.append((b"Connection", b"close" if is_new else b"keep-alive"))
        reason = HTTPStatus(own.status).phrase.encode()
        line = b"HTTP/1.%d %d %b" % (1 if is_new else 0, own.status, reason)
        body = b"" if request.method == b"HEAD" else own.body
        self._bytes_out = len(body)
        self._is_out = self.answered = True
        self._is_complete = True
        self.deadline = NEVER
        self._caller.write(message_head(line, fields) + body)
        if self._upload is not None and not self._upload.is_useless:
            self._upload.discard()
        self._tell()
        self._caller.answered(self)

    def _decide_to_close(self) -> None:
        """Whether this answer is the last on its connection."""
        upload = self._upload
        if self._caller.server.draining:
            self.closes = True
        elif self.head.expects and not self._continue_told and upload is not None:
            # Whether the body comes now or the next request, nobody knows.
            self.closes = self.closes or not upload.received

    def _break_off(self) -> None:
        """The answer broke off: so it does for the caller."""
        self.answered = True
        self._is_complete = False
        self.deadline = NEVER
        self._let_go()
        if self._upload is not None:
            self._upload.discard()
        self._caller.abort()
        self._tell()

    # -- about it ----------------------------------------------------------------------------

    @property
    def is_in_flight(self) -> bool:
        """Whether it is being answered."""
        return self._is_begun and not self._told

    def _tell(self, now: float = 0.0) -> None:
        """Tell of this request, once; `now` is the loop's time, for who has asked already."""
        if self._told or not self._is_begun:
            return
        self._told = True
        server, head = self._caller.server, self.head
        method, path = head.told or head.tell()
        server.parts.observe(
            RequestServed(
                route=self.route_name or "",
                method=method,
                path=path,
                status=self._status,
                seconds=(now or server.loop.time()) - self._began,
                bytes_in=self._bytes_in if self._upload is None else self._upload.received,
                bytes_out=self._bytes_out,
                replayed=self._replayed,
                code=None if self._code is None else self._code.value,
                complete=self._is_complete,
                error=self._error,
                upstream_seconds=self._upstream_seconds,
                replay=self._outcome() if self._replayed else self._replay,
            )
        )

    def _outcome(self) -> str | None:
        """What became of a replay: accepted, if it was answered and nothing speaks against it."""
        is_answered = self._code is None and self._status != CALLER_LEFT
        return self._replay or (Outcome.ACCEPTED if is_answered else None)


class Refusal(Turn):
    """A request that goes nowhere: it is answered here."""

    def __init__(
        self, caller: "Downstream", head: Head, verdict: Denied | OptionsAsked | Preflight
    ) -> None:
        super().__init__(caller, head)
        self._verdict = verdict
        if isinstance(verdict, Denied):
            self.route_name, self._shared = verdict.route, verdict.shared
            self.is_refused = verdict.close
            self.closes = self.closes or verdict.close
        elif isinstance(verdict, Preflight):
            self.route_name = verdict.route
        if head.has_body:
            self._upload = Upload(NO_REPLAY, head.length, caller.read_on)
            self._upload.discard()

    def _start(self, known: KnownRequest | None) -> None:
        del known
        match self._verdict:
            case OptionsAsked():
                self._own(options_answer())
            case Preflight(fields):
                self._own(preflight_answer(fields))
            case Denied() as denied:
                self._own(denied.answer())

    def _fail_with(self, error: Exception) -> None:
        raise error

    def _let_go(self) -> None:
        """Nothing works for it."""

    def pause_answer(self) -> None:
        """It has gone out in one piece."""

    def resume_answer(self) -> None:
        """Likewise."""
