"""`tokenproxy check` passes nothing that `run` would refuse."""

from pathlib import Path

import pytest

from tokenproxy.cli.check import check
from tokenproxy.errors import ConfigError

GOOD = """\
credentials:
  shop:
    type: oauth2
    grant: client_credentials
    token_url: https://issuer.example/token
    client_id: shop
    client_auth:
      secret: s
routes:
  - upstream: https://shop.example
    credential: shop
"""


def told(text: str, folder: Path) -> list[str]:
    file = folder / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check(file)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def test_a_good_config_is_said_to_be_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD)

    check(file)

    assert capsys.readouterr().out.splitlines() == [
        f"{file} is fine.",
        "  listens on 127.0.0.1:8080",
        "  admin on 127.0.0.1:8081",
        "  shop: / -> https://shop.example with shop",
    ]


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        (
            "client_auth:",
            "tls: {ca: none.pem}\n    client_auth:",
            "7: credentials.shop.tls.ca: FOLDER/none.pem cannot be read (No such file or",
        ),
        (
            "credential: shop",
            "credential: shop\n    tls:\n      cert: none.pem",
            "13: routes.0.tls.cert: FOLDER/none.pem cannot be read (No such file or directory)",
        ),
        (
            "secret: s",
            "key: none",
            "8: credentials.shop.client_auth.key: is no private key in PEM format",
        ),
        ("https://shop.example", "https://a%b/", "10: routes.0.upstream: has a host that is"),
    ],
)
def test_what_only_shows_when_it_is_put_together_is_told_with_its_line(
    tmp_path: Path, good: str, bad: str, problem: str
) -> None:
    [found] = told(GOOD.replace(good, bad), tmp_path)

    assert found.replace(str(tmp_path), "FOLDER").startswith(problem)


def test_what_is_found_then_comes_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("secret: s", "key: none").replace(
        "credentials:\n", "store: {type: file, path: /}\nroutes_before: 0\ncredentials:\n"
    )
    text = text.replace("routes_before: 0\n", "").replace(
        "client_id: shop", "client_id: shop\n    tls: {ca: none.pem}"
    )

    assert [line.split(":")[0] for line in told(text, tmp_path)] == ["8", "10"]
