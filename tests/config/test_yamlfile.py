import pytest

from tokenproxy.config.document import Unreadable
from tokenproxy.config.yamlfile import read_yaml


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize(
    ("before", "line"),
    [("a: 1\nb: 2 # c", 2), ("a: 1\r\nb: 'x", 2), ("a: 1\rb: x", 2), ("", 1), ("\n\n\na: ", 4)],
)
def test_a_line_break_that_only_yaml_1_1_knows_is_told_with_its_line(
    character: str, before: str, line: int
) -> None:
    with pytest.raises(Unreadable, match="holds an invisible line break") as caught:
        read_yaml(f"{before}{character}password: hunter2\n")

    assert caught.value.line == line
    assert f"(U+{ord(character):04X})" in caught.value.what
    assert "hunter2" not in caught.value.what


def test_such_a_character_can_be_written_as_an_escape() -> None:
    assert read_yaml('a: "\\u0085\\u2028\\u2029"').data == {"a": "\x85\u2028\u2029"}


@pytest.mark.parametrize("text", ['{"a": ', '{"a": [', "a: [\n", "a: {b: [1,\n\n"])
def test_a_file_that_ends_inside_of_a_brace_is_told_as_such(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^ends inside of a '{' or '\['"):
        read_yaml(text)
