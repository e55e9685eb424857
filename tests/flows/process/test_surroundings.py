"""What a machine lacks is put right before the libraries meet it, or told in a line with the cure; so says doctor."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.process import surroundings
from flows.process.surroundings import RAY_FOLDER, Surrounding, look
from flows.serve.address import look_past_socks
from infra.services import free_port
from schemas.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
LONG = "x" * 100


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the start of a process."""
    monkeypatch.setattr(surroundings, "_settled", [])
    monkeypatch.setattr(tempfile, "tempdir", None)


def found(what: str, **environment: str) -> Surrounding:
    """What `look` says of one thing, in an environment of these variables alone."""
    return next(one for one in look(environment) if one.what == what)


def locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights alone would not stop the superuser, who runs the tests in many containers."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, how: Path(place) != folder and access(place, how))


def test_a_folder_for_temporary_files_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing")
    monkeypatch.setenv("TMPDIR", missing)
    one = found("temporary files", TMPDIR=missing)
    assert dict(one.variables) == {"TMPDIR": tempfile.gettempdir()}
    assert f"TMPDIR={missing} is no folder that can be written" in one.text


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fails)
    with pytest.raises(ConfigError, match="set TMPDIR to one with a short path"):
        surroundings.refuse()


def test_a_path_that_is_too_long_for_rays_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / LONG
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    one = found("Ray's files", TMPDIR=str(long))
    assert dict(one.variables) == {RAY_FOLDER: "/tmp"}
    assert "too long a path for its sockets" in one.text
    assert found("temporary files", TMPDIR=str(long)).text == str(long)
    monkeypatch.setattr(surroundings, "_SHORT_PLACES", ())
    assert f"set {RAY_FOLDER} to a folder with a path of" in found("Ray's files", TMPDIR=str(long)).text


@pytest.mark.parametrize("place", [f"/tmp/{LONG}", "/missing"])
def test_rays_folder_as_somebody_has_named_it_is_not_passed_over(place: str) -> None:
    one = found("Ray's files", **{RAY_FOLDER: place})
    assert one.is_problem
    assert one.text.startswith(f"{RAY_FOLDER}={place} is ")
    assert "set it to another one" in one.text


def test_a_session_of_ray_fits_below_the_longest_folder() -> None:
    """A folder of the greatest length that passes; and one more character is refused."""
    longest = "/" + "x" * (surroundings._longest() - 1)
    assert "too long" not in surroundings._why_not_ray(longest)
    assert "too long" in surroundings._why_not_ray(longest + "x")
    session = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(f"{longest}/{session}") <= surroundings.LONGEST_SOCKET


