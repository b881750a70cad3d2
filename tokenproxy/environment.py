"""The environment: read here, once, and passed on as values."""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs


def variables() -> Mapping[str, str]:
    """A copy of the process's environment variables."""
    return dict(os.environ)  # noqa: TID251 - the one place that asks


def state_folder() -> Path:
    """Where this user's tokens live unless the config names a folder."""
    return Path(platformdirs.user_state_dir("tokenproxy", appauthor=False))
