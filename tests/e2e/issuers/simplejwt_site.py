"""A real Django site with simplejwt tokens, in one file: the issuer and the API of the main job.

Run as a program, told its options as one JSON object (`SiteOptions` of conftest.py), it serves on
loopback by Django's own threaded server, HTTP/1.1 with keep-alive, and prints a line with its URL
once it accepts. It ends with its standard input: it never outlives the tests, however they end.

Django's server answers as soon as it can say no, reads what is left of that request's body
after the answer, and takes the next request from the same connection.

Paths that begin with `/_` are for tests: they ask for no token and are not kept in the log.
"""

import hashlib
import itertools
import json
import logging
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.module_loading import import_string

PIECE = 1 << 16
BACKLOG = 512  # callers that connect at the same instant; Django's own is 10
OPEN_FILES = 4096  # one request has four, three of them sqlite's; macOS allows 256 in all
LOGIN, REFRESH = "/api/token/", "/api/token/refresh/"
APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
]

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
urlpatterns: list[Any] = []  # filled once the settings are made


class HashingBody:
    """A request's body on its way to the application, hashed as it is read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.length = 0

    def read(self, size: int = -1) -> bytes:
        return self._seen(self._stream.read(size))

    def readline(self, size: int = -1) -> bytes:
        return self._seen(self._stream.readline(size))

    def _seen(self, data: bytes) -> bytes:
        self.sha256.update(data)
        self.length += len(data)
        return data


class Journal:
    """What has come since the start, or since it was last cleared (`Arrival` of conftest.py)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_use: set[str] = set()
        self._rejected: set[str] = set()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._arrivals: list[dict[str, Any]] = []
            self.hashed = itertools.count(1)

    def arrived(self, arrival: dict[str, Any], authorization: str) -> bool:
        """Keep it; whether its token is one to reject."""
        with self._lock:
            self._arrivals.append(arrival)
            self._in_use.add(authorization)
            return authorization in self._rejected

    def answered(self, arrival: dict[str, Any], status: int, body: HashingBody) -> None:
        with self._lock:
            arrival["status"], arrival["body_length"] = status, body.length
            if arrival["method"] == "POST":
                arrival["body_sha256"] = body.sha256.hexdigest()
            if (arrival["method"], arrival["target"]) == ("POST", REFRESH):
                arrival["refused"] = 400 <= status < 500

    def reject_tokens_in_use(self) -> None:
        with self._lock:
            self._rejected |= self._in_use - {""}

    def told(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(arrival) for arrival in self._arrivals]


journal = Journal()


