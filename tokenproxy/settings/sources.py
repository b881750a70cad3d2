"""All types of credentials, told apart by `type`."""

from typing import Annotated

from pydantic import Field

from tokenproxy.settings.command import Command
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.static import Static

AnyCredential = Annotated[
    Static | File | Command | SimpleJwt | JsonLogin | OAuth2, Field(discriminator="type")
]
