"""What a service manager says is taken as its own libraries take it."""

import pytest

from tokenproxy.environment import Service, take_service

OURS = 4711
NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS")


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ({}, Service()),
        ({"WATCHDOG_USEC": "3000000"}, Service(watchdog=3.0)),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "4711"}, Service(watchdog=3.0)),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, Service()),
        ({"WATCHDOG_USEC": "0"}, Service()),
        ({"WATCHDOG_USEC": "-1"}, Service()),
        ({"WATCHDOG_USEC": str((1 << 64) - 1)}, Service()),
        ({"WATCHDOG_USEC": "9" * 400}, Service()),
        ({"WATCHDOG_USEC": "9" * 5000}, Service()),
        ({"WATCHDOG_USEC": "\u0663"}, Service()),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "4711"}, Service(descriptors=2)),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, Service()),
        ({"LISTEN_FDS": "2"}, Service()),
        ({"LISTEN_FDS": "-2", "LISTEN_PID": "4711"}, Service()),
        ({"LISTEN_FDS": str(1 << 40), "LISTEN_PID": "4711"}, Service()),
        ({"LISTEN_FDS": "9" * 5000, "LISTEN_PID": "4711"}, Service()),
        ({"NOTIFY_SOCKET": "/run/notify"}, Service(notify_socket="/run/notify")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_number_that_is_none_or_out_of_range_counts_as_not_said(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], taken: Service
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, said.get(name, ""))
    assert take_service(OURS) == taken
