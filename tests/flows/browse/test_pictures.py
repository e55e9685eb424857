"""Pictures, meshes and answers to SQL, by the children, of a store that an earlier release made."""

import html
import io
import re
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import anyio.to_thread
import fsspec
import httpx
import numpy as np
import pytest
from PIL import Image

from flows.browse import painter
from flows.browse.child import Answer
from flows.browse.desk import address
from flows.browse.pictures import problem_picture
from infra.stages import records
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.report.pictures.photographs import photographs
from tasks.rows.drawn import can_be_made_again
from tasks.rows.instances import instance_ids, load_instances
from tests.flows.browse.conftest import ESCAPES, HOSTILE, PORT, Browsed
from tests.tasks.ingest.pictures import jpeg, noise


class Asked:
    """Stands for the child that draws: a picture for each time that it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def ask(self, request: Mapping[str, Any]) -> Answer:
        self.count += 1
        return Answer("image/jpeg", b"%d" % self.count)


def test_only_what_never_changes_is_kept(browsed: Browsed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsed.desk, "painter", Asked())
    for person, generation, pictures in (("one", "ab", [b"1", b"1"]), ("two", "", [b"2", b"3"])):
        for picture in pictures:
            answer = browsed.client.get("/picture/photo", params={"person": person, "generation": generation})
            assert answer.content == picture, "who was ingested anew may look otherwise"
            assert ("no-store" in answer.headers["cache-control"]) == (not generation), "stores have the same names"


class Slow(Asked):
    """One that doesn't answer until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def ask(self, request: Mapping[str, Any]) -> Answer:
        self.begun.set()
        assert self.go_on.wait(60)
        return super().ask(request)


def at_once(browsed: Browsed) -> httpx.AsyncClient:
    """Who may ask for several things at a time."""
    client = browsed.client
    over = httpx.ASGITransport(client.app)
    return httpx.AsyncClient(transport=over, base_url=str(client.base_url), cookies=dict(client.cookies))


