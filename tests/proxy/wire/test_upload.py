"""A body on its way, however it comes, is held, stands still, is sent anew, or is not kept."""

import errno
from collections.abc import Callable
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.proxy import body as spools
from tokenproxy.proxy.wire.upload import BACKLOG, Upload
from tokenproxy.settings.route import Replay

BODY = bytes(range(256)) * 16


class Sink:
    """Takes `room` bytes until it is full."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.got = b""
        self.ended = False

    @property
    def is_full(self) -> bool:
        return len(self.got) >= self.room

    def send_piece(self, piece: bytes) -> None:
        assert piece
        assert not self.ended
        self.got += piece

    def send_end(self) -> None:
        assert not self.ended
        self.ended = True


def upload(
    max_body: int = 1 << 20,
    memory: int = 16,
    length: int | None = None,
    read_on: Callable[[bool], None] = lambda _: None,
) -> Upload:
    return Upload(Replay(memory=memory, max_body=max_body), length, read_on)


def small_disk(patch: pytest.MonkeyPatch, room: int) -> None:
    """Files take `room` bytes, and of a write that is too large a part."""

    def write(file: IO[bytes], data: bytes | bytearray) -> None:
        nonlocal room
        fits = min(room, len(data))
        room -= fits
        write_all(file, data[:fits])
        if fits < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    write_all = spools._write_all
    patch.setattr(spools, "_write_all", write)


def test_what_outgrows_the_spool_while_nobody_takes_it_is_sent_from_the_beginning() -> None:
    body, first, second = upload(max_body=100), Sink(), Sink()
    body.attach(first)
    body.feed(BODY[:80])
    body.detach()
    assert body.is_replayable
    body.feed(BODY[80:200])
    assert body.is_replayable
    body.attach(second)
    body.feed(BODY[200:300])
    body.end()
    assert (first.got, second.got, second.ended) == (BODY[:80], BODY[:300], True)


def test_a_disk_that_fills_up_between_two_sends_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body, first, second = upload(), Sink(), Sink()
    small_disk(monkeypatch, 100)
    body.attach(first)
    body.feed(BODY[:80])
    body.detach()
    body.feed(BODY[80:160])
    assert body.is_replayable
    body.attach(second)
    body.feed(BODY[160:240])
    body.end()
    assert (second.got, second.ended) == (BODY[:240], True)
    assert not body.is_replayable


def test_a_disk_that_fills_up_while_the_upload_stands_still_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body, sink = upload(), Sink(room=40)
    small_disk(monkeypatch, 100)
    body.attach(sink)
    body.feed(BODY[:60])
    body.feed(BODY[60:160])
    sink.room = 1 << 30
    body.pump()
    body.feed(BODY[160:170])
    body.end()
    assert (sink.got, sink.ended) == (BODY[:170], True)


def test_what_is_left_in_a_file_of_a_write_that_failed_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body, sink = upload(memory=0), Sink()
    small_disk(monkeypatch, 100)
    for at in range(0, 240, 60):
        body.feed(BODY[at : at + 60])
    body.attach(sink)
    body.end()
    assert (sink.got, sink.ended) == (BODY[:240], True)


def test_what_was_not_kept_holds_the_caller_back_and_takes_no_more_memory_than_a_backlog() -> None:
    reads: list[bool] = []
    body = upload(max_body=100, read_on=reads.append)
    body.attach(Sink(room=50))
    for _ in range(2 * BACKLOG // len(BODY)):
        body.feed(BODY)
        if reads == [False]:
            break
    assert reads == [False]
    assert body.received <= BACKLOG + 2 * len(BODY)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(1, 60)),
        st.tuples(st.just("attach"), st.integers(0, 200)),
        st.tuples(st.just("attach and wait"), st.integers(0, 200)),
        st.tuples(st.just("room"), st.integers(0, 200)),
        st.tuples(st.sampled_from(["hold", "go on", "detach", "pump"]), st.just(0)),
    ),
    max_size=30,
)


@given(
    steps=STEPS,
    max_body=st.integers(0, 300),
    memory=st.integers(0, 100),
    disk=st.integers(0, 300),
)
def test_every_sink_gets_the_body_from_its_beginning_and_the_last_gets_all(
    steps: list[tuple[str, int]], max_body: int, memory: int, disk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_disk(patch, disk)
        body = upload(max_body=max_body, memory=memory)
        run(body, steps)


def run(body: Upload, steps: list[tuple[str, int]]) -> None:  # noqa: C901 - all that may happen
    sink: Sink | None = None
    was_attached = False

    def check() -> None:
        if sink is not None:
            assert sink.got == BODY[: len(sink.got)]
            assert len(sink.got) <= body.received

    for step, number in steps:
        match step:
            case "feed":
                promised = sink is None and body.is_replayable
                body.feed(BODY[body.received : body.received + number])
                assert body.is_replayable or not promised
            case "attach" | "attach and wait":
                if was_attached and not body.is_replayable:
                    continue
                body.detach()
                sink, was_attached = Sink(number), True
                body.attach(sink, waits=step != "attach")
            case "room" if sink is not None:
                sink.room += number
                body.pump()
            case "hold":
                body.hold()
            case "go on":
                body.go_on()
            case "detach":
                body.detach()
                sink = None
            case "pump":
                body.pump()
            case _:
                pass
        check()
    body.end()
    if sink is None and was_attached and not body.is_replayable:
        body.close()
        return
    if sink is None:
        sink = Sink()
        body.attach(sink)
    sink.room = 1 << 30
    body.go_on()
    check()
    assert sink.got == BODY[: body.received]
    assert sink.ended
    body.close()
