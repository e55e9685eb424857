"""make serve and make stop: real services, started, logged in to, given a round, healed, and gone."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from typer.testing import CliRunner

from flows.serve import services as serving
from flows.serve.commands import app
from flows.serve.place import PREFECT, RAY, WORKER, login, login_file, page_url, start_command, stop_command
from flows.serve.prefect_service import keep_login
from flows.serve.ray_service import ray_folder, ray_token_variables
from infra.services import OWN_RAY, Service, ServiceError, Services
from tests.flows.deployed_round import check_a_round_by_its_deployment
from tests.flows.person import Person
from tests.flows.serve.browser import CHROMIUM, opened_page
from tests.flows.serve.strangers import check_that_strangers_are_refused

ROOT = Path(__file__).resolve().parents[3]
ALL = {PREFECT, RAY, WORKER}


def pretend(monkeypatch: pytest.MonkeyPatch, services: Services, *alive: Service) -> None:
    """These services live, and nothing that is asked for is started."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(Services, "alive", lambda self: {one.name: one for one in alive})
    monkeypatch.setattr(Services, "start", None)
    monkeypatch.setattr(serving, "free_port", lambda wanted=0: wanted or 4321)


@pytest.mark.parametrize(
    ("words", "alive", "said"),
    [
        (["--ray", "127.0.0.1:1"], [], "No Ray cluster answers at 127.0.0.1:1, which RAY_ADDRESS or --ray names"),
        (["--ray", "somewhere"], [], "No Ray cluster answers at somewhere"),
        (["--port", "4999"], [Service(PREFECT, 1, "", 4321, "")], "The Prefect server runs on port 4321"),
        ([], [Service(WORKER, 1, "", 0, "", "10.0.0.1:6379 /s")], "The worker that runs uses Ray at 10.0.0.1:6379:"),
        (
            [],
            [Service(WORKER, 1, "", 0, "", "127.0.0.1:4321 s3://b/s")],
            "The worker that runs uses the store s3://b/s:",
        ),
    ],
)
def test_what_can_not_be(
    words: list[str], alive: list[Service], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_called = Service("another", 1, "", 0, "")
    pretend(monkeypatch, Services(tmp_path), never_called, *alive)
    ended = CliRunner().invoke(app, ["start", "--folder", str(tmp_path), *words])
    assert ended.exit_code == 2
    assert said in ended.output


def test_it_needs_a_folder_with_deployments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["start", "--folder", "served"])
    assert ended.exit_code == 2
    assert "There is no prefect.yaml here" in ended.output


def test_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = CliRunner().invoke(app, ["start", "--folder", str(tmp_path), "--port", str(taken.getsockname()[1])])
    assert ended.exit_code == 2
    assert 'make serve ARGS="--port 4201"' in ended.output


def test_what_is_typed_depends_on_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that `adhmr init` has laid has no Makefile."""
    monkeypatch.chdir(ROOT)
    assert [start_command(), stop_command()] == ["make serve", "make stop"]
    monkeypatch.chdir(tmp_path)
    assert stop_command() == "python -m flows.serve.commands stop"
    assert start_command("--port 4201") == "python -m flows.serve.commands start --port 4201"


@pytest.mark.parametrize(("ray", "missing"), [("127.0.0.1:4321", RAY), ("10.0.0.1:6379", ""), ("127.0.0.1:4321", "")])
def test_the_status_is_that_of_what_runs(
    ray: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Service(WORKER, 1, "", 0, "", f"{ray} /its store")
    alive = [Service(PREFECT, 1, "", 4322, ""), worker, *([] if missing else [Service(RAY, 1, "", 4321, "")])]
    pretend(monkeypatch, Services(tmp_path), *alive)
    monkeypatch.setattr(Services, "last_port", lambda self, name: 4321)
    ended = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
    assert ended.exit_code == (1 if missing else 0)
    assert ("store     /its store" in ended.output) is not bool(missing)


def test_authentication_is_for_whoever_started_ray_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    ours, theirs = (serving._environment(Services(tmp_path), 1, "h:1", own, "/s") for own in (True, False))
    assert ours["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_MODE" not in theirs
    assert [ours[OWN_RAY], theirs[OWN_RAY]] == ["h:1", ""]
    assert "127.0.0.1" in ours["NO_PROXY"]
    assert ours["ADHMR_STORE"] == "/s"


@pytest.mark.parametrize("named", [True, False])
def test_rays_token_is_ours_alone(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / ("named" if named else "ray-token")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    if named:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    wanted = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    assert ray_token_variables(Services(tmp_path)) == wanted
    made = token.read_text()
    assert len(made.strip()) == 64
    assert token.stat().st_mode & 0o777 == 0o600
    assert ray_token_variables(Services(tmp_path)) == wanted
    assert token.read_text() == made
    token.chmod(0o644)
    assert ray_token_variables(Services(tmp_path)) == wanted
    assert token.read_text() != made
    assert token.stat().st_mode & 0o777 == 0o600

    token.chmod(0o644)
    pretend(monkeypatch, Services(tmp_path), Service(RAY, 1, "", 4321, ""))
    with pytest.raises(ServiceError, match=r"Others could read .*: `make stop`, then `make serve`"):
        ray_token_variables(Services(tmp_path))


def test_services_of_an_earlier_version_are_told_from_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Service(WORKER, 1, "", 0, "", f"127.0.0.1:4321 {tmp_path}/store")
    pretend(monkeypatch, Services(tmp_path), Service(PREFECT, 1, "", 4322, ""), worker, Service(RAY, 1, "", 4321, ""))
    monkeypatch.setenv("ADHMR_STORE", str(tmp_path / "store"))
    ended = CliRunner().invoke(app, ["start", "--folder", str(tmp_path)])
    assert ended.exit_code == 2
    assert "What runs here lets everyone in: an earlier version started it" in ended.output
    assert login(Services(tmp_path)) is None


def test_the_log_in_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = Services(tmp_path)
    made = keep_login(services)
    assert len(made) > 30
    assert login(services) == made
    assert keep_login(services) == ""
    login_file(services).chmod(0o644)
    assert login(services) is None
    assert keep_login(services) not in ("", made)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "my:own")
    assert keep_login(services) == ""
    assert login(services) == "my:own"


def test_the_folder_is_ours_alone(tmp_path: Path) -> None:
    fresh, earlier, other = tmp_path / "a" / "fresh", tmp_path / "earlier", tmp_path / "other"
    for folder, holds in ((earlier, "services.json"), (other, "mine.txt")):
        folder.mkdir(0o755)
        (folder / holds).touch()
    for folder in (fresh, earlier):
        with Services(folder).alone():
            assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ServiceError, match="holds other things: name another folder"), Services(other).alone():
        pass
    assert other.stat().st_mode & 0o777 == 0o755


def test_nothing_to_stop(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        ended = CliRunner().invoke(app, ["stop", "--folder", str(folder)])
        assert ended.exit_code == 0
        assert "Nothing r" in ended.output


class Served(NamedTuple):
    """Somebody who serves, and what they read after starting everything."""

    person: Person
    said: str

    @property
    def services(self) -> Services:
        return self.person.services


def connections(process: psutil.Process) -> list[Any]:
    """None of one that has ended since it was listed."""
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []


def check_that_secrets_are_kept(services: Services) -> None:
    """Nobody else gets into the folders; no secret stands in a command line or in a log."""
    ray = ray_folder(services)
    assert [folder.stat().st_mode & 0o777 for folder in (services.folder, ray)] == [0o700, 0o700]
    assert list(ray.glob("r/session_*/sockets/raylet"))
    files = [login_file(services), services.folder / "ray-token"]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    said = [*services.folder.glob("*.log"), *ray.glob("r/session_*/logs/*")]
    told = [path.read_text(errors="replace") for path in said if path.is_file()]
    told += [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    for file in files:
        secret = file.read_text().strip().rpartition(":")[2]
        assert not any(secret in text for text in told), file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Once for all tests, which follow each other as a person would do it: a start takes half a minute of a core."""
    folder = tmp_path_factory.mktemp("served")
    here = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "RAY", "ADHMR"))}
    person = Person(folder / "served", str(folder / "store"), here)
    try:
        yield Served(person, person.serves())
    finally:
        person.stops()


