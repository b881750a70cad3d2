"""Which proxy a request on its way out goes through: `egress_proxy` (contract 1)."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from tokenproxy.settings.upstream import FROM_ENVIRONMENT

_PORTS = {"http": 80, "https": 443}

ProxyFor = Callable[[str], str | None]  # from the URL that is asked to the proxy's


def proxy_for(setting: str | None, variables: Mapping[str, str]) -> ProxyFor:
    """What the setting means; "env" reads the environment's variables, as curl does."""
    if setting == FROM_ENVIRONMENT:
        return lambda url: _from_environment(url, variables)
    return lambda _: setting


def _from_environment(url: str, variables: Mapping[str, str]) -> str | None:
    """`HTTP_PROXY` in capitals is left alone, which a CGI's caller could set (httpoxy)."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if _is_excepted((parts.hostname or "").lower(), port, variables):
        return None
    names = ["https_proxy", "HTTPS_PROXY"] if parts.scheme == "https" else ["http_proxy"]
    found = (variables.get(name) for name in [*names, "all_proxy", "ALL_PROXY"])
    proxy = next((value for value in found if value), None)
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


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
