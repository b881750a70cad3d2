"""What several generations of a config use: the last of them to let go has it closed."""

from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """A value with one user, who may share it with more; each of them releases it once."""

    def __init__(self, value: T, close: Callable[[], Awaitable[None]]) -> None:
        self.value = value
        self._close = close
        self._users = 1

    def share(self) -> Self:
        """Count in one more user."""
        self._users += 1
        return self

    @property
    def is_ours(self) -> bool:
        """Whether nobody else uses it."""
        return self._users == 1

    async def release(self) -> None:
        """Use it no more."""
        self._users -= 1
        if not self._users:
            await self._close()
