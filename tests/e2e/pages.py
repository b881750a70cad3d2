"""A site of somebody else's: an empty page, and a redirect to wherever one likes."""

from aiohttp import web

from tokenproxy.testing.serving import Served

EMPTY = "<!doctype html><meta charset=utf-8><title>a page</title><link rel=icon href=data:,><body>"


class Pages(Served):
    """Serves on 127.0.0.1, which `localhost` is as well; on any port unless one is given."""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_route("*", "/away", self._away)
        return app

    def origin(self, host: str) -> str:
        """What a browser calls it that comes by this name."""
        return self.url.replace("127.0.0.1", host)

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=EMPTY, content_type="text/html")

    async def _away(self, request: web.Request) -> web.Response:
        """To `?to=`, by the same method and with the same body."""
        return web.Response(status=307, headers={"Location": request.query["to"]})
