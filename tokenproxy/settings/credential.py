"""What every credential can be told, whatever its type."""

from collections.abc import Iterator
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from tokenproxy.settings.base import FieldPath, Settings, is_loopback, refuse
from tokenproxy.settings.refresh import Refresh
from tokenproxy.settings.tls import Tls
from tokenproxy.settings.upstream import EgressProxy


class Credential(Settings):
    """The keys that all types share."""

    refresh: Refresh = Refresh()


class NetworkCredential(Credential):
    """A credential whose tokens come from a server."""

    allow_insecure: bool = False
    tls: Tls = Tls()
    egress_proxy: EgressProxy = None

    # Where passwords, secrets and tokens are sent to: keys, with a dot before those of a block.
    endpoints: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _secrets_need_tls(self) -> Self:
        if not self.allow_insecure:
            refuse(
                [
                    f"would send its password or tokens unencrypted to '{key}': use https, or say "
                    "'allow_insecure: true'"
                    for key in self._bare_endpoints()
                ]
            )
        return self

    def _bare_endpoints(self) -> Iterator[str]:
        for key in self.endpoints:
            found: object = self
            for name in key.split("."):
                found = getattr(found, name, None)
            if isinstance(found, str) and is_bare(found):
                yield key


def is_bare(url: str) -> bool:
    """Whether what is sent there can be read on its way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


class Fields(Settings):
    """Where a JSON answer holds what is needed: dotted paths (`data.accessToken`)."""

    access_token: FieldPath = "access_token"  # noqa: S105 - a field's name
    refresh_token: FieldPath = "refresh_token"  # noqa: S105 - a field's name
    expires_in: FieldPath = "expires_in"
    token_type: FieldPath = "token_type"  # noqa: S105 - a field's name
