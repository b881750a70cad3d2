import pytest

from tokenproxy.testing.scenarios.asking import Got, ask
from tokenproxy.testing.scenarios.checking import Mismatch, check_answers
from tokenproxy.testing.scenarios.script import ExpectAnswer, Request

NOBODY = "http://127.0.0.1:9"


def test_where_no_answer_comes_it_is_told_why() -> None:
    got = ask(NOBODY, Request(path="/"), 2)
    assert [each.status for each in got] == [None, None]
    assert list(check_answers(ExpectAnswer(status=200), got)) == [
        Mismatch((), "no answer came (ClientConnectorError)")
    ]


@pytest.mark.parametrize(
    ("body", "read"), [(b'{"a": 1}', {"a": 1}), (b"hello", "hello"), (b"\xff", "\ufffd")]
)
def test_a_body_that_is_no_json_is_held_against_it_as_text(body: bytes, read: object) -> None:
    assert Got(200, {}, body).json == read
