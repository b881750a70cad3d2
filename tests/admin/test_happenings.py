"""What people are told of what has happened."""

from typing import get_args

import pytest

from tests.admin.counting import served
from tokenproxy.admin.happenings import LONGEST, MOST, Happenings
from tokenproxy.admin.whereabouts import Whereabouts
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
from tokenproxy.server.log import LINES

TOLD: list[tuple[Event, str, str]] = [
    (TokenRenewed("a", "label", 0.21, 300.0), "info", "renewed in 210 ms, good for 5m"),
    (
        TokenRenewed("a", "label", 0.21, None),
        "info",
        "renewed in 210 ms, good until it is rejected",
    ),
    (TokenTakenUp("a", "label"), "info", "a token was found in the store"),
    (TokenRejected("a", "label"), "info", "the API did not take the token"),
    (RenewalFailed("a", "it hangs", 9.7), "warning", "it hangs; it is tried again in 10s"),
    (RenewalFailed("a", "it hangs", 0.1), "warning", "it hangs; it is tried again in 1s"),
    (LoginRequired("a", "it said no"), "error", "it said no"),
    (SignInFailed("a", "not let in"), "warning", "not let in"),
    (NotPersisted("a", "disk full"), "warning", "the token is in memory only: disk full"),
    (Persisted("a"), "info", "the store keeps the token again"),
    (StoreTrouble("a", "odd"), "warning", "odd"),
    (InternalError("r", "E"), "error", "a request met a fault of tokenproxy's own (E)"),
    (DescriptorsUsedUp("no room"), "warning", "no room"),
    (Reloaded("c.yaml", 0.1), "info", "another config is in force"),
    (
        Reloaded("c.yaml", 0.1, "workers"),
        "warning",
        "another config is in force, but for what needs a restart: workers",
    ),
    (ReloadFailed("c.yaml", "3: listn: is no key"), "error", "3: listn: is no key"),
    (ReloadUnneeded("nothing has changed"), "info", "nothing has changed"),
    (Stopping("SIGTERM"), "info", "told to stop by SIGTERM"),
    (WorkerStarted(1, 47), "info", "worker 1 serves, as process 47"),
    (
        WorkerDied(1, None, "SIGKILL", None, 0.1),
        "error",
        "worker 1 ended (by SIGKILL, another follows in 0.1 s)",
    ),
    (WorkerDied(1, 3, None, None, None), "error", "worker 1 ended (with code 3)"),
    (WorkerDied(1, None, None, "no process", None), "error", "worker 1 ended (no process)"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "level", "text"), TOLD)
def test_each_is_told_in_a_sentence_under_its_name_in_the_log(
    event: Event, level: str, text: str
) -> None:
    happenings = Happenings(lambda: 7.5)
    happenings(event)
    assert happenings.recent() == [
        {
            "at": 7.5,
            "level": level,
            "event": LINES[type(event)][1],
            "text": text,
            "credential": getattr(event, "credential", None),
            "route": getattr(event, "route", None),
        }
    ]


def test_no_event_is_forgotten_but_those_of_requests() -> None:
    happenings = Happenings(lambda: 0.0)
    happenings(served())
    assert happenings.recent() == []
    assert {type(event) for event, _, _ in TOLD} | {type(served())} == set(get_args(Event))


def test_the_last_hundred_are_kept_and_what_repeats_counts_once() -> None:
    now = [0.0]
    happenings = Happenings(lambda: now[0])
    for number in range(MOST + 5):
        now[0] = float(number)
        happenings(StoreTrouble("a", f"odd {number}"))
    now[0] = 999.0
    for _ in range(MOST):
        happenings(StoreTrouble("a", "odd"))
    told = happenings.recent()
    assert [each["text"] for each in told[-2:]] == [f"odd {MOST + 4}", "odd"]
    assert (len(told), told[-1]["at"]) == (MOST, 999.0)


def test_a_secret_that_an_issuer_quotes_is_not_shown_and_no_text_goes_on_for_ever() -> None:
    secret = Secret("a-refresh-token-of-somebody")
    happenings = Happenings(lambda: 0.0)
    happenings(LoginRequired("a", f"no to {secret.reveal()}" + "!" * 10_000))
    [told] = happenings.recent()
    assert told["text"].startswith("no to ***!")
    assert len(told["text"]) == LONGEST


def test_who_brought_a_token_is_told_by_its_label() -> None:
    whereabouts = Whereabouts()
    assert whereabouts.renewed_by("a", None) is None
    assert whereabouts.renewed_by("a", "one") == "another process"
    whereabouts.note(TokenRenewed("a", "one", 0.1, None))
    assert whereabouts.renewed_by("a", "one") == "this process"
    whereabouts.note(TokenRenewed("a", "two", 0.1, None), 2)
    assert whereabouts.renewed_by("a", "two") == "worker 2"
    assert whereabouts.renewed_by("a", "three") == "another process"


def test_what_a_worker_cannot_save_is_unsaved_until_it_can_or_ends() -> None:
    whereabouts = Whereabouts()
    for worker in (0, 1):
        whereabouts.note(NotPersisted("a", "full"), worker)
    assert (whereabouts.is_unsaved("a"), whereabouts.is_unsaved("b")) == (True, False)
    whereabouts.note(Persisted("a"), 0)
    assert whereabouts.is_unsaved("a")
    whereabouts.ended(1)
    assert not whereabouts.is_unsaved("a")