@pytest.mark.parametrize("trouble", ["locked", "full", "none"])
def test_a_home_that_takes_nothing(trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and Prefect's database go elsewhere, into a folder that is nobody else's; its profiles are still read."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    home = tmp_path / "home"
    (home / ".prefect").mkdir(parents=True)
    (home / ".prefect/profiles.toml").write_text("")
    if trouble == "locked":
        locked(home, monkeypatch)
    if trouble == "full":
        monkeypatch.setattr(surroundings, "_is_full", lambda folder: folder == home)
    if trouble == "none":
        home.rename(tmp_path / "moved")
    one = found("home", HOME=str(home), MPLCONFIGDIR="/chosen")
    own = tmp_path / f"adhmr-{os.getuid()}"
    assert own.stat().st_mode & 0o777 == 0o700
    profiles = {} if trouble == "none" else {"PREFECT_PROFILES_PATH": str(home / ".prefect/profiles.toml")}
    assert dict(one.variables) == {
        "NUMBA_CACHE_DIR": str(own / "numba"),
        "PREFECT_HOME": str(own / "prefect"),
        "ADHMR_CACHE": str(own / "cache"),
        **profiles,
    }
    assert str(own) in one.text


def test_a_folder_that_others_could_write_is_not_run_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba runs what it finds in its cache."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    planted = tmp_path / f"adhmr-{os.getuid()}"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    cache = found("home", HOME=str(tmp_path / "none")).variables["NUMBA_CACHE_DIR"]
    assert not Path(cache).is_relative_to(planted)
    assert Path(cache).parent.stat().st_mode & 0o777 == 0o700


def test_a_home_that_is_well_is_left_alone(tmp_path: Path) -> None:
    assert found("home", HOME=str(tmp_path)) == Surrounding("home", str(tmp_path))
    wrong = tmp_path / "file"
    wrong.write_text("")
    one = found("home", HOME=str(tmp_path), PREFECT_HOME=str(wrong / "below"))
    assert one.is_problem
    assert one.text == f"PREFECT_HOME={wrong / 'below'} can't be written: set it to another folder."


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert dict(found("user").variables) == {"USER": f"uid-{os.getuid()}"}


def test_socks_proxies_are_looked_past_where_the_server_is_here() -> None:
    here = {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "SOCKS5h://x", "HTTPS_PROXY": "http://proxy:3128"}
    for url in (None, "http://127.0.0.1:4200/api", "http://localhost:4200/api"):
        environment = dict(here)
        look_past_socks(url, environment)
        assert environment == {"HTTPS_PROXY": "http://proxy:3128"}
    with pytest.raises(ConfigError, match=r"ALL_PROXY names a SOCKS proxy.* http://far/api: `pip install socksio`"):
        look_past_socks("http://name:word@far/api", dict(here))


@pytest.mark.slow
@pytest.mark.parametrize("named", ["variable", "profile"])
def test_a_server_that_does_not_answer_is_named_before_work_begins(named: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["PREFECT_HOME"] = str(tmp_path)
    if named == "variable":
        environment["PREFECT_API_URL"] = url
    else:
        profile = f'active = "work"\n[profiles.work]\nPREFECT_API_URL = "{url}"\n'
        (tmp_path / "profiles.toml").write_text(profile)
    done = adhmr(["run", "--profile", "micro", "--store", str(tmp_path / "store")], environment)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    whence = "PREFECT_API_URL" if named == "variable" else "the Prefect profile work"
    cure = "unset PREFECT_API_URL" if named == "variable" else "`prefect config unset PREFECT_API_URL`"
    assert f"The Prefect server at {url}, which {whence} names, does not answer (" in line
    assert f"or {cure}: then a temporary one is started." in line


@pytest.mark.slow
def test_signs_that_the_output_lacks_are_replaced(tmp_path: Path) -> None:
    code = "from flows.process.surroundings import settle\nsettle()\nfrom rich.console import Console\n"
    code += "Console(highlight=False).print('\\u22122.4 \\u2026 10 \\u00b0')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"?2.4 ? 10 ?\n"), done.stderr


@pytest.mark.slow
def test_the_libraries_find_what_was_put_right(tmp_path: Path) -> None:
    """A home that isn't there, a long path, a proxy: the command line comes as far as its own words."""
    long = tmp_path / LONG
    long.mkdir()
    bad = {"HOME": str(tmp_path / "none"), "TMPDIR": str(long), "ALL_PROXY": "socks5://127.0.0.1:9"}
    environment = {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "MPLCONFIGDIR")}
    done = adhmr(["status", "--store", str(tmp_path)], {**environment, **bad})
    assert done.returncode == 2
    assert done.stderr.startswith("adhmr: There is no store at"), done.stderr
    assert not (tmp_path / "none").exists()


def test_doctor_tells_of_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / LONG
    long.mkdir()
    for name, value in (("TMPDIR", str(long)), ("HOME", str(tmp_path / "none")), ("PREFECT_API_URL", "")):
        monkeypatch.setenv(name, value)
    for name in (RAY_FOLDER, "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "PREFECT_HOME", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    said = CliRunner().invoke(app, ["doctor", "--profile", "micro", "--store", str(tmp_path / "new")])
    for line in (
        f"good    temporary files: {long}",
        "note    Ray's files: /tmp, as ",
        f"note    home: {tmp_path / 'none'} can't be written; caches and Prefect's database are in {long}/adhmr-",
        "good    user: ",
        "good    output: utf-8",
    ):
        assert line in said.output, said.output


def adhmr(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