def test_pages_answer_while_pictures_wait(browsed: Browsed, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many wait as there are threads for pages; and who ends the server waits for none."""
    slow = Slow()
    monkeypatch.setattr(browsed.desk, "painter", slow)

    async def look() -> None:
        async with at_once(browsed) as client, anyio.create_task_group() as group:
            for path in ("/picture/photo", "/picture/overlay", "/picture/again", "/picture/steps", "/mesh", "/again"):
                for number in range(10):
                    asked = {"person": f"a{number}", "generation": "ab", "sample": 1}
                    group.start_soon(partial(client.get, path, params=asked))
            await anyio.to_thread.run_sync(slow.begun.wait, 30, limiter=anyio.CapacityLimiter(1))
            with anyio.fail_after(20):
                for path in ("/", "/people", "/sql"):
                    assert (await client.get(path)).status_code == 200
            group.cancel_scope.cancel()

    try:
        with ThreadPoolExecutor(1) as other:
            other.submit(anyio.run, look).result(60)
    finally:
        slow.go_on.set()


@pytest.mark.parametrize("path", ["/picture/photo", "/again"])
def test_what_nobody_waits_for_is_not_drawn(browsed: Browsed, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    slow = Slow()
    monkeypatch.setattr(browsed.desk, "painter", slow)
    client, query = browsed.client, b"person=gone&generation=ab&sample=1"
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    headers = [(b"host", f"127.0.0.1:{PORT}".encode()), (b"cookie", cookies.encode())]
    gone = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": headers}
    sent: list[Any] = []

    async def left() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def look() -> None:
        async with at_once(browsed) as there, anyio.create_task_group() as group:
            group.start_soon(partial(there.get, "/picture/photo", params={"person": "there", "generation": ""}))
            with anyio.fail_after(20):
                while not slow.begun.is_set():
                    await anyio.sleep(0.01)
            group.start_soon(client.app, gone, left, send)
            await anyio.sleep(0.1)
            slow.go_on.set()

    anyio.run(look)
    assert slow.count == 1, "that of who is still there"
    assert sent[0]["status"] == 503


def test_what_several_ask_for_is_drawn_once(browsed: Browsed, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(browsed.desk, "painter", slow)
    answers = []

    async def one(client: httpx.AsyncClient) -> None:
        answers.append((await client.get("/picture/photo", params={"person": "same", "generation": "ef"})).content)

    async def look() -> None:
        async with at_once(browsed) as client, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one, client)
            await anyio.sleep(0.1)
            slow.go_on.set()

    anyio.run(look)
    assert answers == [b"1"] * 3


def test_who_is_ingested_anew_is_seen_anew(browsed_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    person = read(browsed_store, "instances", columns=["instance_id"]).column("instance_id")[0].as_py()
    now = ["first"]
    monkeypatch.setattr(painter, "newest_of_each", lambda *_: now)
    monkeypatch.setattr(painter, "load_instances", lambda store, ingests, people: (ingests, people))
    monkeypatch.setattr(painter, "photographs", lambda *_, **__: [np.full((2, 2, 3), len(now), np.uint8)])
    paints = painter.Painter(browsed_store, "tiny", "procrustes")
    before = paints.photo({"person": person, "generation": ""})
    assert paints.photo({"person": person, "generation": ""}) == before
    now = ["second", "first"]
    assert paints.photo({"person": person, "generation": ""}) != before


def test_no_host_that_a_store_names_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it may have named any."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/pictures/a.jpg", jpeg(noise(256, 256)))
    store = Store.open(tmp_path / "store")
    source = AnnotationSource("folder", "memory://pictures", "mine", "train")
    key = StageKey(IngestAnnotations(source).run(Context(store, micro(), in_process=True)).key)
    (person,) = instance_ids(store, [key], [Target("mine", "train")])
    people = load_instances(store, [key], [person])
    (crop,) = photographs(store, [key], people)
    opened: list[str] = []
    monkeypatch.setattr(type(memory), "_open", lambda self, path, *_, **__: opened.append(path))
    shown = painter.Painter(store, "tiny", "procrustes").photo({"person": person, "generation": ""})
    assert opened == []
    seen = np.asarray(Image.open(io.BytesIO(shown.data)), float)
    stored = np.asarray(Image.fromarray(people.crops[0]).resize(crop.shape[:2], Image.Resampling.BICUBIC), float)
    assert abs(seen - stored).mean() < 0.5 * abs(seen - crop).mean(), "the crop of the store is shown"


def test_a_generation_that_is_not_there_is_not_taken_for_the_newest_ingest(browsed_store: Store) -> None:
    """A picture of a generation is kept for a day: it would stay after the person was ingested anew."""
    person = read(browsed_store, "instances", columns=["instance_id"]).column("instance_id")[0].as_py()
    paints = painter.Painter(browsed_store, "tiny", "procrustes")
    with pytest.raises(DataError, match="There is no finished stage 000000000000"):
        paints.photo({"person": person, "generation": "0" * 64})


def test_what_was_moved_is_not_made_again(browsed_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's constant offset has the record of an evaluation, and hypotheses that no noise gives."""
    before = records(browsed_store, "evaluate")[0]
    moved = replace(before, config={**before.config, "offset": 4.0})
    assert [can_be_made_again(one) for one in (before, moved)] == [True, False]
    monkeypatch.setattr(painter, "find", lambda *_: moved)
    asked = {"person": "wild/test/nobody#0", "generation": moved.stage_key, "sample": 0}
    for ask in (painter.Painter.again, painter.Painter.steps):
        with pytest.raises(DataError, match="has hypotheses that no policy of this store drew as they are"):
            ask(painter.Painter(browsed_store, "tiny", "procrustes"), {**asked, "step": 0})


def test_a_picture_that_cannot_be_drawn_says_why() -> None:
    picture = ElementTree.fromstring(bytes(problem_picture("no <body> & \x1b here, " * 40).body))
    assert picture.get("width") == "1"
    words = " ".join("".join(picture.itertext()).split())
    assert "can't be drawn" in words
    assert "no <body> & \\x1b here," in words


@pytest.mark.slow
def test_what_is_drawn_and_what_cannot_be(browsed: Browsed) -> None:
    scope = browsed.desk.scope("micro/1")
    row = read(browsed.store, "hypotheses", stage_keys=[scope.after], columns=["instance_id", "sample_index"])
    person = row.column("instance_id")[0].as_py()
    named = {"person": person, "generation": scope.after, "sample": 0}
    client = browsed.client
    for path, more in (("/picture/photo", {}), ("/picture/overlay", {}), ("/picture/overlay", {"colour": "winner"})):
        answer = client.get(path, params={**named, **more})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), path
        assert answer.content.startswith(b"\xff\xd8")
        assert "max-age" in answer.headers["cache-control"]
    mesh = client.get("/mesh", params=named)
    vertices, faces = struct.unpack("<II", mesh.content[:8])
    assert len(mesh.content) == 8 + 12 * (vertices + faces)
    points = np.frombuffer(mesh.content, "<f4", vertices * 3, 8).reshape(-1, 3)
    assert (points[:, 2] > 0).all()
    corners = np.frombuffer(mesh.content, "<u4", faces * 3, 8 + 12 * vertices)
    assert corners.max() == vertices - 1
    label = client.get("/picture/overlay", params={**named, "sample": -1, "colour": "label"})
    assert label.headers["content-type"] == "image/jpeg"
    for wrong in ({"sample": 999}, {"generation": "0" * 64}, {"person": "wild/test/<script>#0"}):
        missing = client.get("/picture/overlay", params={**named, **wrong})
        assert missing.headers["content-type"].startswith("image/svg+xml")
        assert "<script>#" not in missing.text
        assert client.get("/mesh", params={**named, **wrong}).status_code == 404
    assert client.get("/again", params=named).status_code == 404  # its checkpoint is not in this store


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT count(*) FROM pairs; SELECT 1", "one statement"),
        ("COPY pairs TO 'x.csv'", "does not only read"),
        ("SELECT * FROM read_text('/etc/passwd')", "may only read files of the store"),
        ("SELECT * FROM nothing", "The tables are"),
        ("SELEC", "not valid SQL"),
    ],
)
def test_sql_is_fenced(browsed: Browsed, sql: str, words: str) -> None:
    page = browsed.client.get("/sql", params={"q": sql}).text
    assert words in page
    assert "root:" not in page


@pytest.mark.slow
def test_answers_are_tables_and_people(browsed: Browsed) -> None:
    ask = browsed.client.get
    page = ask("/sql", params={"q": "SELECT instance_id, margin FROM pairs ORDER BY margin DESC LIMIT 5"}).text
    assert 'id="panel-grid"' in page
    assert page.count('class="card"') <= 5
    page = ask("/sql", params={"q": "SELECT 'wild/train/' || i || '#0' AS instance_id FROM range(300) t(i)"}).text
    assert page.count('class="card"') == 300, "all of them"
    page = ask("/sql", params={"q": f"SELECT '<script>alert(1)</script>' AS instance_id, '{ESCAPES}' AS \"<b>\""}).text
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    page = ask("/sql", params={"q": "SELECT instance_id FROM pairs WHERE dataset = 'hostile'"}).text
    links = [html.unescape(link) for link in re.findall(r'href="(/person[^"]+)"', page)]
    assert links == [address("/person", id=HOSTILE)] * 2, "in the table, and among people"
    assert "\u202e" not in page
    page = ask("/sql", params={"q": "SELECT * FROM range(100000)"}).text
    assert "1,000 rows, the first of more" in page
