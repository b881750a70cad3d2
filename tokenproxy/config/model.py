"""The whole config file, put together from the parts' own settings (contract 1)."""

from pydantic import Field

from tokenproxy.config.process import Process
from tokenproxy.settings.base import CredentialName
from tokenproxy.settings.route import Route
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.stores import AnyStore, FileStore


class Config(Process):
    """A valid config: every reference in it has been checked (see `config.references`)."""

    store: AnyStore = FileStore()
    credentials: dict[CredentialName, AnyCredential] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
