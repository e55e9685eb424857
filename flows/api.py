"""A store in a notebook: its rounds, measures, people and pairs as Arrow tables, and pictures of them.

    import flows.api

    store = flows.api.open("adhmr-store")
    store.rounds().to_pandas()
    store.picture("wild/test/00000003#0")

Everything is read-only. A table is a `pyarrow.Table`: `.to_pandas()` makes a data frame of it. `docs/notebooks` has
examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from infra import rounds as campaign_log
from infra.stages import find, records
from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey, Target, parse_instance_id
from schemas.tables import LABEL_AS_SAMPLE
from tasks.rows.drawn import DRAW

if TYPE_CHECKING:
    from PIL.Image import Image

_WINNER, _LOSER, _ANY = (0.35, 0.75, 0.45), (0.9, 0.4, 0.35), (0.35, 0.65, 0.95)
_HEAVY: Final = ("crop", "winner_uvd", "winner_twist", "winner_betas", "loser_uvd", "loser_twist", "loser_betas")
"""Columns that a table has only if they are asked for."""


def open(url: str | None = None, *, body: str = "tiny") -> "OpenStore":
    """The store at a path or URL; ADHMR_STORE, else ./adhmr-store, if none is given. StoreError where there is none.

    `body` is the body model that pictures are drawn with: a name that ships with the engine, or a path.
    """
    return OpenStore(Store.open(url, create=False), body)


@dataclass(frozen=True)
class OpenStore:
    """A store that is only read. Every call shows it as it is then."""

    store: Store
    body: str = "tiny"

    def query(self, sql: str) -> pa.Table:
        """The answer to a SELECT in DuckDB's SQL, as `adhmr query` gives it. DataError for what is wrong with it."""
        return query(self.store, sql)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of the store, or some columns of it; `schemas/tables/contracts.py` says what they hold."""
        return read(self.store, name, columns=columns)

    def campaigns(self) -> list[str]:
        """The names of all campaigns."""
        return campaign_log.campaigns(self.store)

    def rounds(self, campaign: str | None = None) -> pa.Table:
        """A row for each decided round: what it trained from what (digests), and its changes on held-out people in %.

        Round 0 is the policy that a campaign began with.
        """
        from flows.cli.lineage import FIGURES, lineage

        rows = [
            {
                "campaign": step.campaign,
                "round": step.round,
                "event": step.event,
                "policy": step.trained,
                "parents": list(step.parents),
                "is_current": step.is_current,
                "test": str(step.test),
                **{f"{name}_change_percent": step.changes.get(name) for name in FIGURES},
                "drift_percent": step.drift,
            }
            for step in lineage(self.store, campaign)
        ]
        kinds = {"round": pa.int32(), "parents": pa.list_(pa.string()), "is_current": pa.bool_()}
        texts = ("campaign", "event", "policy", "test")
        changes = [f"{name}_change_percent" for name in FIGURES]
        names = ("campaign", "round", "event", "policy", "parents", "is_current", "test", *changes, "drift_percent")
        schema = pa.schema([(name, pa.string() if name in texts else kinds.get(name, pa.float64())) for name in names])
        return pa.Table.from_pylist(rows, schema=schema)

    def metrics(self, campaign: str | None = None, round: int | None = None) -> pa.Table:
        """What the comparisons of decided rounds measured: name, role, split, value, and its 95 % interval.

        Roles are before, after, change (in %), and those of controls.
        """
        names = [campaign] if campaign is not None else self.campaigns()
        parts = []
        for name in names:
            for event in campaign_log.state(self.store, name).events:
                if event.event in ("promoted", "kept") and event.stage_key and round in (None, event.round):
                    rows = read(self.store, "metrics", stage_keys=[event.stage_key])
                    parts.append(rows.add_column(0, "campaign", pa.array([name] * len(rows), pa.string())))
        empty = read(self.store, "metrics", stage_keys=[]).add_column(0, "campaign", pa.array([], pa.string()))
        return pa.concat_tables([empty, *parts])

    def people(self, data: str | None = None) -> pa.Table:
        """The people who stand in the store, or those of a split (DATASET/SPLIT): ids, boxes in px, cameras."""
        columns = [name for name in read(self.store, "instances", stage_keys=[]).column_names if name not in _HEAVY]
        where = "" if data is None else f" WHERE {_of_split(data)}"
        return query(self.store, f"SELECT {', '.join(columns)} FROM standing_instances{where} ORDER BY instance_id")

    def pairs(self, campaign: str | None = None, round: int | None = None) -> pa.Table:
        """Winners and losers that decided rounds were trained on: scores, ranks, margin; not their joints."""
        columns = [name for name in read(self.store, "pairs", stage_keys=[]).column_names if name not in _HEAVY]
        conditions = [] if campaign is None else [f"campaign = {_quoted(campaign)}"]
        conditions += [] if round is None else [f"round = {int(round)}"]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        names = ", ".join(["campaign", *columns])
        return query(self.store, f"SELECT {names} FROM round_pairs{where} ORDER BY margin DESC, instance_id")

    def reviews(self) -> pa.Table:
        """All that people said of pairs, each reviewer's in their order; the newest that was not withdrawn holds."""
        return read(self.store, "reviews").sort_by([("reviewer", "ascending"), ("sequence", "ascending")])

    def failures(self) -> pa.Table:
        """The units that did not make it through a stage, with stage and reason."""
        return read(self.store, "failures")

    def curves(self, campaign: str | None = None, round: int | None = None) -> pa.Table:
        """The training curves of rounds: stage, series, step and value."""
        conditions = [] if campaign is None else [f"stages.campaign = {_quoted(campaign)}"]
        conditions += [] if round is None else [f"stages.round = {int(round)}"]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return query(
            self.store,
            "SELECT stages.campaign, stages.round, stages.stage, curves.* FROM curves JOIN stages "
            f"ON stages.stage_key = curves.stage_key{where} ORDER BY curves.stage_key, series, step",
        )

    def picture(self, instance_id: str) -> "Image":
        """The crop of a person, as the models see it. DataError for a person whom the store doesn't have."""
        import io

        from PIL import Image

        _ = parse_instance_id(instance_id)
        where = f"instance_id = {_quoted(instance_id)}"
        rows = query(self.store, f"SELECT crop FROM standing_instances WHERE {where}")
        if not len(rows):
            raise DataError(f"There is no person {instance_id} in {self.store.url}.")
        picture = Image.open(io.BytesIO(rows.column("crop")[0].as_py()))
        picture.load()
        return picture

    def overlay(self, instance_id: str, sample: int = 0, generation: str | None = None) -> "Image":
        """The body of a hypothesis over the person's picture; 0 is the policy's one answer, from zero noise.

        `generation` is the key of the stage that drew it, or its beginning; the newest that has it, if none is given.
        What a stage did not keep (`hypotheses.keep`) is drawn again. DataError where there is no such hypothesis.
        """
        return self._drawn(instance_id, sample, self._generation(instance_id, sample, generation), _ANY)

    def pair(self, instance_id: str, pair_set: str, place: int = 0) -> "tuple[Image, Image]":
        """Winner (green) and loser (red) of a person's pair over the picture; `place` among those of the pair set."""
        columns = ["instance_id", "generation_id", "winner", "loser", "margin"]
        rows = read(self.store, "pairs", stage_keys=[pair_set], ids=[instance_id], columns=columns)
        rows = rows.filter(pc.greater(rows.column("winner"), LABEL_AS_SAMPLE)).sort_by("winner").to_pylist()
        if not 0 <= place < len(rows):
            raise DataError(f"{instance_id} has {len(rows)} pairs of hypotheses in {pair_set[:12]}, counted from 0.")
        row = rows[place]
        sides = ((row["winner"], _WINNER), (row["loser"], _LOSER))
        winner, loser = (self._drawn(instance_id, one, row["generation_id"], colour) for one, colour in sides)
        return winner, loser

    def _generation(self, instance_id: str, sample: int, key: str | None) -> str:
        where = pc.field("sample_index") == sample
        held, scored = (
            read(self.store, table, ids=[instance_id], where=where, columns=["generation_id"]).column(0).to_pylist()
            for table in ("hypotheses", "scores")
        )
        # a draw keeps all scores, and few hypotheses or none
        draws = {record.stage_key for record in records(self.store, DRAW)}
        known = {name for name in {*held, *draws.intersection(scored)} if name.startswith(key or "")}
        if not known:
            of_key = f" of {key}" if key else ""
            raise DataError(f"There is no hypothesis {sample} of {instance_id}{of_key} in {self.store.url}.")
        stages = read(self.store, "stages", stage_keys=sorted(known), columns=["stage_key", "finished_at"])
        newest: str = stages.sort_by([("finished_at", "descending")]).column("stage_key")[0].as_py()
        return newest

    def _drawn(self, instance_id: str, sample: int, generation: str, colour: tuple[float, float, float]) -> "Image":
        import numpy as np
        from PIL import Image

        from infra.standing import seen_by
        from models.bodies import load_body
        from tasks.regenerate import hypotheses_at
        from tasks.report.pictures.photographs import draw_over, photographs
        from tasks.rows.instances import load_instances

        record = find(self.store, generation)
        if record is None:
            raise DataError(f"There is no finished stage {generation[:12]} in {self.store.url}.")
        ingests = seen_by(record)  # a later one may have cut another crop
        people, body = load_instances(self.store, ingests, [instance_id]), load_body(self.body)
        one = hypotheses_at(self.store, StageKey(generation), [instance_id], np.array([[sample]]), self.body)
        body_of = one.bodies(body, people, np.array([0]), "procrustes")
        photo = photographs(self.store, ingests, people)[0]
        return Image.fromarray(draw_over(photo, people, 0, body, colour, body_of.camera_vertices.numpy()[0]))


def _of_split(data: str) -> str:
    parts = data.split("/")
    if len(parts) != 2 or not all(parts):
        raise ConfigError(f"{data!r}: a split is called DATASET/SPLIT, such as wild/test.")
    target = Target(*parts)
    return f"dataset = {_quoted(target.dataset)} AND split = {_quoted(target.split)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