@pytest.mark.slow
def test_it_is_brought_up_and_strangers_stay_outside(served: Served) -> None:
    port, before = served.services.last_port(PREFECT), served.services.alive()
    assert "started: ray, prefect, worker" in served.said
    assert f"http://127.0.0.1:{port}" in served.said
    assert before.keys() == ALL
    secret = login(served.services)
    assert secret is not None
    assert f"log-in    {secret} " in served.said
    check_that_strangers_are_refused(port, secret)
    check_that_secrets_are_kept(served.services)
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for one in before.values()
        for process in (psutil.Process(one.pid), *psutil.Process(one.pid).children(recursive=True))
        for connection in connections(process)
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_person_logs_in(served: Served, tmp_path: Path) -> None:
    """With what was printed, and with nothing else; then the pages are those of a server without a log-in."""
    printed = served.said.split("log-in ", 1)[1].split()[0]
    page_of = page_url(served.services)
    with opened_page(tmp_path / "browser", page_of) as page:
        page.type_into("input[type=password]", f"{printed}x")
        page.until(lambda: "Invalid credentials" in page.text())
        page.type_into("input[type=password]", printed)
        page.until(lambda: "Logout" in page.text())
        page.go(f"{page_of}/deployments")
        page.until(lambda: "dpo-round" in page.text())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_round_by_its_deployment(served: Served) -> None:
    """On Ray of this machine; on two nodes, with a store on S3: `tests/flows/test_end_to_end.py`, nightly."""
    check_a_round_by_its_deployment(served.person)


@pytest.mark.slow
def test_it_is_healed_and_taken_down(served: Served) -> None:
    before, secret = served.services.alive(), login(served.services)
    assert secret is not None
    psutil.Process(before[WORKER].pid).kill()
    again = served.person.says("flows.serve.commands", "start")
    assert "started: worker;" in again
    assert secret not in again
    healed = served.services.alive()
    assert healed[PREFECT] == before[PREFECT]
    assert healed[RAY] == before[RAY]
    assert healed[WORKER].pid != before[WORKER].pid
    assert page_url(served.services) == f"http://127.0.0.1:{before[PREFECT].port}"

    psutil.Process(healed[RAY].pid).kill()  # what it started lives on, and holds its port
    assert "started: ray;" in served.person.says("flows.serve.commands", "start")
    healed = served.services.alive()
    assert healed.keys() == ALL
    assert healed[RAY].port == before[RAY].port
    assert served.services.strays() == []
    assert "process" in served.person.says("flows.serve.commands", "status")

    assert "Ended: prefect, ray, worker." in served.person.says("flows.serve.commands", "stop")
    assert served.services.alive() == {}
    assert not any(one.is_alive for one in healed.values())
    assert "Nothing ran" in served.person.says("flows.serve.commands", "stop")
