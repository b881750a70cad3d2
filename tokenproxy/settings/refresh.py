"""When a token is renewed: the `refresh` block that all credential types share."""

from typing import Annotated

from pydantic import Field

from tokenproxy.settings.base import Duration, Number, PositiveDuration, Settings, Whole


class Refresh(Settings):
    """Contract 1, `refresh`; all times in seconds."""

    before_expiry: Duration = 60.0
    jitter: Annotated[Number, Field(ge=0, le=1)] = 0.1
    background: bool = True
    default_ttl: PositiveDuration | None = None
    min_interval: Duration = 10.0
    wait: Duration = 15.0
    timeout: PositiveDuration = 10.0
    retries: Annotated[Whole, Field(ge=0, le=20)] = 3
