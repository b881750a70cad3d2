import base64
import json

from tokenproxy.secret import Secret
from tokenproxy.settings.static import Static
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.sources.static import StaticSource
from tokenproxy.tokens.token import Granted, Record, Token

NOW = 1_800_000_000.0


def _source(token: str, **keys: object) -> StaticSource:
    settings = Static.model_validate({"type": "static", "token": token, **keys})
    return StaticSource(settings, ManualClock(wall=NOW))


async def _fetched(source: StaticSource) -> Granted:
    return await source.fetch(Attempt.LOGIN, Record())


async def test_the_token_is_given_as_it_is() -> None:
    assert await _fetched(_source("1|abc")) == Granted(Token(Secret("1|abc"), NOW, None))


async def test_a_jwt_past_its_exp_is_still_given_as_it_is() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": NOW - 9, "iat": 1}).encode()).decode()
    granted = await _fetched(_source(f"e30.{claims.rstrip('=')}."))
    assert granted.token.expires_at is None


async def test_asking_again_brings_nothing_new_and_nothing_is_stored() -> None:
    source = _source("opaque")
    assert source.attempts(Record()) == (Attempt.LOGIN,)
    assert not source.renewable
    assert not source.persistent
    assert [change async for change in source.changes()] == []
