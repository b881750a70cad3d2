"""HAProxy with a header that never changes, and no log: it writes none but to syslog."""

from bench.peer import CONNECTIONS, TOKEN, Command, Place, program, told

CONFIG = """
global
    nbthread 1
    no strict-limits
    maxconn {connections}
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout tunnel 300s
    http-reuse always
frontend callers
    bind 127.0.0.1:{port} backlog 4096
    default_backend api
backend api
    http-request set-header Authorization "Bearer {token}"
    server api 127.0.0.1:{upstream} {tls}
"""
TLS = "ssl verify required ca-file {authority} sni str(localhost) verifyhost localhost"


class HAProxy:
    """One thread."""

    name = "HAProxy"
    renews = False

    def version(self) -> str:
        """Its own."""
        return "HAProxy " + told(program("haproxy"), "-v").split()[2]

    def command(self, place: Place) -> Command:
        """In the foreground."""
        config = CONFIG.format(
            connections=CONNECTIONS,
            port=place.port,
            upstream=place.upstream_port,
            token=TOKEN,
            tls=TLS.format(authority=place.authority) if place.authority else "",
        )
        return Command([program("haproxy"), "-db", "-f", place.write("haproxy.cfg", config)])