def recording(application: Application) -> Application:
    """WSGI middleware that keeps every request in the journal.

    A token to reject goes on with its signature cut short: the refusal is simplejwt's own,
    though the token that the caller holds is whole and its `exp` lies ahead.
    """

    def recorded(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/_"):
            return application(environ, start_response)
        body = environ["wsgi.input"] = HashingBody(environ["wsgi.input"])
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        arrival = {"method": environ["REQUEST_METHOD"], "target": environ["TARGET"]}
        arrival["authorized"] = bool(authorization)
        if journal.arrived(arrival, authorization):
            environ["HTTP_AUTHORIZATION"] = authorization[:-8]

        def answer(status: str, *rest: Any) -> Any:
            journal.answered(arrival, int(status[:3]), body)
            return start_response(status, *rest)

        return application(environ, answer)

    return recorded


def digest(request: Any) -> dict[str, Any]:
    """The body's hash and length, read in pieces: it may be larger than memory."""
    sha256, length = hashlib.sha256(), 0
    while piece := request.read(PIECE):
        sha256.update(piece)
        length += len(piece)
    if length < int(request.META.get("CONTENT_LENGTH") or 0):
        raise BadRequest("The body broke off.")
    return {"sha256": sha256.hexdigest(), "length": length}


def items(request: Any) -> HttpResponse:
    if request.method == "GET":
        return JsonResponse({"items": ["apple", "pear"]})
    return JsonResponse({"item": request.data}, status=201)


def hash_body(request: Any) -> HttpResponse:
    arrivals = next(journal.hashed)
    return JsonResponse({**digest(request), "arrivals": arrivals})


def echo(request: Any) -> HttpResponse:
    told = {"method": request.method, "target": request.META["TARGET"]}
    body = request.read().decode(errors="replace")
    return JsonResponse({**told, "headers": dict(request.headers), "body": body})


def errcode(request: HttpRequest) -> HttpResponse:
    """An API that tells of a bad token in the body of a 200."""
    authentication = import_string("rest_framework_simplejwt.authentication.JWTAuthentication")()
    try:
        user = authentication.authenticate(request)
    except import_string("rest_framework.exceptions.AuthenticationFailed"):
        user = None
    if user is None:
        return JsonResponse({"errcode": 40001, "errmsg": "invalid credential"})
    return JsonResponse({"errcode": 0, **digest(request)})


def log(request: HttpRequest) -> HttpResponse:
    if request.method == "DELETE":
        journal.clear()
    return JsonResponse(journal.told(), safe=False)


def reject(request: HttpRequest) -> HttpResponse:
    journal.reject_tokens_in_use()
    return HttpResponse(status=204)


def routes(*, sliding: bool) -> list[Any]:
    """The URLs. REST framework reads the settings as it is imported, so that is done here."""
    api_view = import_string("rest_framework.decorators.api_view")
    obtain, refresh = ("ObtainSliding", "RefreshSliding") if sliding else ("ObtainPair", "Refresh")
    token_view = "rest_framework_simplejwt.views.Token{}View"
    return [
        path(LOGIN[1:], import_string(token_view.format(obtain)).as_view()),
        path(REFRESH[1:], import_string(token_view.format(refresh)).as_view()),
        path("api/token/blacklist/", import_string(token_view.format("Blacklist")).as_view()),
        path("api/items/", api_view(["GET", "POST"])(items)),
        path("api/hash/", api_view(["POST", "PUT"])(hash_body)),
        path("api/echo/", api_view(["GET", "POST", "PUT", "PATCH", "DELETE"])(echo)),
        path("api/errcode/", errcode),
        path("_log", log),
        path("_reject", reject),
    ]


def simple_jwt(options: SimpleNamespace) -> dict[str, Any]:
    access = timedelta(seconds=options.access_life)
    refresh = timedelta(seconds=options.refresh_life)
    token = "SlidingToken" if options.sliding else "AccessToken"
    return {
        "ACCESS_TOKEN_LIFETIME": access,
        "REFRESH_TOKEN_LIFETIME": refresh,
        "SLIDING_TOKEN_LIFETIME": access,
        "SLIDING_TOKEN_REFRESH_LIFETIME": refresh,
        "ROTATE_REFRESH_TOKENS": options.rotate,
        "BLACKLIST_AFTER_ROTATION": options.blacklist,
        "AUTH_HEADER_TYPES": tuple(options.header_types),
        "AUTH_TOKEN_CLASSES": (f"rest_framework_simplejwt.tokens.{token}",),
        "UPDATE_LAST_LOGIN": False,
    }


def set_up(options: SimpleNamespace) -> None:
    session = ["rest_framework.authentication.SessionAuthentication"] * options.session_first
    jwt = "rest_framework_simplejwt.authentication.JWTAuthentication"
    sqlite = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{options.folder}/site.sqlite3",
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",  # a writer waits for its turn, and never fails midway
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    }
    settings.configure(
        SECRET_KEY=options.signing_key,
        ALLOWED_HOSTS=["127.0.0.1", "[::1]", ".localhost"],
        INSTALLED_APPS=APPS,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # sets Content-Length
        ROOT_URLCONF=__name__,
        DATABASES={"default": sqlite},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # logins cost nothing
        USE_TZ=True,
        LOGGING_CONFIG=None,
        SIMPLE_JWT=simple_jwt(options),
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [*session, jwt],
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        },
    )
    logging.basicConfig(level=logging.ERROR)
    django.setup()
    call_command("migrate", verbosity=0)
    users = import_string("django.contrib.auth.models.User").objects
    users.create_user(options.username, password=options.password)
    urlpatterns.extend(routes(sliding=options.sliding))


class Handler(WSGIRequestHandler):  # type: ignore[misc]  # Django has no types
    disable_nagle_algorithm = True  # head and body are two writes: else 40 ms lie between them

    def parse_request(self) -> bool:
        """Turn away what has no length: under WSGI Django would take its body for empty."""
        parsed: bool = super().parse_request()
        if parsed and "Transfer-Encoding" in self.headers:
            self.send_error(411)
            return False
        return parsed

    def get_environ(self) -> Environ:
        return {**super().get_environ(), "TARGET": self.path}


class Server(ThreadedWSGIServer):  # type: ignore[misc]  # Django has no types
    request_queue_size = BACKLOG


def end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    options = SimpleNamespace(**json.loads(sys.argv[1]))
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    set_up(options)
    server = Server(("127.0.0.1", 0), Handler)
    server.set_app(recording(get_wsgi_application()))
    sys.stdout.write(f"listening on http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
