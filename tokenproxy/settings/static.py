"""Settings of a token that is given as it is."""

from typing import Literal

from tokenproxy.settings.base import TokenText
from tokenproxy.settings.credential import Credential


class Static(Credential):
    """Contract 1.1, `static`."""

    type: Literal["static"]
    token: TokenText
