"""`tokenproxy login NAME`: a person signs in, in a browser or on another device."""

import asyncio
import socket
import sys
import threading
import webbrowser
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from tokenproxy.cli.callback import HTTP, Visit, listening
from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import NameArgument, stored, with_keeper
from tokenproxy.cli.output import out, warn
from tokenproxy.cli.times import good_for
from tokenproxy.config.load import Loaded
from tokenproxy.environment import variables
from tokenproxy.errors import SourceRefused
from tokenproxy.settings.oauth2 import FREE_PORT, OAuth2
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.oauth2.code import PATIENCE, Begun, CodeFlow, ForeignAnswer
from tokenproxy.tokens.oauth2.device import DeviceFlow
from tokenproxy.tokens.token import Granted


def login(
    name: NameArgument,
    config: ConfigOption = None,
    *,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            envvar="TOKENPROXY_BROWSER",
            help="Open a browser, or only show where to go.",
        ),
    ] = True,
) -> None:
    """Sign in, where a person must; else renew the token now."""
    loaded = stored(config)

    async def sign_in(keeper: Keeper) -> float | None:
        match keeper.sign_in:
            case DeviceFlow() as flow:
                await keeper.probe()
                await keeper.adopt(await _on_a_device(flow))
            case CodeFlow() as flow:
                await keeper.probe()
                await _in_a_browser(keeper, flow, _redirect_uri(loaded, name), browser=browser)
            case None:
                return (await keeper.refresh()).token.expires_at
        return keeper.status().expires_at

    expires_at = with_keeper(loaded, name, sign_in)
    out.print(f"[green]{escape(name)}: signed in[/], {good_for(expires_at)}")


def _redirect_uri(loaded: Loaded, name: str) -> str:
    settings = loaded.config.credentials[name]
    return settings.redirect_uri if isinstance(settings, OAuth2) else FREE_PORT


async def _on_a_device(flow: DeviceFlow) -> Granted:
    code = await flow.begin()
    out.print()
    out.print("  On any device that has a browser:")
    out.print()
    out.print(f"  Go to    [bold]{escape(code.verification_uri)}[/]")
    out.print(f"  and type [bold cyan]{escape(code.user_code)}[/]")
    if code.verification_uri_complete is not None:
        out.print(f"  or go to {escape(code.verification_uri_complete)}")
    out.print()
    out.print("  [dim]Waiting for you to sign in; Ctrl-C gives up.[/]")
    return await flow.wait(code)


async def _in_a_browser(
    keeper: Keeper, flow: CodeFlow, redirect_uri: str, *, browser: bool
) -> None:
    async with listening(redirect_uri) as callback:
        begun = await flow.begin(callback.url)
        out.print()
        out.print("  Sign in at", escape(begun.url), soft_wrap=True)
        out.print()
        if browser and has_screen(sys.platform, variables()):
            threading.Thread(target=_open, args=[begun.url], name="browser", daemon=True).start()
        else:
            _tell_the_way_back(callback.url)
        try:
            async with asyncio.timeout(PATIENCE):
                while not await _is_signed_in(keeper, flow, begun, await callback.visits.get()):
                    pass
        except TimeoutError as error:
            raise SourceRefused(
                f"credential '{keeper.name}' was not let in within ten minutes; run "
                f"'tokenproxy login {keeper.name}' again"
            ) from error


async def _is_signed_in(keeper: Keeper, flow: CodeFlow, begun: Begun, visit: Visit) -> bool:
    """Whether this visit was the one; the browser is told what has really happened."""
    try:
        await keeper.adopt(await flow.finish(begun, visit.query))
    except ForeignAnswer:
        visit.answer(ok=False, text="This is no answer to a sign-in of ours.")
        return False
    except Exception as error:
        visit.answer(ok=False, text=str(error))
        raise
    visit.answer(ok=True, text="You are signed in and can close this page.")
    return True


def has_screen(platform: str, told: Mapping[str, str]) -> bool:
    """Whether a browser that is opened here can be seen; one in this terminal cannot sign in."""
    if told.get("BROWSER"):
        return True
    if platform == "darwin":
        return "SSH_CONNECTION" not in told
    return bool(told.get("DISPLAY") or told.get("WAYLAND_DISPLAY"))


def _tell_the_way_back(callback: str) -> None:
    """A browser elsewhere comes back to its own machine, and has to be led here."""
    port = urlsplit(callback).port or HTTP
    out.print("  [dim]Where the browser is on another machine, first run this there:[/]")
    out.print(f"  ssh -L {port}:127.0.0.1:{port} {escape(socket.gethostname())}")
    out.print()


def _open(url: str) -> None:
    """Show it to the person; some browsers give back control only when they are closed."""
    try:
        is_open = webbrowser.open(url)
    except Exception:  # noqa: BLE001 - such as a $BROWSER that is no command
        is_open = False
    if not is_open:
        warn("no browser could be opened: go there yourself")
