"""Where tokens live between restarts."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tokenproxy.settings.base import ConfigPath, Settings


class MemoryStore(Settings):
    """Contract 1, `store: {type: memory}`: nothing outlives the process."""

    type: Literal["memory"]


class FileStore(Settings):
    """Contract 1, `store: {type: file}`: a folder; None is the platform's user state folder."""

    type: Literal["file"] = "file"
    path: ConfigPath | None = None


def _file_by_default(value: Any) -> Any:
    return {"type": "file", **value} if isinstance(value, dict) else value


AnyStore = Annotated[
    MemoryStore | FileStore, Field(discriminator="type"), BeforeValidator(_file_by_default)
]
