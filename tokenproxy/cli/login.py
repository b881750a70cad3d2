"""`tokenproxy login NAME`: a person signs in, in a browser or on another device."""

import asyncio
import threading
import webbrowser
from typing import Annotated

import typer
from rich.markup import escape

from tokenproxy.cli.callback import listening
from tokenproxy.cli.config import ConfigOption, load
from tokenproxy.cli.credential import NameArgument, with_keeper
from tokenproxy.cli.output import out, warn
from tokenproxy.cli.times import good_for
from tokenproxy.errors import SourceRefused
from tokenproxy.settings.oauth2 import FREE_PORT, OAuth2
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.oauth2.code import CodeFlow, ForeignAnswer
from tokenproxy.tokens.oauth2.device import DeviceFlow
from tokenproxy.tokens.token import Granted

PATIENCE = 600.0  # seconds for a person at a browser


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
    _, loaded = load(config)
    settings = loaded.config.credentials.get(name)
    redirect_uri = settings.redirect_uri if isinstance(settings, OAuth2) else FREE_PORT

    async def sign_in(keeper: Keeper) -> float | None:
        match keeper.sign_in:
            case DeviceFlow() as flow:
                await keeper.adopt(await _on_a_device(flow))
            case CodeFlow() as flow:
                await keeper.adopt(await _in_a_browser(name, flow, redirect_uri, browser=browser))
            case None:
                return (await keeper.refresh()).token.expires_at
        return keeper.status().expires_at

    expires_at = with_keeper(config, name, sign_in)
    out.print(f"[green]{name}: signed in[/], {good_for(expires_at)}")


async def _on_a_device(flow: DeviceFlow) -> Granted:
    code = await flow.begin()
    out.print()
    out.print(f"  Go to    [bold]{escape(code.verification_uri)}[/]")
    out.print(f"  and type [bold cyan]{escape(code.user_code)}[/]")
    if code.verification_uri_complete is not None:
        out.print(f"  or go to {escape(code.verification_uri_complete)}")
    out.print()
    return await flow.wait(code)


async def _in_a_browser(name: str, flow: CodeFlow, redirect_uri: str, *, browser: bool) -> Granted:
    async with listening(redirect_uri) as callback:
        begun = await flow.begin(callback.url)
        out.print()
        out.print("  Sign in at", escape(begun.url), soft_wrap=True)
        out.print()
        if browser:
            threading.Thread(target=_open, args=[begun.url], name="browser", daemon=True).start()
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    visit = await callback.visits.get()
                    try:
                        granted = await flow.finish(begun, visit.query)
                    except ForeignAnswer:
                        visit.answer(ok=False, text="This is no answer to a sign-in of ours.")
                    except Exception as error:
                        visit.answer(ok=False, text=str(error))
                        raise
                    else:
                        visit.answer(ok=True, text="You are signed in and can close this page.")
                        return granted
        except TimeoutError as error:
            raise SourceRefused(
                f"credential '{name}' was not let in within ten minutes; run "
                f"'tokenproxy login {name}' again"
            ) from error


def _open(url: str) -> None:
    """Show it to the person; some browsers give back control only when they are closed."""
    if not webbrowser.open(url):
        warn("no browser could be opened: go there yourself")
