import asyncio
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tokenproxy.config.process import Process
from tokenproxy.errors import ListenError
from tokenproxy.server import listeners
from tokenproxy.server.listeners import BACKLOG, bind
from tokenproxy.server.listening import listening
from tokenproxy.server.turns import Taking


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        assert os.umask(before) == mask


def families(bound: listeners.Bound) -> list[int]:
    return [one.family for one in bound.sockets]


def connects(place: tuple[str, int] | str) -> bool:
    family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
    if isinstance(place, tuple) and ":" in place[0]:
        family = socket.AF_INET6
    with socket.socket(family) as client:
        return client.connect_ex(place) == 0


def test_port_0_picks_one_and_says_which() -> None:
    with closing(bind("127.0.0.1:0")) as bound:
        port = bound.sockets[0].getsockname()[1]
        assert port > 0
        assert bound.url == f"http://127.0.0.1:{port}"
        assert connects(("127.0.0.1", port))
    assert not connects(("127.0.0.1", port))


def test_an_ipv6_address_stands_in_brackets() -> None:
    with closing(bind("[::1]:0")) as bound:
        port = bound.sockets[0].getsockname()[1]
        assert bound.url == f"http://[::1]:{port}"
        assert connects(("::1", port))


def test_localhost_is_both_families_on_one_port() -> None:
    for _ in range(20):
        with closing(bind("localhost:0")) as bound:
            assert sorted(families(bound)) == sorted([socket.AF_INET, socket.AF_INET6])
            assert len({one.getsockname()[1] for one in bound.sockets}) == 1
            assert bound.url == f"http://localhost:{bound.sockets[0].getsockname()[1]}"


def test_a_port_that_another_has_on_ipv6_is_an_error_and_not_half_a_listener() -> None:
    with closing(bind("[::1]:0")) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(ListenError, match="another program listens there"):
            bind(f"localhost:{port}")
        assert not connects(("127.0.0.1", port))


def test_a_picked_port_that_another_has_on_ipv6_is_picked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def taken_once(family: socket.AddressFamily, place: tuple[str, int]) -> socket.socket:
        if family == socket.AF_INET6 and not tried:
            tried.append(place[1])
            with closing(listen(family, place)):
                return listen(family, place)
        return listen(family, place)

    tried: list[int] = []
    listen = listeners._listen
    monkeypatch.setattr(listeners, "_listen", taken_once)
    with closing(bind("localhost:0")) as bound:
        assert len(bound.sockets) == 2
    assert len(tried) == 1


def test_an_address_in_use_is_one_sentence() -> None:
    with closing(bind("127.0.0.1:0")) as bound:
        address = bound.url.removeprefix("http://")
        with pytest.raises(ListenError) as caught:
            bind(address)
    assert str(caught.value) == (
        f"cannot listen on {address} (another program listens there: stop it, or name another "
        "'listen')"
    )


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.1:0",
        "nowhere.invalid:80",
        "unix:/nowhere/at/all",
        "nonsense",
        "x:99999",
        "a..b:80",
        f"{'a' * 64}.x:80",
    ],
)
def test_an_address_that_cannot_be_had_is_one_sentence(address: str) -> None:
    with pytest.raises(ListenError) as caught:
        bind(address)
    assert str(caught.value).startswith(f"cannot listen on {address}")
    assert "\n" not in str(caught.value)
    assert "()" not in str(caught.value)


def test_many_may_wait_to_be_taken() -> None:
    with ExitStack() as stack:
        bound = stack.enter_context(closing(bind("127.0.0.1:0")))
        place = bound.sockets[0].getsockname()
        for _ in range(min(BACKLOG, 300)):
            client = stack.enter_context(socket.socket())
            client.settimeout(1)
            client.connect(place)


# -- unix sockets --------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_unix_socket_is_for_its_owner_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "s"
    with umask(mask), closing(bind(f"unix:{path}")) as bound:
        assert bound.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert connects(str(path))
    assert not path.exists()


