from typing import Any

import pytest
from pydantic import ValidationError

from tokenproxy.settings.oauth2 import ClientAuth, OAuth2

NO_URL = "needs a 'token_url', or an 'issuer' that tells it, for"


def told(**keys: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        OAuth2.model_validate({"type": "oauth2", **keys})
    [error] = caught.value.errors()
    return list(error["ctx"]["error"].sentences)


def test_all_that_a_grant_lacks_is_told_and_all_that_is_another_grants() -> None:
    assert told(grant="password", key="k", claims={"a": 1}, metadata_issuer="x") == [
        "has a 'claims', which belongs to 'grant: jwt_bearer', and this is 'grant: password'",
        "has a 'key', which belongs to 'grant: jwt_bearer', and this is 'grant: password'",
        f"{NO_URL} 'grant: password'",
        "needs a 'client_id' for 'grant: password'",
        "needs a 'username' and a 'password' for 'grant: password'",
        "has a 'metadata_issuer' but no 'issuer' whose metadata it could name",
    ]


@pytest.mark.parametrize("grant", ["client_credentials", "jwt_bearer"])
def test_a_client_id_that_is_missing_is_told_once(grant: str) -> None:
    sentences = told(grant=grant, token_url="https://a.example", client_auth={"secret": "s"})

    assert sum("'client_id'" in sentence for sentence in sentences) == 1


def test_all_that_does_not_fit_together_in_a_client_auth_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        ClientAuth.model_validate(
            {"method": "client_secret_jwt", "key": "k", "algorithm": "RS256", "key_id": "1"}
        )

    assert caught.value.errors()[0]["ctx"]["error"].sentences == (
        "has a 'key', which the method 'client_secret_jwt' does not use",
        "has the method 'client_secret_jwt', which needs a 'secret'",
        "has an 'algorithm' that 'client_secret_jwt' cannot sign with",
    )


def test_all_parameters_that_are_made_from_other_keys_are_told() -> None:
    extra = {"scope": "x", "tenant": "y", "client_id": "z"}
    with pytest.raises(ValidationError) as caught:
        OAuth2.model_validate({"type": "oauth2", "grant": "password", "extra": extra})

    sentences = caught.value.errors()[0]["ctx"]["error"].sentences
    assert [sentence.split(",")[0] for sentence in sentences] == [
        "has a 'scope'",
        "has a 'client_id'",
    ]
