"""Fill a round's page from the tables. Nothing is measured here: what is on the page is in the store."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from infra.installed import versions
from infra.stages import StageRecord, find
from infra.store import Store
from infra.tables import read
from schemas.config.engine import EngineConfig
from schemas.config.stages import PairConfig
from schemas.digests import code_digest, digest
from schemas.errors import EngineError
from tasks.gates import margins_of
from tasks.pairing.choice import told
from tasks.report import measured
from tasks.report.as_published import published_groups
from tasks.report.content import (
    Curve,
    FailureRow,
    Margins,
    ModelRow,
    NumberRow,
    RoundReport,
    Series,
    StageRow,
)
from tasks.report.curves.doctor import diagnose
from tasks.report.curves.findings import Diagnosis
from tasks.report.curves.lines import LegCurves, Line, leg_curves
from tasks.report.curves.rules import Evidence
from tasks.report.curves.trends import LEADING, Trend, round_trends
from tasks.report.facts import RoundFacts
from tasks.report.judged import judge_rows, watch_rows
from tasks.report.mix import mix_table
from tasks.report.pictures.overlays import HeldOut, draw_overlays, overlays_note
from tasks.report.pictures.own_people import own_people
from tasks.report.settings import changed_settings
from tasks.review.agreement import figures
from tasks.review.verdicts import frozen_of
from tasks.rows.metrics import read_metrics

_EXAMPLES = 5
_UNITS = {
    "synthesize": "pictures",
    "ingest": "people",
    "train_base": "models",
    "train_scorer": "models",
    "align": "models",
    "train_clean": "models",
    "compare": "comparisons",
    "measures": "comparisons",
    "review": "pairs",
}
_PANELS = (
    (
        "Denoising error against the reference's",
        {"winner_change": "winner", "loser_change": "loser"},
        0.0,
        "Both rising means that the policy forgets; the winner's should stay near zero or fall.",
    ),
    ("Denoising error", {"winner": "winner", "loser": "loser"}, None, ""),
    ("Preference accuracy", {"accuracy": "accuracy"}, 0.5, "Share of the pairs in whose favour the policy has moved."),
    ("Preference loss", {"preference": "preference"}, None, "DPO's begins at log 2 for each of its two terms, 1.386."),
    ("Replay on labelled source", {"replay": "replay"}, None, ""),
    ("Loss", {"loss": "loss"}, None, ""),
)


def fill_round(store: Store, config: EngineConfig, facts: RoundFacts, created_at: datetime) -> RoundReport:
    """The page of a decided round of either kind, overlays included."""
    metrics = measured.round_metrics(store, facts)
    watched = [*judge_rows(store, facts), *watch_rows(store, facts)]
    of_scorer = [*measured.scorer_rows(facts, metrics, config), *measured.meaning_rows(store, facts.scorer)]
    beyond = measured.measure_numbers(store, facts)
    numbers = [*watched, *of_scorer, *_counts(store, facts), *_reviews(store, facts), *beyond]
    evaluations, legs = measured.evaluations(store, facts), leg_curves(store, facts)
    held_out, missing = _held_out(store, config, facts, evaluations)
    return RoundReport(
        title=facts.title,
        campaign=facts.campaign,
        created_at=f"{created_at:%Y-%m-%d %H:%M} UTC",
        outcome="promoted" if facts.promoted else "kept the old policy",
        promoted=facts.promoted,
        summary=summary(facts, measured.sentence(metrics, config)),
        headline=[
            *measured.headline(metrics, config),
            *published_groups(store, facts),
            *measured.measure_groups(store, facts),
        ],
        controls=measured.controls(facts, config),
        notices=measured.notices(facts, config),
        numbers=numbers,
        numbers_title="Scorer and pairs" if facts.kind == "dpo" else "Cleaning",
        gates=[replace(verdict, unit=_page_unit(verdict.unit)) for verdict in facts.verdicts],
        stages=_stages(store, facts),
        failures=_failures(store, facts),
        score_against_error=measured.scores_against_errors(evaluations[0], facts, config),
        margins=_margins(store, facts),
        curves=panels(legs),
        diagnosis=_diagnosis(config, legs, metrics, evaluations),
        trends=_trends(store, config, facts),
        samples=config.evaluate.generate.hypotheses - 1,
        overlays=held_out.overlays,
        overlays_note=missing or overlays_note(config),
        bodies=held_out.bodies,
        faces=held_out.faces,
        galleries=own_people(store, config, facts),
        mix=mix_table(store, config, facts),
        models=_models(store, facts),
        profile=config.profile,
        settings=changed_settings(config, facts.said),
        provenance=_provenance(store, config, facts),
        versions=versions(),
    )


def summary(facts: RoundFacts, sentence: str) -> str:
    """What happened and why, in one or two sentences; first that no error was measured, if a judge decided."""
    if facts.judge is not None:
        current = "new policy is" if facts.promoted else "old policy stays"
        beside = f" No gate read this: {sentence[:1].lower()}{sentence[1:]}" if sentence else ""
        return f"{facts.why[:1].upper()}{facts.why[1:]}. The {current} current.{beside}"
    if facts.promoted:
        return f"{sentence} All gates hold, so the new policy is current.".strip()
    if facts.policy_after is None:
        return f"No policy was trained: {facts.why}. The old policy stays current."
    return f"{sentence} The old policy stays current: {facts.why}.".strip()


def _page_unit(unit: str) -> str:
    """The page's word for a unit of gates and metrics."""
    return {"1": "none", "score": "none", "pairs": "count", "people": "count"}.get(unit, unit)


