"""Which proxy a request on its way out goes through: `egress_proxy` (contract 1)."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from tokenproxy.errors import ConfigError
from tokenproxy.settings.upstream import FROM_ENVIRONMENT, as_egress_proxy

_PORTS = {"http": 80, "https": 443}

ProxyFor = Callable[[str], str | None]  # from the URL that is asked to the proxy's


def proxy_for(setting: str | None, variables: Mapping[str, str]) -> ProxyFor:
    """What the setting means; "env" reads the environment's variables, as curl does.

    Raises:
        ConfigError: a variable holds what no such setting may be.
    """
    if setting == FROM_ENVIRONMENT:
        for scheme in _PORTS:
            _check(*_chosen(scheme, variables))
        return lambda url: _from_environment(url, variables)
    return lambda _: setting


def _from_environment(url: str, variables: Mapping[str, str]) -> str | None:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if _is_excepted((parts.hostname or "").lower(), port, variables):
        return None
    return _chosen(parts.scheme, variables)[1]


def _chosen(scheme: str, variables: Mapping[str, str]) -> tuple[str, str | None]:
    """The variable that counts for a scheme, and the URL in it.

    `HTTP_PROXY` in capitals is left alone, which a CGI's caller could set (httpoxy).
    """
    names = ["https_proxy", "HTTPS_PROXY"] if scheme == "https" else ["http_proxy"]
    for name in [*names, "all_proxy", "ALL_PROXY"]:
        if value := variables.get(name):
            return name, value if "://" in value else f"http://{value}"
    return "", None


def _check(name: str, url: str | None) -> None:
    try:
        as_egress_proxy(url)
    except ValueError as error:
        raise ConfigError(
            f"'egress_proxy: env' reads the environment variable {name}, which {error}"
        ) from error


def _is_excepted(host: str, port: int, variables: Mapping[str, str]) -> bool:
    """Whether `no_proxy` names the host, or a domain that it is in."""
    listed = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    return any(_names(entry.strip(), host, port) for entry in listed.lower().split(","))


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, digits = entry.rpartition(":")
    if not colon or not digits.isdecimal() or (":" in name and not name.endswith("]")):
        name, digits = entry, str(port)
    domain = name.strip("[]").removeprefix("*").removeprefix(".")
    is_in = host == domain or host.endswith(f".{domain}")
    return bool(domain) and is_in and int(digits) == port
