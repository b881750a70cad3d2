"""What every credential can be told, whatever its type."""

from tokenproxy.settings.base import FieldPath, Settings
from tokenproxy.settings.refresh import Refresh
from tokenproxy.settings.tls import Tls
from tokenproxy.settings.upstream import EgressProxy


class Credential(Settings):
    """The keys that all types share."""

    refresh: Refresh = Refresh()


class NetworkCredential(Credential):
    """A credential whose tokens come from a server."""

    tls: Tls = Tls()
    egress_proxy: EgressProxy = None


class Fields(Settings):
    """Where a JSON answer holds what is needed: dotted paths (`data.accessToken`)."""

    access_token: FieldPath = "access_token"  # noqa: S105 - a field's name
    refresh_token: FieldPath = "refresh_token"  # noqa: S105 - a field's name
    expires_in: FieldPath = "expires_in"
    token_type: FieldPath = "token_type"  # noqa: S105 - a field's name
