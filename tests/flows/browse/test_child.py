"""Children: they answer, refuse in words, end when idle or too slow, and are started again; the server has no torch."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.browse.child import Child, ChildError

ECHO = """
import sys, time, os
from flows.browse.child import Answer, serve
from schemas.errors import DataError
def work(request):
    print("noise on standard output")
    if "told" in request:
        with open(request["told"], "a") as told:
            told.write("asked ")
    if request.get("refuse"):
        raise DataError("not this one")
    if request.get("die"):
        os._exit(request["die"])
    time.sleep(request.get("seconds", 0))
    return Answer("text/plain", request["text"].encode(), {"pid": os.getpid()})
serve(work, idle=float(sys.argv[1]))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "echoing_child.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])]))
    return "echoing_child"


def test_it_answers_refuses_and_is_started_again(module: str) -> None:
    child = Child(module, ["60"])
    assert child.pid is None
    long = "é\n" * 100_000
    answer = child.ask({"text": long})
    assert (answer.data.decode(), answer.kind, answer.about["pid"]) == (long, "text/plain", child.pid)
    with pytest.raises(ChildError, match="not this one"):
        child.ask({"refuse": True})
    assert child.ask({"text": "on"}).about["pid"] == answer.about["pid"]
    with pytest.raises(ChildError, match="ended without an answer"):
        child.ask({"die": 3})
    again = child.ask({"text": "again"})
    assert again.about["pid"] != answer.about["pid"]
    child.close()
    assert not psutil.pid_exists(again.about["pid"])


def test_what_ended_it_at_work_is_not_asked_of_it_again(module: str, tmp_path: Path) -> None:
    child = Child(module, ["60"], patience=1.5)
    for number, ends in enumerate(({"die": 3}, {"seconds": 60})):
        child.ask({"text": "it is there"})
        with pytest.raises(ChildError, match="ended without an answer"):
            child.ask({"told": str(tmp_path / str(number)), "text": "a", **ends})
        assert (tmp_path / str(number)).read_text() == "asked "
    child.close()


def test_one_that_ends_idle_just_as_it_is_asked_is_started_again(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(module, ["0.1"])
    first = psutil.Process(child.ask({"text": "a"}).about["pid"])
    deadline = time.monotonic() + 20
    while first.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    looked = iter([None])  # it was there when it was looked at
    poll = subprocess.Popen.poll
    monkeypatch.setattr(subprocess.Popen, "poll", lambda process: next(looked, poll(process)))
    assert child.ask({"text": "b"}).about["pid"] != first.pid
    child.close()


def test_it_may_be_started_before_it_is_asked(module: str) -> None:
    child = Child(module, ["60"])
    child.begin()
    began = child.pid
    child.begin()
    assert began is not None
    assert child.ask({"text": "a"}).about["pid"] == began
    child.close()


@pytest.mark.slow
def test_it_ends_when_idle_and_when_it_takes_too_long(module: str) -> None:
    child = Child(module, ["0.2"], patience=2)
    first = child.ask({"text": "a"}).about["pid"]
    deadline = time.monotonic() + 20
    while child.pid is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.pid is None
    assert child.ask({"text": "b"}).about["pid"] != first
    with pytest.raises(ChildError, match="longer than 2 seconds"):
        child.ask({"text": "c", "seconds": 60})
    child.close()


def test_it_ends_with_its_server(module: str) -> None:
    asked = f"Child({module!r}, ['60']).ask({{'text': 'a'}}).about['pid']"
    script = f"from flows.browse.child import Child; print({asked}, flush=True)"
    told = subprocess.run(
        [sys.executable, "-c", script + "; import os; os._exit(1)"], capture_output=True, text=True, check=False
    )
    pid = int(told.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_the_server_loads_no_torch(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
import flows.browse.serving
from flows.browse.app import make_app
from infra.listing import Listing
from infra.store import Store
folder = Path(sys.argv[1])
(folder / "lists").mkdir()
app, desk = make_app(Listing(Store.open(folder / "store"), folder / "lists"), "t", 1234, "tiny", "procrustes")
client = TestClient(app, base_url="http://127.0.0.1:1234")
for path in ("/?token=t", "/people", "/pairs", "/failures", "/sql"):
    assert client.get(path).status_code == 200, path
loaded = {name for name in ("torch", "ray", "prefect", "matplotlib", "scipy", "numba") if name in sys.modules}
print(sorted(loaded))
"""
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]", told.stdout
