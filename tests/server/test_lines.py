"""What many processes write to one pipe or file stays whole lines."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.server.lines import in_whole_lines, open_lines, pieces

WRITER = """
import sys
from tokenproxy.server.lines import open_lines
stream = open_lines(2)
line = '{"writer": %s, "number": %d, "text": "%s"}'
for number in range(200):
    print(line % (sys.argv[1], number, "x" * 900), file=stream)
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


@given(st.lists(st.binary(min_size=1, max_size=60).map(lambda text: text + b"\n")))
def test_pieces_are_all_of_it_and_end_with_lines(lines: list[bytes]) -> None:
    found = pieces(lines, 40)
    assert b"".join(found) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in found)
    assert all(len(piece) <= 40 or piece in lines for piece in found)


def test_a_stream_that_holds_nothing_back_is_written_in_whole_lines(
    pipe: tuple[int, int],
) -> None:
    """As standard error is with PYTHONUNBUFFERED, which containers set."""
    reading, writing = pipe
    with open(writing, "wb", buffering=0, closefd=False) as raw:
        stream = in_whole_lines(io.TextIOWrapper(raw, write_through=True))
        print("one", end="", file=stream)
        print(" line", file=stream)
        assert os.read(reading, 100) == b"one line\n"


def test_a_stream_without_a_descriptor_stays_as_it_is() -> None:
    stream = io.StringIO()
    assert in_whole_lines(stream) is stream


def test_a_line_is_written_once_it_has_come_to_its_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    stream = open_lines(writing)
    print("one", end="", file=stream)
    print(" line\nand the next", end="", file=stream, flush=True)
    assert os.read(reading, 100) == b"one line\n"
    print(file=stream)
    assert os.read(reading, 100) == b"and the next\n"


def test_what_is_no_unicode_is_told_as_such(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    print("a\ud800é", file=open_lines(writing))
    assert os.read(reading, 100) == "a\\ud800é\n".encode()


def test_it_is_a_terminal_where_its_descriptor_is(pipe: tuple[int, int]) -> None:
    controller, terminal = os.openpty()
    assert open_lines(terminal).isatty()
    assert not open_lines(pipe[1]).isatty()
    os.close(controller)
    os.close(terminal)


def test_closing_it_leaves_the_descriptor_open(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    open_lines(writing).close()
    os.write(writing, b"still")
    assert os.read(reading, 100) == b"still"


def test_lines_of_many_writers_stay_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(number)], stderr=writing)
        for number in range(4)
    ]
    with os.fdopen(os.dup(reading), "rb") as lines:
        read = [json.loads(next(lines)) for _ in range(4 * 200)]
    assert [writer.wait() for writer in writers] == [0] * 4
    for number in range(4):
        assert [line["number"] for line in read if line["writer"] == number] == list(range(200))
