import pytest
from pydantic import TypeAdapter, ValidationError

from tokenproxy.settings.base import CredentialName, HttpUrl, HttpUrlBase, Several, refuse

URLS: TypeAdapter[str] = TypeAdapter(HttpUrl)
BASES: TypeAdapter[str] = TypeAdapter(HttpUrlBase)
NAMES: TypeAdapter[str] = TypeAdapter(CredentialName)
LABEL = "a" * 63


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "https://shop.example:8443/a%2Fb?c=%zz",
        "https://my_service.internal./",
        "https://127.0.0.1/",
        "https://[::1]:8080/x",
        "https://[fe80::1%eth0]/",
        f"https://{LABEL}.example",
    ],
)
def test_an_url_is_taken_as_it_is_written(url: str) -> None:
    assert URLS.validate_python(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://a%b/",
        "https://a%2fb/",
        "https://a|b/",
        "https://a..b/",
        "https://[::1]x/",
        "https://[1::2::3]/",
        "https://a:99999/",
        f"https://{LABEL}a.example",
        "shop.example",
        "ftp://shop.example",
        "https://",
        "https://user:word@shop.example",
        "https://shop.example/#top",
        "https://shop.example/a b",
    ],
)
def test_what_no_request_could_be_sent_to_is_a_mistake(url: str) -> None:
    with pytest.raises(ValidationError):
        URLS.validate_python(url)


def test_what_more_path_is_put_behind_holds_no_query() -> None:
    with pytest.raises(ValidationError, match="must not hold a query"):
        BASES.validate_python("https://shop.example?tenant=1")


def test_a_credentials_name_fits_into_a_files() -> None:
    assert NAMES.validate_python("a" * 64) == "a" * 64
    for name in ("a" * 65, "A", "a.b", ""):
        with pytest.raises(ValidationError, match="is no name for a credential"):
            NAMES.validate_python(name)


def test_all_that_is_wrong_is_one_error_with_its_sentences() -> None:
    with pytest.raises(Several) as caught:
        refuse(["has a", "has b"])

    assert caught.value.sentences == ("has a", "has b")
    assert str(caught.value) == "has a; has b"
    refuse([])
