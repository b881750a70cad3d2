"""What `tokenproxy status` shows a person, on wide and on narrow terminals."""

import io
from typing import Literal

import pytest
from rich.console import Console

from tokenproxy.cli.login import has_screen
from tokenproxy.cli.status import BAR, NARROW_BAR, WIDE, person_view
from tokenproxy.clock import SystemClock
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

NOW = SystemClock().now().wall
FILLED, EMPTY = "━", " "


def status(state: State, left: float | None, error: str | None = None) -> Status:
    """Of a token whose life is 1,000 seconds."""
    expires = None if left is None else NOW + left
    issued = None if expires is None else expires - 1000
    return Status(state, False, expires, NOW - 60, error, issued_at=issued)


ALL = {
    "half": status(State.FRESH, 500),
    "over": status(State.EXPIRED, -5),
    "endless": status(State.FRESH, None),
    "refused": status(
        State.LOGIN_REQUIRED,
        None,
        "credential 'refused': [red] it said no, and that at great length",
    ),
}


def shown(width: int, *, colours: bool = False) -> list[str]:
    stream = io.StringIO()
    kind: Literal["standard"] | None = "standard" if colours else None
    console = Console(
        file=stream, width=width, color_system=kind, force_terminal=colours, highlight=False
    )
    console.print(*person_view(ALL, width, NOW))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert [line for line in shown(width) if len(line) > width] == []


@pytest.mark.parametrize(("width", "bar"), [(WIDE + 40, BAR), (WIDE - 1, NARROW_BAR)])
def test_a_bar_shows_the_share_that_is_left(width: int, bar: int) -> None:
    rows = {line.split()[0]: line for line in shown(width)[1:] if line[:1].strip()}
    assert rows["half"].count(FILLED) == bar // 2
    assert rows["endless"].count(FILLED) == 0
    assert "expired" in rows["over"]
    assert "good until it is rejected" in " ".join(shown(200))
    assert "refused: [red] it said no, and that at great length" in shown(200)


def test_only_a_terminal_with_colours_gets_them() -> None:
    assert "\x1b[" in "".join(shown(100, colours=True))
    assert "\x1b" not in "".join(shown(100))


@pytest.mark.parametrize(
    ("platform", "told", "is_there"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"SSH_CONNECTION": "1", "DISPLAY": "localhost:10.0"}, True),
        ("linux", {"BROWSER": "wslview"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1"}, False),
    ],
)
def test_a_browser_is_opened_only_where_somebody_sees_it(
    platform: str, told: dict[str, str], is_there: bool
) -> None:
    assert has_screen(platform, told) is is_there
