"""Files beside the pages (deploy/, bench/, README.md …) that pages link to: the site has them too.

On GitHub such a link leads to the file itself. In the site a Markdown file becomes a page, a
folder a page with the text of its files, and any other file a page with its text.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, InclusionLevel

_FOLDER_OF_PAGES = "docs"
_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=(?:#[^)\s]*)?\))")
_WORDS = {".yaml": "yaml", ".json": "json", ".service": "ini", ".socket": "ini"}


def files(pages: Mapping[str, str], repository: Path, config: MkDocsConfig) -> Iterator[File]:
    """One for each file or folder that a page links to, and that those link to in turn."""
    found: dict[str, str] = {}
    waiting = list(pages.items())
    while waiting:
        page, text = waiting.pop()
        for path in _linked(text, f"{_FOLDER_OF_PAGES}/{page}", repository):
            if path not in found:
                found[path] = _text(repository / path)
                waiting.append((f"../{path}", found[path]))
    for path, text in sorted(found.items()):
        uri = _uri(path)
        level = InclusionLevel.NOT_IN_NAV
        yield File.generated(config, uri, content=text, inclusion=level)


def led(text: str, page: str, repository: Path) -> str:
    """The text of a page with its links to such files as links within the site."""
    at = _path_of(page, repository)
    folder = posixpath.dirname(page)

    def moved(link: re.Match[str]) -> str:
        path = _resolved(at, link[1])
        if path.startswith(f"{_FOLDER_OF_PAGES}/"):
            uri = path.removeprefix(f"{_FOLDER_OF_PAGES}/")
        else:
            uri = _uri(path)
        return posixpath.relpath(uri, folder)

    return _LINK.sub(moved, text)


def _linked(text: str, at: str, repository: Path) -> Iterator[str]:
    for link in _LINK.findall(text):
        path = _resolved(at, link)
        outside = not path.startswith((f"{_FOLDER_OF_PAGES}/", ".."))
        if outside and (repository / path).exists():
            yield path


def _resolved(at: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(at), link))


def _uri(path: str) -> str:
    """Where the site has it; `files/` keeps it apart from the pages."""
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def _path_of(page: str, repository: Path) -> str:
    """Where the repository has a page of the site."""
    if not page.startswith("files/"):
        return f"{_FOLDER_OF_PAGES}/{page}"
    path = page.removeprefix("files/")
    return path if (repository / path).exists() else path.removesuffix(".md")


def _text(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    if path.is_dir():
        shown = [_shown(each, "## ") for each in sorted(path.iterdir()) if each.is_file()]
        return f"# {path.name}\n\n" + "\n".join(shown)
    return _shown(path, "# ")


def _shown(path: Path, heading: str) -> str:
    """A file's text under its name; the fence is longer than any in the text."""
    word = _WORDS.get(path.suffix, "text")
    return f"{heading}{path.name}\n\n`````{word}\n{path.read_text()}\n`````\n"
