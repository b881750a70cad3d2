"""What several generations of a config use: the last of them to let go has it closed.

| a user   | may                                                                            |
|----------|--------------------------------------------------------------------------------|
| stays    | use it                                                                         |
| leaves   | end what it has begun with it; whoever leaves last ends what goes on by itself |
| releases | no more; whoever releases last has it closed                                   |

To leave is one step, in which nothing is waited for: of two that leave together one is the last.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """A value with one user, who may share it with more; each leaves it once, then releases it."""

    def __init__(self, value: T, close: Callable[[], Awaitable[None]]) -> None:
        self.value = value
        self._close = close
        self._users = self._staying = 1

    def share(self) -> Self:
        """Count in one more user."""
        self._users += 1
        self._staying += 1
        return self

    def leave(self) -> bool:
        """Stay no longer; whether nobody does."""
        self._staying -= 1
        return self.is_left

    @property
    def is_left(self) -> bool:
        """Whether nobody stays."""
        return not self._staying

    async def release(self) -> None:
        """Use it no more."""
        self._users -= 1
        if not self._users:
            await self._close()
