from pathlib import Path
from typing import Any

import pytest

from tests.settings.written import read, told
from tokenproxy.settings.stores import FileStore, MemoryStore


@pytest.mark.parametrize(
    ("config", "store"),
    [
        ({}, FileStore()),
        ({"store": {}}, FileStore()),
        ({"store": {"type": "file"}}, FileStore()),
        ({"store": {"path": "/state"}}, FileStore(path=Path("/state"))),
        ({"store": {"type": "file", "path": None}}, FileStore()),
        ({"store": {"type": "memory"}}, MemoryStore(type="memory")),
    ],
)
def test_a_store_is_a_folder_unless_its_type_says_otherwise(
    config: dict[str, Any], store: FileStore | MemoryStore
) -> None:
    assert read(config).store == store


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        (
            {"type": "memry"},
            "store.type: must be one of memory, file, keyring, redis (did you mean 'memory'?)",
        ),
        ({"type": "sqlite"}, "store.type: must be one of memory, file, keyring, redis"),
        ({"type": None}, "store.type: is missing: must be one of memory, file, keyring, redis"),
        ({"type": ["x"]}, "store.type: must be one of memory, file, keyring, redis"),
        (
            {"type": "memory", "path": "/state"},
            "store.path: belongs to 'type: file', and this is 'type: memory'",
        ),
        ({"path": 7}, "store.path: must be text: put it in quotes"),
        ({"pth": "/state"}, "store.pth: is not a known key (did you mean 'path'?)"),
    ],
)
def test_what_is_wrong_with_a_store_is_told_as_that(store: Any, problem: str) -> None:
    assert told({"store": store}) == [problem]


@pytest.mark.parametrize("store", ["memory", 7, ["memory"], None])
def test_what_is_no_mapping_is_no_store(store: Any) -> None:
    problems = told({"store": store})

    assert ["store: " in problem and "must be a mapping" in problem for problem in problems] == [
        True
    ]
