"""Caddy with a header that never changes, and no access log: it has none by default."""

from bench.peer import TOKEN, Command, Place, program, told

CONFIG = """
{{
    admin off
    auto_https off
    storage file_system {folder}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {upstream} {{
        header_up Authorization "Bearer {token}"
        transport http {{
            keepalive_idle_conns_per_host 64
            {tls}
        }}
    }}
}}
"""


class Caddy:
    """One processor."""

    name = "Caddy"
    renews = False

    def version(self) -> str:
        """Its own."""
        return "Caddy " + told(program("caddy"), "version").split()[0]

    def command(self, place: Place) -> Command:
        """It wants a home."""
        config = CONFIG.format(
            folder=place.folder,
            port=place.port,
            upstream=place.upstream,
            token=TOKEN,
            tls=f"tls_trusted_ca_certs {place.authority}" if place.authority else "",
        )
        path = place.write("Caddyfile", config)
        environment = {"HOME": str(place.folder), "GOMAXPROCS": "1"}
        argv = [program("caddy"), "run", "--adapter", "caddyfile", "--config", path]
        return Command(argv, environment)
