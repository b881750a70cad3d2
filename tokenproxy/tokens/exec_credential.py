"""What a Kubernetes credential plugin prints: an ExecCredential of client.authentication.k8s.io.

https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

GROUP = "client.authentication.k8s.io/"
VARIABLE = "KUBERNETES_EXEC_INFO"


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """The token as it was printed, and its end in seconds since the epoch, if it names one."""

    token: object
    expires_at: float | None


def exec_info(version: str = "v1") -> str:
    """What such a plugin finds in `KUBERNETES_EXEC_INFO`: there is nobody whom it could ask."""
    return json.dumps(
        {
            "apiVersion": f"{GROUP}{version}",
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
    )


def read(text: str) -> ExecCredential:
    """The credential in `text`.

    Raises:
        ValueError: it is none.
    """
    told = json.loads(text)
    if not isinstance(told, dict) or told.get("kind") != "ExecCredential":
        raise ValueError("its kind is not ExecCredential")
    if not str(told.get("apiVersion", "")).startswith(GROUP):
        raise ValueError(f"its apiVersion is not of {GROUP}")
    status = told.get("status")
    if not isinstance(status, dict):
        raise ValueError("it has no status")  # noqa: TRY004 - what was printed is wrong
    return ExecCredential(status.get("token"), _moment(status.get("expirationTimestamp")))


def _moment(value: object) -> float | None:
    """RFC 3339, as the plugins print it."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("its expirationTimestamp is no text")  # noqa: TRY004 - the same
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
