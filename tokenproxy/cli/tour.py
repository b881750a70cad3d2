"""The demo's tour: a few requests that make renewal and replay happen, and say what happened.

Each step checks what it shows: a tour that ends well is proof that the main job works here.
"""

import asyncio
import hashlib
import os
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass

import aiohttp
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenproxy.cli.output import out
from tokenproxy.clock import Clock, SystemClock
from tokenproxy.errors import TokenproxyError
from tokenproxy.events import Event, RequestServed, TokenRejected, TokenRenewed
from tokenproxy.testing.demo import ACCESS_LIFE, Demo

CROWD = 50
BODY_SIZE = 256 << 10
FRAME = 0.1  # seconds between two pictures of the life bar
PATIENCE = 3 * ACCESS_LIFE
OK, UNAUTHORIZED = 200, 401


class TourError(TokenproxyError):
    """The demo did not do what it was about to show."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer, as a client sees it."""

    status: int
    text: str


class Tour:
    """Drives the demo and tells of it; `observe` hears what the proxy does meanwhile."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._events: list[Event] = []
        self._renewed = asyncio.Event()
        self._began = self._ends = 0.0
        self._step = 0
        self._invited = False

    def observe(self, event: Event) -> None:
        """Note what happened; once the person has been invited, show it as well."""
        self._events.append(event)
        if isinstance(event, TokenRenewed):
            now = self._clock.now().steady
            self._began, self._ends = now, now + (event.expires_in or 0)
            self._renewed.set()
        if self._invited and (line := _line(event)) is not None:
            out.print(line)

    async def run(self, world: Demo) -> None:
        """All steps. Raises TourError where something is not as it should be."""
        self._introduce(world)
        async with aiohttp.ClientSession() as client:
            await self._without_a_token(client, world)
            await self._through_the_proxy(client, world)
            await self._ahead_of_its_end(client, world)
            await self._rejected_and_replayed(client, world)
            await self._a_crowd(client, world)
        self._sum_up(world)

    # -- the steps ---------------------------------------------------------------------------

    async def _without_a_token(self, client: aiohttp.ClientSession, world: Demo) -> None:
        self._title("A client that knows nothing of tokens asks the API itself.")
        seen = await self._get(client, f"{world.api.url}/items/")
        _expect(seen.status == UNAUTHORIZED, "the API should have wanted a token")

    async def _through_the_proxy(self, client: aiohttp.ClientSession, world: Demo) -> None:
        self._title("The same client asks the proxy, which signs in and adds the token.")
        seen = await self._get(client, f"{world.url}/items/")
        _expect(seen.status == OK, "the proxy should have added a token")
        _note(f"the issuer saw {_count(world.issuer.logins, 'login')}; the client saw no token")

    async def _ahead_of_its_end(self, client: aiohttp.ClientSession, world: Demo) -> None:
        self._title("The token lives five seconds, and is renewed before they are over.")
        self._renewed.clear()
        await self._watch_the_bar()
        seen = await self._get(client, f"{world.url}/items/")
        _expect(seen.status == OK, "the renewed token should have been good")

    async def _rejected_and_replayed(self, client: aiohttp.ClientSession, world: Demo) -> None:
        self._title("The API forgets all tokens just before an upload.")
        await self._let_it_age()
        world.issuer.expire_now()
        body = os.urandom(BODY_SIZE)
        before = len(world.api.requests)
        seen = await self._post(client, f"{world.url}/hash", body)
        _expect(seen.status == OK, "the upload should have been sent again")
        _expect(hashlib.sha256(body).hexdigest() in seen.text, "the upload arrived changed")
        sends = len(world.api.requests) - before
        _note(f"the API saw it {_count(sends, 'time')}: 401, renewal, and the same bytes again")

    async def _a_crowd(self, client: aiohttp.ClientSession, world: Demo) -> None:
        self._title(f"It forgets them again, and {CROWD} clients come at once.")
        await self._let_it_age()
        world.issuer.expire_now()
        before = world.issuer.refreshes
        url = f"{world.url}/items/"
        statuses = await asyncio.gather(*(_status(client, url) for _ in range(CROWD)))
        counted = ", ".join(f"{n} x {status}" for status, n in Counter(statuses).items())
        out.print(f"     [dim]$[/] curl {escape(url)} [dim](x {CROWD})[/]")
        out.print(f"     [green]{counted}[/]")
        renewals = world.issuer.refreshes - before
        _expect(set(statuses) == {OK}, "every client should have been served")
        _expect(renewals == 1, "one renewal should have been enough for all")
        _note(f"the issuer saw {_count(renewals, 'renewal')} for all of them")

    # -- what they share ---------------------------------------------------------------------

    async def _get(self, client: aiohttp.ClientSession, url: str) -> Seen:
        out.print(f"     [dim]$[/] curl {escape(url)}")
        async with client.get(url) as response:
            return _shown(Seen(response.status, await response.text()))

    async def _post(self, client: aiohttp.ClientSession, url: str, body: bytes) -> Seen:
        size = f"{len(body) >> 10} KiB"
        out.print(f"     [dim]$[/] curl --data-binary @random.bin {escape(url)} [dim]({size})[/]")
        async with client.post(url, data=body) as response:
            return _shown(Seen(response.status, await response.text()))

    async def _watch_the_bar(self) -> None:
        """Show the token's life run down, until it has been renewed."""
        began = self._clock.now().steady
        with Live(console=out, auto_refresh=False) if out.is_terminal else nullcontext() as live:
            while not self._renewed.is_set():
                waited = self._clock.now().steady - began
                _expect(waited < PATIENCE, "the token was not renewed in time")
                if live is not None:
                    live.update(self._bar(), refresh=True)
                await self._clock.sleep(FRAME)
            if live is not None:
                live.update(self._bar(renewed=True), refresh=True)
        _note(f"renewed after {self._clock.now().steady - began:.1f} s, and nobody had to wait")

    def _bar(self, *, renewed: bool = False) -> Table:
        left = max(0.0, self._ends - self._clock.now().steady)
        life = max(self._ends - self._began, FRAME)
        row = Table.grid(padding=(0, 1))
        style = "green" if left > life / 4 else "yellow"
        bar = ProgressBar(total=life, completed=left, width=32, complete_style=style)
        word = Text(
            "renewed" if renewed else f"{left:.1f} s left", style="green" if renewed else ""
        )
        row.add_row("    token", bar, word)
        return row

    async def _let_it_age(self) -> None:
        """A token younger than `min_interval` (1 s in the demo) is not renewed for a 401."""
        await self._clock.sleep(max(0.0, self._began + 1.1 - self._clock.now().steady))

    def _introduce(self, world: Demo) -> None:
        out.print()
        out.print("  [bold]tokenproxy demo[/]  [dim]three real servers on this machine[/]")
        out.print()
        places = Table.grid(padding=(0, 2))
        places.add_row(
            "  issuer", world.issuer.url, "access tokens live 5 s, refresh tokens rotate"
        )
        places.add_row("  API", world.api.url, "401 for whoever has no good token")
        places.add_row("  [bold]proxy[/]", f"[bold]{world.url}[/]", "what clients talk to")
        out.print(places)

    def _title(self, sentence: str) -> None:
        self._step += 1
        out.print()
        out.print(f"  [bold cyan]{self._step}[/]  [bold]{sentence}[/]")

    def _sum_up(self, world: Demo) -> None:
        issuer = world.issuer
        _expect(issuer.refused_refreshes == 0, "a refresh token was used twice")
        rejected = sum(isinstance(event, TokenRejected) for event in self._events)
        out.print()
        out.print(
            f"  [green]All as it should be:[/] {_count(issuer.logins, 'login')}, "
            f"{_count(issuer.refreshes, 'renewal')}, {_count(rejected, 'rejected token')}, "
            "no refresh token used twice."
        )

    def invite(self, world: Demo) -> None:
        """Hand over to the person."""
        out.print()
        out.print("  [bold]Now you:[/] the proxy goes on serving. Try, in another terminal:")
        out.print()
        out.print(f"     curl {world.url}/items/")
        out.print(f"     curl -N '{world.url}/stream?n=20&interval=1'")
        out.print()
        out.print("  [dim]Ctrl-C ends it.[/]")
        out.print()
        self._invited = True

    def farewell(self) -> None:
        """The last word."""
        self._invited = False
        out.print()


def _shown(seen: Seen) -> Seen:
    style = "green" if seen.status == OK else "red"
    text = seen.text if len(seen.text) < 76 else f"{seen.text[:72]} ..."  # noqa: PLR2004 - a line
    out.print(f"     [{style}]{seen.status}[/] [dim]{escape(text)}[/]")
    return seen


def _note(sentence: str) -> None:
    out.print(f"     [italic]{sentence}[/]")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _expect(fact: bool, sentence: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not fact:
        raise TourError(f"the demo failed: {sentence}; please report it")


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        await response.read()
        return response.status


def _line(event: Event) -> str | None:
    match event:
        case TokenRenewed():
            return (
                f"  [cyan]renewed[/]  token {event.token}, good for {event.expires_in or 0:.1f} s"
            )
        case TokenRejected():
            return f"  [yellow]rejected[/] token {event.token}"
        case RequestServed():
            style = "green" if event.status < 400 else "red"  # noqa: PLR2004 - errors begin there
            again = " [yellow](sent again with a new token)[/]" if event.replayed else ""
            path = escape(event.path)
            return f"  [{style}]{event.status}[/]      {event.method} {path}{again}"
        case _:
            return None