@pytest.mark.parametrize(
    ("query", "mode"), [("?mode=0660", 0o660), ("?mode=666", 0o666), ("?mode=0600", 0o600)]
)
@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_a_unix_socket_has_the_mode_that_was_asked_for_from_the_start(
    tmp_path: Path, query: str, mode: int, mask: int
) -> None:
    path = tmp_path / "s"
    with umask(mask), closing(bind(f"unix:{path}{query}")) as bound:
        assert bound.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert connects(str(path))
    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("unix:/s?mode=0990", "takes a mode after its '?' and nothing else"),
        ("unix:/s?mode=", "takes a mode after its '?' and nothing else"),
        ("unix:/s?mode=01777", "takes a mode after its '?' and nothing else"),
        ("unix:/s?mode=0660&owner=anna", "takes a mode after its '?' and nothing else"),
        ("unix:/s?owner=anna", "takes a mode after its '?' and nothing else"),
        ("unix:/s?", "takes a mode after its '?' and nothing else"),
        ("unix:/a\0b", "must not hold a NUL byte"),
        ("unix:s?mode=0660", "must be an absolute path"),
    ],
)
def test_what_is_wrong_with_the_address_of_a_unix_socket_is_a_sentence(
    address: str, what: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        Process.model_validate({"listen": address})
    with pytest.raises(ListenError, match="cannot listen on"):
        bind(address)


def test_a_mode_is_part_of_a_good_address() -> None:
    address = "unix:/run/s?mode=0660"
    assert Process.model_validate({"listen": address}).listen == (address,)


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with closing(bind(f"unix:{path}")):
        assert connects(str(path))


def test_a_live_unix_socket_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(bind(f"unix:{path}")):
        with pytest.raises(ListenError, match="another program listens there"):
            bind(f"unix:{path}")
        assert connects(str(path))


def test_a_unix_socket_that_is_too_busy_to_answer_is_alive(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(path)
        busy.listen(0)
        for _ in range(5):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(path)
        with pytest.raises(ListenError, match="another program listens there"):
            bind(f"unix:{path}")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ListenError, match="a file that is no socket has that name"):
        bind(f"unix:{path}")
    assert os.path.lexists(path)


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    old = bind(f"unix:{path}")
    for one in old.sockets:
        one.close()
    with closing(bind(f"unix:{path}")):
        old.close()
        assert connects(str(path))
    assert not path.exists()
    old.close()


async def test_who_only_accepts_leaves_the_file_to_whoever_bound_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(bind(f"unix:{path}")) as bound:
        with bound.sockets[0].dup() as inherited:
            Taking(inherited, asyncio.Protocol, None, lambda: 0).close()
        assert connects(str(path))
    assert not path.exists()


def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="path too long"):
        bind(f"unix:{tmp_path / ('x' * 200)}")


def test_a_listener_whose_file_has_another_owner_by_now_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening([f"unix:{path}"]) as ours:
        path.unlink()
        with closing(bind(f"unix:{path}?mode=0666")):
            ours.adopt(ours.prepare([f"unix:{path}"]))
            ours.adopt(ours.prepare([f"unix:{path}?mode=0640"]))
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            ours.close()
            assert connects(str(path))


def test_no_symlink_is_followed_to_change_a_mode(tmp_path: Path) -> None:
    path, victim = tmp_path / "s", tmp_path / "victim"
    victim.touch(mode=0o400)
    with listening([f"unix:{path}?mode=0666"]) as ours:
        path.unlink()
        path.symlink_to(victim)
        ours.adopt(ours.prepare([f"unix:{path}?mode=0666"]))
        assert stat.S_IMODE(victim.stat().st_mode) == 0o400
    assert path.is_symlink()


def test_a_changed_mode_is_the_file_s_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening([f"unix:{path}"]) as ours:
        ours.adopt(ours.prepare([f"unix:{path}?mode=0660"]))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_an_address_beside_one_of_our_own_on_its_port_takes_a_restart() -> None:
    with listening(["127.0.0.1:0"]) as ours:
        port = ours.bound[0].sockets[0].getsockname()[1]
        with pytest.raises(ListenError) as caught:
            ours.prepare([f"0.0.0.0:{port}"])
        assert str(caught.value) == (
            f"cannot listen on 0.0.0.0:{port} (this program has that port by the config in force: "
            "restart it for another address with the same port, or name another 'listen')"
        )
        assert connects(("127.0.0.1", port))