def _counts(store: Store, facts: RoundFacts) -> list[NumberRow]:
    rows = []
    records = _pairings(store, facts)
    if records:
        margins = np.concatenate([margins_of(store, record.stage_key) for record in records])
        finite = margins[np.isfinite(margins)]
        note = _how_paired(records[0]) + (f"; in {len(records)} legs" if len(records) > 1 else "")
        if len(finite) < len(margins):
            note += f"; in {len(margins) - len(finite)} the label wins"
        rows.append(NumberRow("pairs", "count", len(margins), note=note))
        if len(finite):
            rows.append(NumberRow("mean margin of the pairs", "none", float(np.mean(finite)), n=len(finite)))
    keep = facts.key("keep")
    if keep is not None:
        for metric in read_metrics(store, keep):
            name = "AUC of the score for swapped labels" if metric.name == "auc" else metric.name.replace("_", " ")
            rows.append(NumberRow.of(name, _page_unit(metric.unit), metric, str(metric.target)))
        record = find(store, keep)
        if record is not None:
            rows.append(NumberRow("pseudo-labels kept", "count", record.tally.ok, n=record.units_in))
            rows.append(NumberRow("pseudo-labels dropped", "count", record.tally.filtered, n=record.units_in))
    return rows


def _reviews(store: Store, facts: RoundFacts) -> list[NumberRow]:
    """What people said of the pairs that the round was trained on, and how far they agree."""
    frozen = frozen_of(store, facts.campaign, facts.number) if facts.key("pair") is not None else None
    return [] if frozen is None else [NumberRow(*figure) for figure in figures(store, frozen)]


def _stages(store: Store, facts: RoundFacts) -> list[StageRow]:
    rows = []
    for run in facts.distinct_runs():
        record = find(store, run.key)
        if record is None:
            continue
        rows.append(
            StageRow(
                run.title,
                run.key,
                run.state,
                record.units_in,
                record.tally.ok,
                record.tally.filtered,
                record.tally.failed,
                record.seconds,
                _UNITS.get(run.name, "instances"),
                record.reads,
                record.models,
                digest(record.config),
            )
        )
    return rows


def _failures(store: Store, facts: RoundFacts) -> list[FailureRow]:
    runs = {run.key: run.title for run in facts.distinct_runs()}
    rows = read(store, "failures", stage_keys=list(runs)).to_pylist()
    counted = Counter((runs[row["stage_key"]], row["outcome"], row["reason"]) for row in rows)
    examples: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["id"])):
        listed = examples[runs[row["stage_key"]], row["outcome"], row["reason"]]
        if len(listed) < _EXAMPLES:
            listed.append(f"{row['id']}: {row['detail']}" if row["detail"] else row["id"])
    return [FailureRow(*what, count, examples[what]) for what, count in sorted(counted.items())]


