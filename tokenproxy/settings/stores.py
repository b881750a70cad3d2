"""Where tokens live between restarts."""

from typing import Annotated, Literal

from pydantic import Field

from tokenproxy.settings.base import ConfigPath, Settings


class MemoryStore(Settings):
    """Contract 1, `store: {type: memory}`: nothing outlives the process."""

    type: Literal["memory"]


class FileStore(Settings):
    """Contract 1, `store: {type: file}`: a folder; None is the platform's user state folder."""

    type: Literal["file"] = "file"
    path: ConfigPath | None = None


AnyStore = Annotated[MemoryStore | FileStore, Field(discriminator="type")]
