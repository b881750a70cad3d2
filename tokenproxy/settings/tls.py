"""How TLS is spoken: the `tls` block of credentials and routes, and that of a listener."""

from typing import Self

from pydantic import model_validator

from tokenproxy.settings.base import ConfigPath, Settings


class Tls(Settings):
    """Contract 1, `tls`: PEM files for the CA and for a client certificate."""

    ca: ConfigPath | None = None
    cert: ConfigPath | None = None
    key: ConfigPath | None = None
    verify: bool = True

    @model_validator(mode="after")
    def _key_needs_cert(self) -> Self:
        if self.key is not None and self.cert is None:
            raise ValueError("has a 'key' but no 'cert': give both, or a 'cert' that holds its key")
        return self


class ListenerTls(Settings):
    """PEM files of a listener; with `client_ca` callers need a certificate that it has issued."""

    cert: ConfigPath
    key: ConfigPath | None = None
    client_ca: ConfigPath | None = None