def _pairings(store: Store, facts: RoundFacts) -> list[StageRecord]:
    """The stages that chose the round's pairs, a leg each."""
    keys = [key for leg in facts.legs() if (key := leg.key("pair")) is not None]
    return [record for key in keys if (record := find(store, key)) is not None]


def _margins(store: Store, facts: RoundFacts) -> Margins | None:
    records = _pairings(store, facts)
    if not records:
        return None
    values = np.concatenate([margins_of(store, record.stage_key) for record in records])
    return Margins(values[np.isfinite(values)], _how_paired(records[0]))


def _how_paired(record: StageRecord) -> str:
    """How a pairing stage chose, in a sentence."""
    return told(PairConfig.model_validate(record.config["pair"]))


def panels(legs: Sequence[LegCurves]) -> list[Curve]:
    """The curves as the page has them: the legs one after the other, each from where the one before has ended."""
    starts, end = [], 0
    for leg in legs:
        starts.append(end)
        end += max((int(line.steps[-1]) + _pitch(line) for line in leg.lines.values() if len(line.steps)), default=0)
    shown = []
    for title, names, reference, note in _PANELS:
        series = [
            Series(words, leg.lines[name].steps + start, leg.lines[name].values, leg.leg if len(legs) > 1 else None)
            for name, words in names.items()
            for leg, start in zip(legs, starts, strict=True)
            if name in leg.lines
        ]
        if {one.name for one in series} == set(names.values()):
            shown.append(Curve(title, "none", series, reference, note, tuple(starts[1:])))
    return shown


def _pitch(line: Line) -> int:
    """Steps between two points of a line."""
    return int(line.steps[-1] - line.steps[-2]) if len(line.steps) > 1 else 1


def _trends(store: Store, config: EngineConfig, facts: RoundFacts) -> list[Trend]:
    """The leading measures on the first split that is held out for reports, else for gates."""
    split = next(iter((*config.sources.targets("test"), *config.sources.targets("validation"))), None)
    return [one for one in round_trends(store, facts) if one.split == str(split) and one.name in LEADING]


def _diagnosis(
    config: EngineConfig, legs: Sequence[LegCurves], metrics: measured.Metrics, evaluations: measured.Evaluations
) -> Diagnosis | None:
    """What the curve doctor says; None where nothing was trained."""
    if not legs:
        return None
    validation, changes = config.sources.targets("validation"), measured.score_changes(evaluations, config)
    seen = Evidence(config.align.objective, legs, metrics, validation, changes, config.gates.min_diversity)
    return diagnose(seen, config)


def _held_out(
    store: Store, config: EngineConfig, facts: RoundFacts, evaluations: measured.Evaluations
) -> tuple[HeldOut, str]:
    """The held-out people; or, where the store no longer has what it takes, why there are none."""
    before = facts.key("evaluate", "before")
    record = find(store, before) if before is not None else None
    if before is None or record is None:
        return HeldOut(), ""
    after = facts.key("evaluate", "after")
    try:
        return draw_overlays(store, config, record.reads, before, after, evaluations), ""
    except EngineError as error:
        return HeldOut(), f"These people can't be shown any more: {error}"


def _models(store: Store, facts: RoundFacts) -> list[ModelRow]:
    roles = {
        "reference, the campaign's first policy": facts.reference,
        "policy before": facts.policy_before,
        "policy after": facts.policy_after,
        "scorer": facts.scorer,
        "judge": facts.judge,
    }
    rows = read(store, "models", columns=["digest", "parents", "config_digest"]).to_pylist()
    by_digest = {row["digest"]: row for row in rows}
    return [
        ModelRow(role, digest, by_digest[digest]["parents"], by_digest[digest]["config_digest"])
        for role, digest in roles.items()
        if digest is not None and digest in by_digest
    ]


def _provenance(store: Store, config: EngineConfig, facts: RoundFacts) -> dict[str, str]:
    devices = {record.device for run in facts.runs if (record := find(store, run.key)) is not None}
    return {
        "configuration": digest(config),
        "profile": config.profile,
        "seed": str(config.seed),
        "code": code_digest(),
        "store": store.url,
        "device": ", ".join(sorted(devices)),
        "threads": (
            f"{config.ray.threads_per_actor} an actor, {config.ray.threads_per_trainer} a training worker, "
            f"{config.ray.threads_beside_control} one beside its control"
        ),
    }
