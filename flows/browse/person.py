"""The page of a person: all hypotheses by score, before and after, winner and loser in 3D, and where they came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from flows.browse.desk import AtDesk, Desk, address
from flows.browse.scopes import Scope
from infra.stages import StageRecord, find
from infra.standing import newest_of_each, read_standing
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from schemas.ids import StageKey, split_of
from schemas.tables import LABEL_AS_SAMPLE
from tasks.rows.drawn import can_be_made_again, table_of_all

router = APIRouter()

_INSTANCE: Final = ("instance_id", "image_id", "person", "box_xywh", "crop_size_px", "crop_rule", "intrinsics_source")
_PAIR: Final = (
    "stage_key",
    "instance_id",
    "generation_id",
    "winner",
    "loser",
    "winner_score",
    "loser_score",
    "margin",
    "strategy",
)
_IMAGE: Final = ("image_id", "uri", "width_px", "height_px")


@dataclass(frozen=True)
class Hypothesis:
    """A sample as the strip shows it."""

    sample: int
    score: float | None
    error: float | None


@dataclass(frozen=True)
class Drawing:
    """The hypotheses that one stage has of the person."""

    key: str
    title: str
    made_again: bool
    """Whether they can be drawn again from their noise."""
    hypotheses: Sequence[Hypothesis]
    """By score, the best first; those without one last, by sample."""

    def at(self, sample: int) -> Hypothesis | None:
        """The hypothesis of this number, if it is kept."""
        return next((one for one in self.hypotheses if one.sample == sample), None)


@dataclass(frozen=True)
class Choice:
    """A picture that a viewer can show: a value for addresses, words, and the address of the overlay and the mesh."""

    value: str
    words: str
    picture: str
    mesh: str = ""


@router.get("/person")
def page(
    request: Request,
    desk: AtDesk,
    id: str,
    scope: str = "",
    drawing: str = "",
    winner: int | None = None,
    loser: int | None = None,
) -> HTMLResponse:
    """One person, as a round saw them; `winner` and `loser` are the samples of a pair that is looked at."""
    chosen = _scope_of(desk, scope, id, drawing)
    instance, image = _about(desk.store, id)
    drawings = _drawings(desk.store, chosen, id)
    shown = next((one for one in drawings if one.key == drawing), drawings[0] if drawings else None)
    pairs = desk.verdicts.of_rows(_pairs(desk.store, chosen, id))
    labels = _labels(desk.store, chosen, id)
    choices = _choices(id, drawings, labels)
    best, worst = _ends(shown, winner, loser)
    return desk.page(
        request,
        "person.html",
        id=id,
        scope=chosen,
        scopes=[one for one in desk.scopes() if one.drawings],
        instance=instance,
        image=image,
        drawings=drawings,
        shown=shown,
        pairs=pairs,
        labels=labels,
        choices=choices,
        compared=_compared(choices, chosen, shown),
        best=best,
        worst=worst,
        has_label=any(label["body_model"] for label in labels),
    )


def _scope_of(desk: Desk, name: str, person: str, drawing: str) -> Scope:
    """The scope that is named, else the newest that has the drawing, else the newest that has drawn this person."""
    if name:
        return desk.scope(name)
    with_drawing = next((scope for scope in desk.scopes() if drawing in scope.drawings), None)
    if with_drawing is not None:
        return with_drawing
    split = str(split_of(person))
    for scope in desk.scopes():
        records = [record for key in scope.drawings if (record := find(desk.store, key)) is not None]
        if any(split in record.config.get("targets", [split]) for record in records):
            return scope
    return desk.scopes()[-1]


def _about(store: Store, person: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    keys = newest_of_each(store, split_of(person))
    found = read_standing(store, "instances", keys, ids=[person], columns=_INSTANCE).to_pylist() if keys else []
    if not found:
        rows = read(store, "instances", ids=[person], columns=_INSTANCE).to_pylist()
        found = rows[-1:]
    if not found:
        raise DataError(f"Nobody in this store is called {person}.")
    images = read(store, "images", ids=[found[0]["image_id"]], columns=_IMAGE).to_pylist()
    return found[0], images[-1] if images else {}


def _drawings(store: Store, scope: Scope, person: str) -> list[Drawing]:
    found = []
    words: dict[str | None, str] = {
        **dict.fromkeys(scope.drawn, "drawn in the round"),
        scope.before: "before",
        scope.after: "after",
    }
    for key in dict.fromkeys(scope.drawings):
        record = find(store, key)
        table = table_of_all(store, StageKey(key))
        if record is None or not record.rows.get(table):
            continue
        rows = read(store, table, stage_keys=[key], ids=[person], columns=["sample_index"])
        samples = sorted(rows.column("sample_index").to_pylist())
        if not samples:
            continue
        scores = _scores(store, scope, record, person)
        errors = _errors(store, record, person)
        hypotheses = [Hypothesis(sample, scores.get(sample), errors.get(sample)) for sample in samples]
        hypotheses.sort(key=lambda one: (one.score is None, -(one.score or 0.0), one.sample))
        title = f"{words.get(key, record.stage)} ({record.stage} {key[:8]})"
        found.append(Drawing(key, title, can_be_made_again(record), tuple(hypotheses)))
    return found


def _scores(store: Store, scope: Scope, record: StageRecord, person: str) -> dict[int, float]:
    keys = [key for key in scope.scores if key]
    columns = ["generation_id", "sample_index", "score"]
    rows = read(store, "scores", stage_keys=keys, ids=[person], columns=columns).to_pylist() if keys else []
    return {
        row["sample_index"]: row["score"]
        for row in rows
        if row["generation_id"] == record.stage_key and math.isfinite(row["score"])
    }


def _errors(store: Store, record: StageRecord, person: str) -> dict[int, float]:
    if not record.rows.get("errors"):
        return {}
    columns = ["sample_index", "mpvpe_mm", "mpjpe_mm"]
    rows = read(store, "errors", stage_keys=[record.stage_key], ids=[person], columns=columns).to_pylist()
    known = {row["sample_index"]: row["mpjpe_mm"] if row["mpvpe_mm"] is None else row["mpvpe_mm"] for row in rows}
    return {sample: value for sample, value in known.items() if value is not None}


def _pairs(store: Store, scope: Scope, person: str) -> list[dict[str, Any]]:
    words = {
        **dict.fromkeys(scope.judged, "the scorer"),
        **dict.fromkeys(scope.control_pairs, "the control"),
        **dict.fromkeys(scope.pairs, "the policy"),
    }
    rows = read(store, "pairs", stage_keys=list(words), ids=[person], columns=_PAIR).to_pylist() if words else []
    for row in rows:
        row["of"] = words[row["stage_key"]]
        row["trained"] = row["stage_key"] in scope.pairs
    return sorted(rows, key=lambda row: (not row["trained"], -(row["margin"] or 0.0)))


def _labels(store: Store, scope: Scope, person: str) -> list[dict[str, Any]]:
    """What is known of the body by the ingests of the scope, and what its own stages guessed."""
    columns = ["label_kind", "label_set", "body_model", "stage_key"]
    rows: list[dict[str, Any]] = read(store, "labels", ids=[person], columns=columns).to_pylist()
    return [row for row in rows if row["stage_key"] in (*scope.ingests, *scope.stages)]


def _choices(person: str, drawings: Sequence[Drawing], labels: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """All that the viewers may show of a person."""
    choices = [Choice("photo", "photograph", address("/picture/photo", person=person, generation=_first(drawings)))]
    if any(label["body_model"] for label in labels):
        of_label = {"person": person, "generation": _first(drawings), "sample": LABEL_AS_SAMPLE}
        picture = address("/picture/overlay", **of_label, colour="label")
        choices.append(Choice("label", "label", picture, address("/mesh", **of_label)))
    for drawing in drawings:
        for one in drawing.hypotheses:
            named = {"person": person, "generation": drawing.key, "sample": one.sample}
            noise = ", zero noise" if one.sample == 0 else ""
            words = f"{drawing.title.partition(' (')[0]}: sample {one.sample}{noise}"
            picture = address("/picture/overlay", **named, colour="policy")
            choices.append(Choice(f"{drawing.key}:{one.sample}", words, picture, address("/mesh", **named)))
    return choices


def _first(drawings: Sequence[Drawing]) -> str:
    return drawings[0].key if drawings else ""


def _compared(choices: Sequence[Choice], scope: Scope, shown: Drawing | None) -> tuple[Choice, Choice]:
    """What the slider begins with: zero noise before and after where both are, else the photograph and the best."""
    known = {choice.value: choice for choice in choices}
    before, after = known.get(f"{scope.before}:0"), known.get(f"{scope.after}:0")
    if before is not None and after is not None:
        return before, after
    best = known.get(f"{shown.key}:{shown.hypotheses[0].sample}") if shown else None
    return choices[0], best or choices[-1]


def _ends(shown: Drawing | None, winner: int | None, loser: int | None) -> tuple[int | None, int | None]:
    """The samples that stand side by side: those of the pair that is looked at, else the best and the worst."""
    if shown is None:
        return None, None
    best = winner if winner is not None else shown.hypotheses[0].sample
    worst = loser if loser is not None else shown.hypotheses[-1].sample
    return best, worst
