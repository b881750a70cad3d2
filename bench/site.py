"""The processes of the bench: what is behind the peers, the peers, and the load generator."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import perf_counter, sleep

import trustme

from bench.load.order import Failure, Measured, Order
from bench.peer import Peer, Place
from bench.processes import LOOPBACK, free_port, pinned, tree, wait_for
from bench.workloads import Workload
from tokenproxy.testing import Issuer, running

PEERS_CORE, OTHERS_CORE = 0, 1
DAY = 86_400.0
TOKEN_SECONDS = 5.0  # for a peer to get its first token
RENEWED_AFTER_A_SECOND = 4 / 3  # tokenproxy renews when a quarter of a token's life is left


class Broken(Exception):
    """A peer that does not do what it should; the message says what it did."""


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that listens."""

    name: str
    port: int
    processes: tuple[int, ...] = ()


class Generator:
    """The load generator's process."""

    def __init__(self, folder: Path) -> None:
        self._argv = [sys.executable, "-m", "bench.load"]
        self._log = folder / "load.log"

    @contextmanager
    def running(self) -> Iterator["Generator"]:
        """In its process, as long as the block."""
        with pinned(self._argv, core=OTHERS_CORE, log=self._log, pipes=True) as self._process:
            yield self

    def measure(self, order: Order, peer: Running) -> Measured:
        """Carry it out.

        Raises:
            Broken: the peer has failed.
        """
        assert self._process.stdin  # noqa: S101 - for mypy
        assert self._process.stdout  # noqa: S101 - the same
        filled = replace(order, port=peer.port, processes=peer.processes)
        self._process.stdin.write(filled.dumps() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator has ended: {self._log.read_text()[-2000:]}")
        answer = Measured.loads(line)
        if isinstance(answer, Failure):
            raise Broken(answer.why)
        return answer


@dataclass(frozen=True, slots=True)
class Site:
    """What is behind the peers, and the generator before them."""

    folder: Path
    generator: Generator
    port: int
    tls_port: int
    authority: Path
    issuer: str
    renewing_issuer: str

    @contextmanager
    def peer(self, peer: Peer, workload: Workload) -> Iterator[Running]:
        """One that runs as the workload wants it.

        Raises:
            Broken: it doesn't start, or puts no token on a request.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        folder.chmod(0o755)  # nginx gives up root
        place = self._place(folder, workload)
        command, log = peer.command(place), folder / "log"
        with pinned(
            command.argv, core=PEERS_CORE, log=log, environment=command.environment
        ) as process:
            try:
                wait_for(place.port, process, log)
                _check(place.port)
            except (RuntimeError, OSError, HTTPException) as error:
                raise Broken(str(error)) from error
            yield Running(peer.name, place.port, tuple(tree(process.pid)))

    @property
    def direct(self) -> Running:
        """The upstream itself, with no proxy before it."""
        return Running("no proxy", self.port)

    def _place(self, folder: Path, workload: Workload) -> Place:
        return Place(
            folder=folder,
            port=free_port(),
            upstream_port=self.tls_port if workload.tls else self.port,
            token_port=self.port,
            issuer=self.renewing_issuer if workload.renewing else self.issuer,
            authority=self.authority if workload.tls else None,
            renewing=workload.renewing,
        )


def _check(port: int) -> None:
    """Until a request bears a token: some get theirs after they have begun to listen."""
    deadline = perf_counter() + TOKEN_SECONDS
    while not (answer := _authorization(port)).startswith(b"Bearer "):
        if perf_counter() > deadline:
            raise Broken(f"its requests bear no token: {answer[:200]!r}")
        sleep(0.1)


def _authorization(port: int) -> bytes:
    connection = HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", "/authorization")
        return connection.getresponse().read()
    finally:
        connection.close()


@contextmanager
def site() -> Iterator[Site]:
    """All but the peers; the folder and the processes end with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenproxy-bench-")))
        folder.chmod(0o755)
        port, tls_port = free_port(), free_port()
        certificate, authority = _certificates(folder)
        log = folder / "upstream.log"
        argv = [sys.executable, "-m", "bench.upstream", str(port), str(tls_port), certificate]
        upstream = stack.enter_context(pinned(argv, core=OTHERS_CORE, log=log))
        wait_for(tls_port, upstream, log)
        issuer = stack.enter_context(running(Issuer(access_life=DAY)))
        renewing = stack.enter_context(running(Issuer(access_life=RENEWED_AFTER_A_SECOND)))
        yield Site(
            folder=folder,
            generator=stack.enter_context(Generator(folder).running()),
            port=port,
            tls_port=tls_port,
            authority=authority,
            issuer=issuer.url,
            renewing_issuer=renewing.url,
        )


def _certificates(folder: Path) -> tuple[str, Path]:
    """The upstream's, with its key, and the authority's."""
    authority = trustme.CA()
    own, trusted = folder / "upstream.pem", folder / "authority.pem"
    authority.issue_cert("localhost", LOOPBACK).private_key_and_cert_chain_pem.write_to_path(own)
    authority.cert_pem.write_to_path(trusted)
    return str(own), trusted


def started(
    site: Site, peers: Sequence[Peer], workload: Workload, stack: ExitStack
) -> tuple[list[Running], dict[str, str]]:
    """All that run, until `stack` closes, and why the others don't."""
    running: list[Running] = []
    broken: dict[str, str] = {}
    for peer in peers:
        try:
            running.append(stack.enter_context(site.peer(peer, workload)))
        except Broken as error:
            broken[peer.name] = str(error)
    return running, broken
