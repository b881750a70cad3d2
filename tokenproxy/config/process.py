"""What the process as a whole can be told: listeners, shutdown and the log (contract 1)."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationInfo,
)

from tokenproxy.settings.base import (
    Duration,
    NonEmpty,
    Positive,
    Settings,
    TokenText,
    is_loopback,
    one_is_a_list_of_one,
)
from tokenproxy.settings.callers import CallerTimeouts
from tokenproxy.settings.tls import ListenerTls

_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@]+):(?P<port>[0-9]+)")
_UNIX = re.compile(r"unix:(?P<path>/[^?\0]*)(?:\?mode=(?P<mode>0?[0-7]{3}))?")
_OWNER_ONLY = 0o600
_WORKERS = re.compile(r"[0-9]{1,3}")
_MOST_WORKERS = 256  # each is a process of some 50 MB
_MAX_PORT = 65535
_SHORTEST_KEY = 16  # characters: what is guessed at over a network must not be guessable


def split_address(text: str) -> tuple[str, int] | None:
    """Host (without brackets) and port of a `host:port`, or None where it is not one."""
    match = _TCP.fullmatch(text)
    if match is None or not _is_port(match["port"]):
        return None
    return match["host"].strip("[]"), int(match["port"])


def _is_port(digits: str) -> bool:
    return len(digits) <= len(str(_MAX_PORT)) and int(digits) <= _MAX_PORT


def split_unix(text: str) -> tuple[str, int] | None:
    """Path and mode of a `unix:/path` or `unix:/path?mode=0660`, or None where it is not one."""
    match = _UNIX.fullmatch(text)
    if match is None:
        return None
    return match["path"], int(match["mode"], 8) if match["mode"] else _OWNER_ONLY


def _address(text: str) -> str:
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise ValueError("must be an absolute path, as in unix:/run/tokenproxy.sock")
        if "\0" in text:
            raise ValueError("must not hold a NUL byte")
        if split_unix(text) is None:
            raise ValueError(
                "takes a mode after its '?' and nothing else, in octal digits, as in "
                "unix:/run/tokenproxy.sock?mode=0660"
            )
        return text
    address = split_address(text)
    if address is None and _TCP.fullmatch(text):
        raise ValueError(f"has a port out of range: 0 (picks a free one) to {_MAX_PORT}")
    if address is None:
        raise ValueError("must be 'host:port' (port 0 picks a free one) or 'unix:/path'")
    return text


def _tcp_address(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError("is a unix socket, which has no use for 'tls': write it by itself")
    return _address(text)


def _no_bare_port(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueErrors
            "is a port alone: write it with its address, as in 127.0.0.1:8080"
        )
    return value


Address = Annotated[str, BeforeValidator(_no_bare_port), AfterValidator(_address)]


class TlsListener(Settings):
    """An address where callers speak TLS."""

    address: Annotated[str, BeforeValidator(_no_bare_port), AfterValidator(_tcp_address)]
    tls: ListenerTls


AnyListener = str | TlsListener


def address_of(listener: AnyListener) -> str:
    """Where it listens: `host:port` or `unix:/path`."""
    return listener if isinstance(listener, str) else listener.address


def _kind(value: Any) -> str:
    return "tls" if isinstance(value, dict | TlsListener) else "plain"


def _each_once(listeners: tuple[AnyListener, ...]) -> tuple[AnyListener, ...]:
    fixed = [at for at in map(address_of, listeners) if not at.endswith(":0")]
    if len(set(fixed)) < len(fixed):
        raise ValueError("names the same address twice")
    return listeners


def _guarded(listener: AnyListener, info: ValidationInfo) -> AnyListener:
    """Beyond this machine only where the config says so, and never unencrypted and for all."""
    address = split_address(address_of(listener))
    if address is None or is_loopback(address[0].lower()):
        return listener
    if "listen" not in info.data.get("allow_remote", ("listen",)):
        raise ValueError(
            "would let other machines use your tokens: listen on 127.0.0.1, [::1], localhost "
            "or a unix socket, or say 'allow_remote: [listen]'"
        )
    if isinstance(listener, str) and info.data.get("client_key", ()) is None:
        raise ValueError(
            "would let everybody on the network use your tokens: set a 'client_key', or 'tls' "
            "for this address, or both"
        )
    return listener


def _admin_guarded(address: str | None, info: ValidationInfo) -> str | None:
    """Beyond this machine only where the config says so, and nowhere that callers are served."""
    if address is None:
        return None
    tcp, remote = split_address(address), info.data.get("allow_remote", ("admin",))
    if tcp is not None and not is_loopback(tcp[0].lower()) and "admin" not in remote:
        raise ValueError(
            "would let other machines see how your credentials stand, and renew them: use "
            "127.0.0.1, [::1], localhost or a unix socket, or say 'allow_remote: [admin]'"
        )
    taken = [address_of(listener) for listener in info.data.get("listen", ())]
    if address in taken and not address.endswith(":0"):
        raise ValueError(
            "is an address that 'listen' names too: choose another one, or null for none"
        )
    return address


Listeners = Annotated[
    tuple[
        Annotated[
            Annotated[Address, Tag("plain")] | Annotated[TlsListener, Tag("tls")],
            Discriminator(_kind),
            AfterValidator(_guarded),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(one_is_a_list_of_one),
    AfterValidator(_each_once),
]


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < _SHORTEST_KEY:
        raise ValueError(
            f"is too short to keep anybody out: use {_SHORTEST_KEY} characters or more, as "
            "'openssl rand -hex 32' makes them"
        )
    return key


def _workers(value: Any) -> Any:
    if value == "auto":
        return value
    digits = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not _WORKERS.fullmatch(digits) or not 1 <= int(digits) <= _MOST_WORKERS:
        raise ValueError(f"must be a whole number from 1 to {_MOST_WORKERS}, or auto")
    return int(digits)


Workers = Annotated[
    Annotated[int, Field(ge=1, le=_MOST_WORKERS)] | Literal["auto"], BeforeValidator(_workers)
]


class Log(Settings):
    """Contract 1, `log`: `auto` is console on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Process(Settings):
    """The top-level keys that are about the process.

    What `listen` and `admin` may be depends on those before them.
    """

    allow_remote: tuple[Literal["listen", "admin"], ...] = ()
    client_key: Annotated[TokenText, AfterValidator(_long_enough)] | None = None
    listen: Listeners = ("127.0.0.1:8080",)
    admin: Annotated[
        Address | None, AfterValidator(_admin_guarded), Field(validate_default=True)
    ] = "127.0.0.1:8081"
    workers: Workers = 1
    shutdown_delay: Duration = 0.0
    shutdown_grace: Duration = 30.0
    allowed_hosts: tuple[NonEmpty, ...] = ()
    max_connections: Positive = 10_000
    timeouts: CallerTimeouts = CallerTimeouts()
    log: Log = Log()
    readiness: Literal["all", "any", "none"] = "all"
