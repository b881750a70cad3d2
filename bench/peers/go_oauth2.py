"""Go's ReverseProxy with the Transport of golang.org/x/oauth2, built from `go_oauth2.go`."""

import subprocess
from pathlib import Path

from bench.peer import LONG_LIFE, VIRTUAL_ENVIRONMENTS, Command, Missing, Place, program, told

SOURCES = Path("/usr/share/gocode")  # where Debian has Go's libraries
PROGRAM = VIRTUAL_ENVIRONMENTS / "go_oauth2"
RENEWED_AFTER_A_SECOND = 11  # x/oauth2 renews ten seconds before a token's end


class GoOAuth2:
    """One processor, and no log."""

    name = "Go x/oauth2"
    renews = True

    def version(self) -> str:
        """The compiler's, whose library this is."""
        if not (SOURCES / "src/golang.org/x/oauth2").exists():
            raise Missing("there is no golang.org/x/oauth2")
        return f"{told(program('go'), 'version').split()[2]}, x/oauth2 as packaged by Debian"

    def command(self, place: Place) -> Command:
        """Built first."""
        _build()
        life = RENEWED_AFTER_A_SECOND if place.renewing else LONG_LIFE
        argv = [str(PROGRAM), str(place.port), place.upstream, place.token_url(life)]
        if place.authority:
            argv.append(str(place.authority))
        return Command(argv, {"GOMAXPROCS": "1"})


def _build() -> None:
    PROGRAM.parent.mkdir(exist_ok=True)
    settings = ["GO111MODULE=off", "GOFLAGS=", f"GOPATH={SOURCES}", f"GOCACHE={PROGRAM}.cache"]
    source = Path(__file__).with_suffix(".go")
    build = [program("go"), "build", "-o", str(PROGRAM), str(source)]
    subprocess.run(["env", *settings, *build], check=True)  # noqa: S607
