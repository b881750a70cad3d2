"""How TLS is spoken with callers: the `tls` of a listener (contract 1)."""

import ssl

from tokenproxy.errors import ConfigError, Problem
from tokenproxy.settings.tls import ListenerTls
from tokenproxy.tokens.endpoint import show_certificate, unreadable

PROTOCOLS = ["http/1.1"]  # RFC 7301: what is told to those who could speak h2 as well


def listener_context(settings: ListenerTls, where: str) -> ssl.SSLContext:
    """What connections of a listener speak TLS by; `where` is its place in the config.

    Raises:
        ConfigError: files cannot be read or are not what they should be.
    """
    files = {"cert": settings.cert, "key": settings.key, "client_ca": settings.client_ca}
    wrong = [
        Problem(f"{where}.{key}", f"{path} cannot be read ({why})")
        for key, path in files.items()
        if path is not None and (why := unreadable(path)) is not None
    ]
    if wrong:
        raise ConfigError(wrong)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    show_certificate(context, settings.cert, settings.key, where)
    _ask_for_certificates(context, settings, where)
    return context


def _ask_for_certificates(context: ssl.SSLContext, settings: ListenerTls, where: str) -> None:
    if settings.client_ca is None:
        return
    try:
        context.load_verify_locations(settings.client_ca)
    except ssl.SSLError as error:
        what = f"{settings.client_ca} holds no certificate in PEM format"
        raise ConfigError([Problem(f"{where}.client_ca", what)]) from error
    context.verify_mode = ssl.CERT_REQUIRED
