"""Flipped bits: drawn by a seed over the files of a store, and what readers make of a store with one of them."""

import json
import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from infra import intact, rounds, whole
from infra.begun import unfinished
from infra.shards import receipts_left
from infra.store import MARKER, Store
from infra.tables import live_files, read
from infra.views import query
from models.checkpoints.ours import digest_of
from schemas.errors import EngineError
from schemas.tables import TABLES
from tasks.report.stage import read_facts
from tasks.rows.models import load_policy, load_scorer

HEAD_BYTES, FOOT_BYTES = 8, 2048


class Flip(NamedTuple):
    """A bit of a file, named below the store's root."""

    path: str
    bit: int

    @contextmanager
    def applied(self, store: Store) -> Iterator[None]:
        """The store with this bit the other way round, as a disk would have it: size and time of change stay."""
        path = Path(store.path(self.path))
        before, seen = path.read_bytes(), path.stat()
        flipped = bytearray(before)
        flipped[self.bit // 8] ^= 1 << self.bit % 8
        path.write_bytes(flipped)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        try:
            yield
        finally:
            path.write_bytes(before)
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def kind_of(path: str) -> str | None:
    """What a file is, of those whose bits are flipped: data of a table, its log, a model, ..."""
    folder, name = path.split("/")[0], path.rsplit("/", 1)[-1]
    if folder == "tables":
        if "/_delta_log/" not in path:
            return f"data of {path.split('/')[1]}"
        return "entry of a log" if name.endswith(".json") else "checkpoint of a log"
    if folder == "reports":
        return "facts of a round" if name.endswith(".json") else None
    known = {"checkpoints": "model", "shards": "receipt", "begun": "note", MARKER: "mark of the store"}
    return known.get(folder)


def drawn(store: Store, count: int, seed: int, shares: Mapping[str, float]) -> list[Flip]:
    """`count` flips; `shares` says how many of them fall upon which kinds (by the first word), evenly within these."""
    draw = random.Random(seed)
    files: dict[str, dict[str, list[str]]] = {}
    live = {file.name for table in TABLES for file in live_files(store, table, every_stage=True)}
    for path in store.list_files(""):
        kind = kind_of(path)
        if kind is not None and store.size(path) and (path in live or not kind.startswith("data")):
            files.setdefault(kind.split()[0], {}).setdefault(kind, []).append(path)
    words = [word for word in shares if word in files]
    flips = []
    for word in draw.choices(words, [shares[word] for word in words], k=count):
        path = draw.choice(draw.choice(list(files[word].values())))
        flips.append(Flip(path, _bit(draw, store.size(path))))
    return flips


def _bit(draw: random.Random, size: int) -> int:
    """In the header, the pages or the footer, as often in each."""
    region = draw.choice((range(min(HEAD_BYTES, size)), range(size), range(max(0, size - FOOT_BYTES), size)))
    return 8 * draw.choice(region) + draw.randrange(8)


@dataclass
class Readers:
    """What a store says while it is whole, and how readers find it with a flipped bit."""

    store: Store
    said: dict[str, Any] = field(default_factory=dict)

    def outcome(self, flip: Flip) -> str:
        """ "harmless", "noticed", or what is wrong. Whatever a reader raises that no person can act on passes on."""
        questions = self._questions(flip.path)
        for name, ask in questions.items():
            if name not in self.said:
                self.said[name] = ask(self._fresh())
        ends = set()
        with flip.applied(self.store):
            for name, ask in questions.items():
                with _heard() as warnings:
                    try:
                        answer = ask(self._fresh())
                    except EngineError as error:
                        if len(str(error).splitlines()) > 1:
                            return f"{name}: {error}"
                        ends.add("noticed")
                        continue
                if _same(answer, self.said[name]):
                    ends.add("harmless")
                elif warnings:
                    ends.add("noticed")
                else:
                    return f"{name} is another than it was"
        return "noticed" if "noticed" in ends else "harmless"

    def _fresh(self) -> Store:
        """As a process that begins sees it."""
        intact._checked.clear()
        whole._warned.clear()
        return Store.open(self.store.url, create=False)

    def _with_rows(self) -> list[str]:
        return [table for table in TABLES if self.store.list_files(f"tables/{table}")]

    def _questions(self, path: str) -> dict[str, Any]:
        kind = kind_of(path)
        name = path.rsplit("/", 1)[-1].rpartition(".")[0]
        if path.startswith("tables/"):
            table = path.split("/")[1]
            tables = self._with_rows() if table == "stages" else [table]
            more = {"the rounds": _rounds} if table == "rounds" else {}
            return {**{f"{t}, read": _reader(t) for t in tables}, **{f"{t}, asked": _asker(t) for t in tables}, **more}
        if kind == "model":
            return {f"model {name}": lambda store: _model(store, name)}
        if kind == "receipt":
            key = path.split("/")[1]
            return {f"receipts of {key}": lambda store: _receipts(store, key, len(store.list_files(f"shards/{key}")))}
        if kind == "facts of a round":
            campaign, _, number = name.rpartition("-round-")
            return {f"facts {name}": lambda store: read_facts(store, campaign, int(number))}
        if kind == "note":
            return {"what is not finished": unfinished}
        return {"the store": lambda store: store.url}


def _reader(table: str) -> Any:
    return lambda store: read(store, table)


def _asker(table: str) -> Any:
    return lambda store: query(store, f"SELECT count(*) AS n, sum(hash({table})::HUGEINT)::VARCHAR AS sum FROM {table}")


def _rounds(store: Store) -> list[Any]:
    return [rounds.state(store, campaign) for campaign in rounds.campaigns(store)]


def _model(store: Store, digest: str) -> str:
    kinds = dict(read(store, "models", columns=["digest", "kind"]).to_pandas().itertuples(index=False))
    model = (load_policy if kinds[digest] == "policy" else load_scorer)(store, digest)
    return digest_of(model.state_dict(), model.config)


def _receipts(store: Store, key: str, count: int) -> list[Any]:
    """A receipt that is not taken has its shard made again, which is said."""
    found = receipts_left(store, key)
    if len(found) < count:
        raise EngineError("shards are made again")
    return found


def _same(one: Any, other: Any) -> bool:
    return one.equals(other) if isinstance(one, pa.Table) else one == other


class _heard(logging.Handler):  # noqa: N801 - a context
    """Warnings of the engine within a block."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        logging.getLogger("infra").addHandler(self)
        return self.lines

    def __exit__(self, *_: object) -> None:
        logging.getLogger("infra").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())


def summary(outcomes: Sequence[tuple[Flip, str]]) -> str:
    """Counts by kind of file and outcome, for people."""
    counted: dict[str, dict[str, int]] = {}
    for flip, outcome in outcomes:
        kind = counted.setdefault(kind_of(flip.path) or "?", {})
        kind[outcome] = kind.get(outcome, 0) + 1
    return json.dumps(counted, indent=1, sort_keys=True)
