"""Services as real processes: known to their folder, told from strangers, and gone with all that they started."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.processes import birth
from infra.services import ServiceError, Services, answers, free_port, last_words, past_proxies

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(300)"]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],"
    " start_new_session=True); print('here', flush=True); time.sleep(300)",
]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(300)",
]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    known = Services(tmp_path / "served")
    with known.alone():
        yield known
    for name in list(known.alive()):
        known.end(name, 0.1)
    known.end_strays()


def until(told: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not told():
        assert time.monotonic() < end
        time.sleep(0.02)


def spoke(services: Services, name: str) -> bool:
    return "here" in last_words(str(services.folder / f"{name}.log"))


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_service_is_known_until_it_ends(services: Services) -> None:
    started = services.start("one", SLEEP, dict(os.environ), port=1234, note="of mine")
    until(lambda: spoke(services, "one"))
    assert Services(services.folder).alive() == {"one": started}
    assert services.end("one", 5.0)
    assert not lives(started.pid)
    assert services.alive() == {}
    assert services.last_port("one") == 1234
    assert not services.end("one", 5.0)
    services.forget()
    assert services.last_port("one") == 0


@pytest.mark.slow
def test_it_ends_with_its_descendants_and_also_if_it_does_not_want_to(services: Services) -> None:
    services.start("parent", PARENT, dict(os.environ))
    stubborn = services.start("stubborn", STUBBORN, dict(os.environ))
    until(lambda: spoke(services, "parent") and spoke(services, "stubborn"))
    process = services.alive()["parent"].process()
    assert process is not None
    (child,) = process.children()
    assert services.strays() == []
    assert services.end("parent", 5.0)
    assert not lives(child.pid)
    assert services.end("stubborn", 0.2)
    assert not lives(stubborn.pid)


@pytest.mark.slow
def test_strays_of_a_service_that_was_killed_are_found(services: Services) -> None:
    services.start("parent", PARENT, dict(os.environ))
    until(lambda: spoke(services, "parent"))
    process = services.alive()["parent"].process()
    assert process is not None
    (child,) = process.children()
    process.kill()
    until(lambda: "parent" not in services.alive())
    assert [one.pid for one in services.strays()] == [child.pid]
    services.end_strays()
    assert not lives(child.pid)


def test_a_stale_file_names_nobody(services: Services) -> None:
    """A number that belongs to another process now is not taken for the service, and that process is left alone."""
    started = services.start("one", SLEEP, dict(os.environ))
    file = services.folder / "services.json"
    plain = json.loads(file.read_text())
    plain["services"][0]["born"] += " of an earlier start"
    file.write_text(json.dumps(plain))
    assert services.alive() == {}
    assert not services.end("one", 0.1)
    assert lives(started.pid)
    for text in ("", "{", "[]", '{"mark": "m", "services": [{"name": "one"}]}'):
        file.write_text(text)
        assert services.alive() == {}
    psutil.Process(started.pid).kill()


def test_one_command_at_a_time(services: Services) -> None:
    with pytest.raises(ServiceError, match="just now"), Services(services.folder).alone():
        pass


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="Name another folder"), Services(tmp_path / "file").alone():
        pass


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert answers(port)
        with pytest.raises(ServiceError, match=f"Port {port} of 127.0.0.1 can't be had"):
            free_port(port)
    assert not answers(port)
    assert 20000 <= free_port() < 32000


def test_a_process_keeps_its_birth_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = birth(os.getpid())
    assert mine
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 12345.0)
    assert birth(os.getpid()) == mine
    # Not the parent: it may have begun within the same tick of the clock.
    gone = psutil.Popen([sys.executable, "-c", ""])
    assert birth(gone.pid) != mine
    gone.wait()
    assert birth(gone.pid) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "inner.example, localhost"}, "inner.example,localhost,127.0.0.1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_nobody_asks_a_proxy_for_the_loopback(before: dict[str, str], after: str) -> None:
    assert past_proxies(before) == {"no_proxy": after, "NO_PROXY": after}
