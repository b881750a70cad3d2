"""Where an issuer sends the browser back to: this listener, if that is what is registered there.

| `redirect_uri` in the config              | the browser comes back to                     |
|-------------------------------------------|-----------------------------------------------|
| not set                                   | `/oauth/callback` of the Host that it used    |
| that very address                         | it, letter by letter (RFC 6749 3.1.2.3)       |
| the same without a port (RFC 8252 7.3)    | the same with the port that the browser used  |
| this listener by another name             | nowhere: the page must be opened by that name |
| anything else                             | nowhere: `tokenproxy login` listens there     |

By another name the browser would bring no cookie, for it keeps them by host.
"""

from urllib.parse import urlsplit

from tokenproxy.proxy.target import split_port
from tokenproxy.settings.access import DEFAULT_PORTS
from tokenproxy.settings.oauth2 import OAuth2

CALLBACK = "/oauth/callback"
HTTP = b"%d" % DEFAULT_PORTS["http"]


class Elsewhere(ValueError):
    """One cannot sign in by this page; the message is a sentence that says where."""


def redirect_uri(name: str, settings: OAuth2, host: str | None) -> str:
    """For a browser that asked with this Host; None where there is none, as on a unix socket.

    Raises:
        Elsewhere: it could not come back.
    """
    verb = f"run 'tokenproxy login {name}'"
    if host is None:
        raise Elsewhere(f"A browser could not come back to this listener: {verb}.")
    ours = f"http://{host}{CALLBACK}"
    if "redirect_uri" not in settings.model_fields_set:
        return ours
    wanted = urlsplit(settings.redirect_uri)
    known, port = split_port(wanted.netloc.lower().encode())
    asked, asked_port = split_port(host.lower().encode())
    if wanted.path != CALLBACK or port not in {None, asked_port or HTTP}:
        which = f"The 'redirect_uri' of credential '{name}'"
        raise Elsewhere(f"{which} does not lead to this page: {verb}.")
    if known != asked:
        there = f"{known.decode()}:{(asked_port or HTTP).decode()}"
        raise Elsewhere(f"The issuer sends browsers back to {there}: open http://{there}/ instead.")
    return ours if port is None else settings.redirect_uri
