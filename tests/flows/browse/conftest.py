"""A store to browse: rounds that an earlier release made, and what somebody put in who means ill."""

import io
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from flows.browse.app import make_app
from flows.browse.desk import Desk
from infra.listing import Listing
from infra.services import free_port
from infra.stages import Failure, StageSpec, commit_rows, failures_table
from infra.store import Store
from infra.tables import read
from tests.earlier.make_store import ARCHIVE

PORT = 8420
SCRIPT = "wild/train/<script>alert(1)</script>#0"
BAD_SQL = "'; DROP TABLE pairs; --"
ESCAPES = "\x1b]0;owned\x07 and \u202e turned"
HOSTILE = "hostile/train/<b>'\u202e\u200e\x85\"#0"
"""A person who is there, with a pair."""
REPORT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Round 1</title></head><body>
<p id="said">No script has run</p><script>
let cookies = "are read";
try { document.cookie; } catch { cookies = "are refused"; }
fetch("/sql").then(() => "is answered", () => "is refused").then((asked) => {
    document.getElementById("said").textContent =
        `The script runs; to ask the server ${asked}; cookies ${cookies}.`;
});
</script></body></html>
"""
"""Of round 1 of the campaign micro, invented: the store came without."""
CLIMBING = "wild/train/../../../../etc/passwd#0"


class Browsed(NamedTuple):
    """A client that is logged in, and what it talks to."""

    client: TestClient
    desk: Desk
    store: Store
    token: str

    def stranger(self) -> TestClient:
        """A client that isn't."""
        return TestClient(self.client.app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)


@pytest.fixture(scope="session")
def browsed_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Only to be read."""
    folder = tmp_path_factory.mktemp("browsed")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    store = Store.open(folder / "store")
    spec = StageSpec("ingest", 1, {"hostile": True}, campaign="micro", in_round=1)
    failures = [
        Failure(SCRIPT, "<b>bold</b>", "<img src=x onerror=alert(1)>"),
        Failure(CLIMBING, "outside", BAD_SQL),
        Failure("wild/train/escapes#0", ESCAPES, ESCAPES),
    ]
    commit_rows(store, spec, {"failures": failures_table(spec, failures).drop_columns(["stage_key"])})
    _put_in_hostile(store)
    store.atomic_write("reports/micro-round-1.html", REPORT.encode())
    return store


def _put_in_hostile(store: Store) -> None:
    pair = read(store, "pairs").slice(0, 1)
    person = read(store, "instances", ids=pair.column("instance_id").to_pylist()).slice(0, 1)
    image = read(store, "images", ids=person.column("image_id").to_pylist()).slice(0, 1)
    name = HOSTILE.partition("#")[0]
    came = StageSpec("ingest", 1, {"named": "hostile"})
    rows = {
        "instances": renamed(person, instance_id=HOSTILE, image_id=name, dataset="hostile", split="train"),
        "images": renamed(image, image_id=name, dataset="hostile", split="train"),
    }
    commit_rows(store, came, {table: one.drop_columns(["stage_key"]) for table, one in rows.items()})
    paired = StageSpec("pair", 1, {"named": "hostile"}, reads=(came.key,))
    own = renamed(pair, instance_id=HOSTILE, dataset="hostile", strategy="<b>", pair_set=paired.key)
    commit_rows(store, paired, {"pairs": own.drop_columns(["stage_key"])})


def renamed(row: pa.Table, **columns: str) -> pa.Table:
    """A row with other words in columns that it has."""
    for name in columns.keys() & set(row.column_names):
        field = row.schema.field(name)
        row = row.set_column(row.schema.get_field_index(name), field, pa.array([columns[name]]).cast(field.type))
    return row


@pytest.fixture(scope="session")
def browsed(browsed_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsed]:
    token = secrets.token_urlsafe(8)
    app, desk = make_app(Listing(browsed_store, tmp_path_factory.mktemp("lists")), token, PORT, "tiny", "procrustes")
    client = TestClient(app, base_url=f"http://127.0.0.1:{PORT}")
    assert client.get("/", params={"token": token}).status_code == 200
    yield Browsed(client, desk, browsed_store, token)
    desk.close()


@contextmanager
def served(store: Store) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The link that `adhmr browse` prints, and its process, which ends at the end."""
    command = [sys.executable, "-m", "flows.cli.main", "browse", "--store", store.url, "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as server:
        try:
            assert server.stdout is not None
            yield next(line.strip() for line in server.stdout if "token=" in line), server
        finally:
            server.terminate()


def answered(**given: Any) -> Callable[[Any], None]:
    """What answers a request that Playwright holds, as `Route.fulfill` has it."""
    return lambda route: route.fulfill(**given)


def drawn() -> Callable[[Any], None]:
    """What answers it by a picture: many stores of tests have none, and a browser asks for little else while six are on
    their way."""
    made = io.BytesIO()
    Image.new("RGB", (8, 8)).save(made, "JPEG")
    return answered(body=made.getvalue(), content_type="image/jpeg")
