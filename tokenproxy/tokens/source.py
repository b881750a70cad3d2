"""What a keeper knows of a source of tokens: what may be asked of it, and asking it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum

from tokenproxy.secret import Secret
from tokenproxy.tokens.oauth2.code import CodeFlow
from tokenproxy.tokens.oauth2.device import DeviceFlow
from tokenproxy.tokens.token import Granted, Record

SignIn = DeviceFlow | CodeFlow


class Attempt(Enum):
    """The two ways to a new token."""

    RENEW = "with what the last answer left: a refresh token, a sliding token"
    LOGIN = "from the beginning: with a user's password, a file, a command"


@dataclass(frozen=True, slots=True)
class Seed:
    """A token that the config holds, and from which all others come: another one begins anew."""

    token: Secret
    is_refresh_token: bool = True  # and not, for example, the subject token of an exchange


class Source(ABC):
    """Where the tokens of one credential come from."""

    renewable: bool = True  # asking again can bring another token
    persistent: bool = True  # its tokens are worth keeping over a restart
    helpless: str = "a person must act"  # what to do where `attempts` has nothing left
    seed: Seed | None = None
    sign_in: SignIn | None = None  # how a person begins, where one must

    @abstractmethod
    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """What may be tried, best first; nothing, where only a person can help."""

    @abstractmethod
    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """Ask once. Raise SourceUnavailable or SourceRefused, nothing else."""

    async def revoke(self, record: Record) -> bool:
        """Tell the issuer that nobody wants these tokens any more; False where it cannot be told.

        Raises:
            SourceUnavailable: it should have been, and was not.
        """
        del record
        return False

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields whenever the source may hold another token; ends if it never tells."""
        return _none()


async def _none() -> AsyncGenerator[None, None]:
    nothing: tuple[None, ...] = ()
    for change in nothing:
        yield change
