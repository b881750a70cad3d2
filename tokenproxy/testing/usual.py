"""The config that tests have where they name none: a credential at the issuer's double.

It renews only when a request needs it, and for every rejection, so that counts are exact.
"""

from collections.abc import Mapping
from typing import Any

SHOP: Mapping[str, Any] = {
    "credentials": {
        "shop": {
            "type": "simplejwt",
            "base_url": "${TOKENPROXY_ISSUER_URL}",
            "username": "demo",
            "password": "demo-password",
            "refresh": {"background": False, "min_interval": 0},
        }
    },
    "routes": [{"upstream": "${TOKENPROXY_API_URL}", "credential": "shop"}],
}
