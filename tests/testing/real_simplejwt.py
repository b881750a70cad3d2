"""Plays a script of requests to the real djangorestframework-simplejwt; prints what it said.

Run as a program, since Django's settings are one per process. The script comes on standard
input as a JSON list of `[path, method, fields, headers]`; in fields and headers `{login.refresh}`
stands for a field of the answer to the first login, `{last.refresh}` for one of the last answer
that had it.
"""

import json
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import jwt

Say = Callable[[str, str, Any, Mapping[str, str]], tuple[int, str | None, Any]]


def play(script: list[Any], say: Say) -> list[Any]:
    """What each request of `script` was answered, tokens as their claims' names and lives."""
    known: dict[str, str] = {}
    told = []
    for path, method, fields, headers in script:
        status, challenge, body = say(path, method, fill(fields, known), fill(headers, known))
        for name, value in body.items() if isinstance(body, dict) and status == 200 else ():
            known.setdefault(f"{{login.{name}}}", value)
            known[f"{{last.{name}}}"] = value
        told.append([status, challenge, list(shown(body)), shown(body)])
    return told


def fill(fields: Any, known: Mapping[str, str]) -> Any:
    text = json.dumps(fields)
    for place, value in known.items():
        text = text.replace(place, value)
    return json.loads(text)


def shown(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: claims(value) for name, value in body.items()}


def claims(value: Any) -> Any:
    try:
        held = jwt.decode(value, options={"verify_signature": False})
    except (jwt.InvalidTokenError, TypeError):
        return value
    return [list(held), held["token_type"], held["exp"] - held["iat"], held["user_id"]]


def real(*, sliding: bool) -> Say:
    """Requests to a Django of this process, its tables in memory."""
    import django  # noqa: PLC0415 - configured before the rest can be imported
    from django.conf import settings  # noqa: PLC0415

    kind = "SlidingToken" if sliding else "AccessToken"
    settings.configure(
        SECRET_KEY="x" * 40,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="urls",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework_simplejwt.token_blacklist",
        ],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [
                "rest_framework_simplejwt.authentication.JWTAuthentication"
            ],
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        },
        SIMPLE_JWT={
            "ROTATE_REFRESH_TOKENS": True,
            "BLACKLIST_AFTER_ROTATION": True,
            "AUTH_TOKEN_CLASSES": [f"rest_framework_simplejwt.tokens.{kind}"],
        },
    )
    django.setup()
    sys.modules["urls"] = urls(sliding=sliding)
    from django.contrib.auth import get_user_model  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("demo", password="demo-password")
    return lambda *request: say(Client(), *request)


def urls(*, sliding: bool) -> types.ModuleType:
    from django.urls import path  # noqa: PLC0415
    from rest_framework.response import Response  # noqa: PLC0415
    from rest_framework.views import APIView  # noqa: PLC0415
    from rest_framework_simplejwt import views  # noqa: PLC0415

    items: Any = type("Items", (APIView,), {"get": lambda _self, _request: Response([])})
    module = types.ModuleType("urls")
    login = views.token_obtain_sliding if sliding else views.token_obtain_pair
    refresh = views.token_refresh_sliding if sliding else views.token_refresh
    vars(module)["urlpatterns"] = [
        path("api/token/", login),
        path("api/token/refresh/", refresh),
        path("items/", items.as_view()),
    ]
    return module


def say(client: Any, path: str, method: str, fields: Any, headers: Mapping[str, str]) -> Any:
    answer = client.generic(
        method, path, json.dumps(fields), content_type="application/json", headers=headers
    )
    challenge = answer.headers.get("WWW-Authenticate")
    return answer.status_code, challenge, json.loads(answer.content)


if __name__ == "__main__":
    print(json.dumps(play(json.load(sys.stdin), real(sliding="sliding" in sys.argv))))  # noqa: T201
