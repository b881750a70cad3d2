"""Settings of Django REST framework simplejwt."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from tokenproxy.settings.base import (
    HttpUrl,
    HttpUrlBase,
    NonEmpty,
    SecretText,
    TokenText,
    refuse,
)
from tokenproxy.settings.credential import NetworkCredential


class SimpleJwt(NetworkCredential):
    """Contract 1.1, `simplejwt`: a user's login, or a first refresh token, or both."""

    endpoints = ("base_url", "login_url", "refresh_url", "logout_url")

    type: Literal["simplejwt"]
    base_url: HttpUrlBase | None = None
    login_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    refresh_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    logout_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    username: NonEmpty | None = None
    password: SecretText | None = None
    username_field: NonEmpty = "username"
    refresh_token: TokenText | None = None
    sliding: bool = False

    @property
    def login_endpoint(self) -> str:
        """Where a user name and password are sent."""
        return self.login_url or f"{(self.base_url or '').rstrip('/')}/api/token/"

    @property
    def refresh_endpoint(self) -> str:
        """Where a refresh token (or a sliding token) is sent."""
        return self.refresh_url or f"{(self.base_url or '').rstrip('/')}/api/token/refresh/"

    @property
    def login(self) -> tuple[str, SecretStr] | None:
        """The user name and password, where the config holds them."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password

    @model_validator(mode="after")
    def _can_begin(self) -> Self:
        wrong = []
        signs_in = self.username is not None or self.password is not None
        if (self.username is None) != (self.password is None):
            wrong.append("needs 'username' and 'password' together")
        if not signs_in and self.refresh_token is None:
            wrong.append("needs 'username' and 'password', or a 'refresh_token'")
        if self.base_url is None:
            wrong += self._missing_urls(signs_in=signs_in)
        refuse(wrong)
        return self

    def _missing_urls(self, *, signs_in: bool) -> list[str]:
        if self.refresh_url is None:
            return ["needs a 'base_url', or 'login_url' and 'refresh_url'"]
        if signs_in and self.login_url is None:
            return ["needs a 'login_url' beside its 'refresh_url' to sign in with"]
        return []
