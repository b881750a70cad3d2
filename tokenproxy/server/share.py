"""What counts over all workers, divided among them: each knows its own callers only."""

from typing import TypeVar

from tokenproxy.config.model import Config
from tokenproxy.settings.base import Settings

OVER_ALL = ("max_connections",)  # settings of the process and of a route

S = TypeVar("S", bound=Settings)


def share(total: int, workers: int, index: int) -> int:
    """One worker's part: all parts are the total, but none is nothing."""
    return max(1, total // workers + (index < total % workers))


def apportioned(config: Config, workers: int, index: int) -> Config:
    """The config as one of the workers is to obey it: the supervisor alone serves admin."""
    routes = tuple(_part(route, workers, index) for route in config.routes)
    return _part(config, workers, index).model_copy(update={"routes": routes, "admin": None})


def _part(settings: S, workers: int, index: int) -> S:
    known = [name for name in OVER_ALL if name in type(settings).model_fields]
    parts = {name: share(getattr(settings, name), workers, index) for name in known}
    return settings.model_copy(update=parts)
