"""Where a route's requests go: `upstream`, and `egress_proxy` on the way (contract 1)."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from tokenproxy.settings.base import http_url, http_url_base

_UNIX = "unix:"
_SOCKET_PATH = 107  # bytes, without the NUL that ends it; what Linux has room for
_USERINFO = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:-]*")  # RFC 3986 3.2.1
FROM_ENVIRONMENT = "env"


def unix_path(upstream: str) -> str | None:
    """The socket's path in a `unix:/path`, or None where it is a URL."""
    return upstream.removeprefix(_UNIX) if upstream.startswith(_UNIX) else None


def _upstream(text: str) -> str:
    path = unix_path(text)
    if path is None:
        return http_url_base(text)
    if not path.startswith("/"):
        raise ValueError("must be an absolute path, as in unix:/run/api.sock")
    if path.endswith("/") or ":/" in path or any(mark in path for mark in "?#\0"):
        raise ValueError(
            "must name a socket and nothing else, as in unix:/run/api.sock: a base path or "
            "query cannot follow it"
        )
    if len(path.encode()) > _SOCKET_PATH:
        raise ValueError(f"is longer than the {_SOCKET_PATH} bytes that a socket's path may have")
    return text


def is_authority(host: str) -> bool:
    """Whether a name or an address in brackets can stand in a URL."""
    try:
        return bool(http_url(f"http://{host}"))
    except ValueError:
        return False


def as_egress_proxy(value: Any) -> Any:
    """An `egress_proxy` as it is kept: where it holds a password it becomes a secret.

    Raises:
        ValueError: it is none; the sentence goes on from the name of what held it.
    """
    if value is None or value == FROM_ENVIRONMENT:
        return value
    if not isinstance(value, str):
        raise ValueError(_NO_PROXY)  # noqa: TRY004 - pydantic reports ValueErrors
    bare, userinfo = _without_userinfo(value)
    _is_proxy(bare)
    if userinfo is None:
        return value
    if not _USERINFO.fullmatch(userinfo):
        raise ValueError(
            "has a character in its user name or password that must be percent-encoded"
        )
    return SecretStr(value)


def _without_userinfo(url: str) -> tuple[str, str | None]:
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    return f"{scheme}{mark}{host}{slash}{path}", userinfo if at else None


def _is_proxy(url: str) -> None:
    if not url.lower().startswith("http://"):
        raise ValueError(_NO_PROXY)
    parts = urlsplit(http_url(url))
    if parts.path not in {"", "/"} or "?" in url:
        raise ValueError("must hold no path or query: a proxy has a host and a port")


_NO_PROXY = "must be 'env', or the proxy's http:// URL, as in http://proxy.example:3128"

Upstream = Annotated[str, AfterValidator(_upstream)]
# "env", a URL, or as a secret a URL with a user name and password.
EgressProxy = Annotated[str | SecretStr | None, BeforeValidator(as_egress_proxy)]


def egress_url(setting: SecretStr | str | None) -> str | None:
    """An `egress_proxy` in plain text: "env", the URL with its userinfo, or None for none."""
    return setting.get_secret_value() if isinstance(setting, SecretStr) else setting
