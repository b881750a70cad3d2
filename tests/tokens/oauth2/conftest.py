from collections.abc import AsyncIterator

import pytest

from tests.tokens.oauth2.asking import Build, building


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    async with building() as build:
        yield build
