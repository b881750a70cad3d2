"""What mkdocs calls: fills in what the program says, and takes in files beside the pages."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from docs.site import beside, commands, keys, measured, tables

REPOSITORY = Path(__file__).parents[2]
_MARK = re.compile(r"^<!-- written by the program: ([a-z ]+) -->$", re.MULTILINE)
WRITERS = {
    "config keys": keys.written,
    "command line": commands.written,
    "metrics": tables.metrics,
    "error codes": tables.errors,
    "log events": tables.events,
    "figures of the bench": measured.written,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in what pages link to and what lies outside of the folder of pages."""
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for file in beside.files(pages, REPOSITORY, config):
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its marks replaced, and its links to such files led to them."""
    del config, files
    return beside.led(filled(markdown), page.file.src_uri, REPOSITORY)


def filled(markdown: str) -> str:
    """The text with what the program says in the place of each mark.

    Raises:
        KeyError: a mark asks for what nobody writes.
    """
    return _MARK.sub(lambda mark: WRITERS[mark[1]](), markdown)
