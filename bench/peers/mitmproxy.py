"""mitmproxy as a reverse proxy that sets a header, and streams what is large or has no length."""

from bench.peer import TOKEN, Command, Place, program, told

SCRIPT = """
def requestheaders(flow):
    flow.request.stream = int(flow.request.headers.get("content-length", 0)) > 1 << 20


def responseheaders(flow):
    length = flow.response.headers.get("content-length")
    flow.response.stream = length is None or int(length) > 1 << 20
"""


class Mitmproxy:
    """`mitmdump`, which shows no flows."""

    name = "mitmproxy"
    renews = False

    def version(self) -> str:
        """Its own."""
        lines = told(program("mitmdump", "mitmproxy"), "--version").splitlines()
        return "mitmproxy " + lines[0].split()[-1]

    def command(self, place: Place) -> Command:
        """All on the command line."""
        settings = {
            "confdir": str(place.folder),
            "flow_detail": "0",
            "modify_headers": f"/~q/Authorization/Bearer {TOKEN}",
        }
        if place.authority:
            settings["ssl_verify_upstream_trusted_ca"] = str(place.authority)
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        listen = ["--listen-host", "127.0.0.1", "--listen-port", str(place.port)]
        script = place.write("stream.py", SCRIPT)
        return Command(
            [
                program("mitmdump", "mitmproxy"),
                "--quiet",
                "--mode",
                f"reverse:{place.upstream}",
                *listen,
                *options,
                "--scripts",
                script,
            ]
        )
