"""Every command in docs and README is one that the program knows, with the options it has."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from docs.site.commands import NAME, group
from tests.docs.pages import PAGES, Fence, all_fences, prose

SHELL = all_fences("sh")
ASSIGNMENT = re.compile(r"[A-Z_]+=")
ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", ")", "2>"}
ELLIPSIS = "…"  # stands for more of the same
INLINE = re.compile(r"`(tokenproxy [a-z][^`\n]*)`")


def told(text: str) -> Iterator[list[str]]:
    """The arguments of each call of the program; what follows a shell's sign is not its own."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for at, word in enumerate(words):
            if word == NAME and _begins(words[:at]):
                rest = words[at + 1 :]
                end = next((n for n, each in enumerate(rest) if each in ENDS), len(rest))
                yield rest[:end]


def _begins(before: list[str]) -> bool:
    """Whether a command begins here: at the line, after a sign, or after what runs another."""
    kept = [word for word in before if not ASSIGNMENT.match(word)]
    return not kept or kept[-1] in ENDS or (kept[0] == "kubectl" and kept[-1] == "--")


CALLS = [(str(fence), call) for fence in SHELL for call in told(fence.text)]
CALLS += [(page.name, call) for page in PAGES for text in INLINE.findall(prose(page))
          for call in told(text) if ELLIPSIS not in call]  # fmt: skip


@pytest.mark.parametrize(("place", "call"), CALLS)
def test_a_command_is_one_that_there_is(place: str, call: list[str]) -> None:
    verbs = group()
    whole = verbs.make_context(NAME, [*call], resilient_parsing=True)
    if call[0].startswith("-"):
        assert call[0] in {"--version", "--help", "--install-completion"}
        return
    verb = verbs.commands[call[0]]
    if call[1:] and call[1:] != ["--help"]:
        verb.make_context(call[0], call[1:], parent=whole)


@pytest.mark.parametrize("fence", SHELL, ids=str)
def test_a_shell_can_read_it(fence: Fence) -> None:
    subprocess.run(["bash", "-n"], input=fence.text, encoding="utf-8", check=True)


def test_there_are_commands() -> None:
    assert {call[0] for _, call in CALLS} >= {"run", "check", "login", "status"}
