"""The status page's own files, read once: what is not among them is not there."""

from importlib.resources import files

from aiohttp import web

from tokenproxy.admin.answers import answer
from tokenproxy.admin.server import Handle, Routes

INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> Routes:
    """The page at `/`, and what it needs under `/page/`."""
    folder = files("tokenproxy.admin") / "page"
    there = [each for each in folder.iterdir() if _suffix(each.name) in TYPES]
    found = {each.name: each.read_bytes() for each in there}
    return {
        "/" if name == INDEX else f"/page/{name}": {"GET": _giving(body, TYPES[_suffix(name)])}
        for name, body in found.items()
    }


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


def _giving(body: bytes, content_type: str) -> Handle:
    async def give(request: web.BaseRequest, _: str) -> web.StreamResponse:
        del request
        return answer(body, content_type)

    return give
