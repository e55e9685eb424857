"""A model card: what a store knows of a model, as the README of a folder for a hub. Nothing else is claimed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow.compute as pc

from infra import rounds
from infra.stages import StageRecord, find, records
from infra.store import Store
from infra.tables import read
from models.checkpoints.ours import Checkpoint
from schemas.errors import StoreError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.report.ancestry import Made, ancestry
from tasks.report.definitions import Definition, defined, in_words
from tasks.report.measured import CONTROL_NAMES, Metrics
from tasks.report.numbers import format_percent, format_quantity, format_span
from tasks.report.page import templates
from tasks.report.stage import read_facts
from tasks.rows.metrics import Metric, read_metrics
from tasks.rows.models import read_model

_TEMPLATE: Final = "model_card.md.j2"
_SPEARMAN: Final = "spearman_within_"
_PUBLISHED: Final = "published_"
_CHANGE: Final = "change against the policy before"
_OF_POLICIES: Final = (
    "By the papers' protocol, not to be compared with other tables: `min` is the least over the hypotheses and two "
    "averages of them, `select` the mean of the five best-scored, and joints are the protocol's."
)
_OF_SCORERS: Final = (
    "By the papers' protocol: correlations of score and error, so that a good scorer has negative ones; `within` is "
    "the mean over pictures, without it all hypotheses are taken together."
)
_HOW: Final[Mapping[str, str]] = {
    "train_base": "trained from nothing on labelled people",
    "train_scorer": "trained to put hypotheses of labelled people into the order of their errors",
    "align": "aligned with pairs of winner and loser",
    "train_clean": "trained further on pseudo-labels that a filter kept, and on labelled people beside them",
    "import_model": "taken in from a file; the store does not say what it was trained on",
}
"""What a stage does to a model, by its name."""


@dataclass(frozen=True)
class MeasuredRow:
    """A figure of the model, and what became of it in the round that trained it."""

    title: str
    value: str
    changes: tuple[str, ...]
    """By the table's columns; empty where there is none."""
    n: int


@dataclass(frozen=True)
class MeasuredTable:
    """Figures on one split, or by one protocol."""

    title: str
    rows: tuple[MeasuredRow, ...]
    columns: tuple[str, ...] = ()
    """Of changes: the round's own, and those of its controls."""
    note: str = ""
    """What its measures mean, if they are not the engine's own."""


def model_card(store: Store, digest: ModelDigest) -> str:
    """The card of a model of the store, Markdown with YAML in front.

    Raises StoreError where the model isn't in the store, or where what it was made of is no longer whole.
    """
    checkpoint, line = read_model(store, digest), ancestry(store, digest)
    kind = checkpoint.manifest.kind
    comparison = _comparison(store, digest, kind)
    tables = [*(_of_comparison(store, digest, kind, comparison) if comparison else ()), *_as_published(store, digest)]
    # it is Markdown, and the names of data sets and campaigns hold no mark-up
    environment = templates(autoescape=False, keep_trailing_newline=True)
    return environment.get_template(_TEMPLATE).render(
        digest=digest,
        kind=kind,
        networks=_networks(checkpoint),
        line=line,
        how=_how,
        tables=tables,
        protocol=_protocol(store, comparison) if comparison else "",
        outcome=_outcome(store, line[-1]),
        definitions=_definitions(tables),
    )


def _how(made: Made) -> str:
    """What made a model, in words."""
    if made.stage is None:
        return "not of this store, which knows its digest alone"
    said = _HOW.get(made.stage.stage, f"made by the stage {made.stage.stage}")
    train = made.stage.config.get("train", {})
    if made.stage.stage == "align":
        weights = {name: train.get(name) for name in ("beta", "anchor", "estimate", "replay")}
        terms = ", ".join(f"{name} {value:g}" for name, value in weights.items() if value)
        said += f" (objective {train.get('objective')}; {terms})"
    steps = train.get("optimiser", {}).get("steps")
    return f"{said}, {steps:,} steps" if steps else said


def _networks(checkpoint: Checkpoint) -> str:
    """The image encoder, its input, and the size of the whole."""
    condition = checkpoint.manifest.config["condition"]
    count = sum(value.numel() for value in checkpoint.state.values())
    encoder = f"image encoder {condition['kind']}, crops of {condition['image_size']} px"
    return f"{encoder}, {count / 1e6:,.2f} million numbers"


def _comparison(store: Store, digest: ModelDigest, kind: str) -> StageRecord | None:
    """The comparison that says most of a model: the newest of a round that trained it, else one of another round."""
    compared = records(store, "compare")
    if kind == "scorer":
        return next((one for one in reversed(compared) if digest in _models_of(store, one.reads[0])[1:]), None)
    after = [one for one in compared if _is_after(store, digest, one)]
    before = [one for one in compared if digest == next(iter(_models_of(store, one.reads[0])), None)]
    return next(iter([*reversed(after), *reversed(before)]), None)


def _models_of(store: Store, evaluation: StageKey) -> tuple[ModelDigest, ...]:
    """Policy and scorer of an evaluation."""
    record = find(store, evaluation)
    return () if record is None else record.models


def _is_after(store: Store, digest: ModelDigest, comparison: StageRecord) -> bool:
    return digest == next(iter(_models_of(store, comparison.reads[1])), None)


def _of_comparison(store: Store, digest: ModelDigest, kind: str, comparison: StageRecord) -> Iterator[MeasuredTable]:
    """The figures of a comparison that are the model's, a table for each split."""
    trained_it = kind == "policy" and _is_after(store, digest, comparison)
    role = "after" if trained_it else "before"
    samples = _samples(store, comparison)
    metrics = {(one.name, one.role, one.target): one for one in read_metrics(store, comparison.stage_key)}
    for target in dict.fromkeys(target for _, owner, target in metrics if owner == role):
        figures = [
            one
            for (name, owner, where), one in metrics.items()
            if (owner, where) == (role, target) and one.low is not None
            if name.startswith(_SPEARMAN) == (kind == "scorer")
        ]
        changes = {words: _changes(metrics, control, figures, target) for control, words in CONTROL_NAMES.items()}
        changes = {_CHANGE: _changes(metrics, "", figures, target), **changes} if trained_it else {}
        changes = {words: column for words, column in changes.items() if any(column)}
        rows = (
            MeasuredRow(
                in_words(one.name, samples), _with_span(one), tuple(column[place] for column in changes.values()), one.n
            )
            for place, one in enumerate(figures)
        )
        yield MeasuredTable(str(target), tuple(rows), tuple(changes))


def _changes(metrics: Metrics, control: str, figures: Sequence[Metric], target: Target) -> list[str]:
    """What became of the figures in the round, or by one of its controls; empty where that was not measured."""
    role = f"change_{control}" if control else "change"
    fixed = "zero_noise" if control == "less_noise" else None  # 0 by construction: no noise can be less
    return [
        "" if fixed and one.name.startswith(fixed) else _change(metrics.get((one.name, role, target)))
        for one in figures
    ]


def _as_published(store: Store, digest: ModelDigest) -> Iterator[MeasuredTable]:
    """What was measured as the papers do, the newest of each protocol and split."""
    mine = (pc.field("model") == digest) & pc.starts_with(pc.field("name"), _PUBLISHED)
    stages = set(read(store, "metrics", where=mine, columns=["stage_key"]).column("stage_key").to_pylist())
    newest: dict[tuple[str, str], list[Metric]] = {}
    for record in records(store):
        if record.stage_key in stages:
            metrics = read_metrics(store, record.stage_key)
            newest[metrics[0].role, str(metrics[0].target)] = metrics
    for (role, target), metrics in newest.items():
        rows = (MeasuredRow(one.name.replace("_", " "), _with_span(one), (), one.n) for one in metrics)
        note = _OF_POLICIES if any(one.unit == "mm" for one in metrics) else _OF_SCORERS
        yield MeasuredTable(f"{target}, as published ({role})", tuple(rows), note=note)


def _samples(store: Store, comparison: StageRecord) -> int:
    """M: how many hypotheses of a person start from random noise."""
    evaluation = find(store, comparison.reads[0])
    generate: Mapping[str, Any] = {} if evaluation is None else evaluation.config["generate"]
    return int(generate.get("hypotheses", 1)) - 1


def _protocol(store: Store, comparison: StageRecord) -> str:
    policy, *scorers = (f"`{digest[:12]}`" for digest in _models_of(store, comparison.reads[0]))
    selected = f" scorer {', '.join(scorers)} selects;" if scorers else ""
    resamples = comparison.config["resamples"]
    return (
        f"The policy before is {policy}. {_samples(store, comparison)} hypotheses of each person start from random "
        "noise and one from noise of size zero; errors are in mm and relative to the pelvis, whose depth is the "
        f"label's, on held-out labelled people;{selected} the spans are 95 % intervals, by a paired bootstrap over "
        f"people ({resamples:,} resamples)."
    )


def _outcome(store: Store, made: Made) -> str:
    """What became of the round whose policy the model was; empty for others (a round's controls, say), and where its
    log doesn't say."""
    training = made.stage
    if training is None or training.campaign is None or not training.round:
        return ""
    decision = rounds.state(store, training.campaign).decision(training.round)
    try:
        facts = read_facts(store, training.campaign, training.round)
    except StoreError:  # it is not reported
        return ""
    if decision is None or facts.policy_after != made.digest:
        return ""
    verdict = "made it current" if decision.event == "promoted" else "kept the policy before"
    return f"Round {training.round} of campaign {training.campaign} trained it and {verdict}: {decision.why}."


def _definitions(tables: list[MeasuredTable]) -> list[Definition]:
    titles = [row.title for table in tables if not table.note for row in table.rows]
    return defined([*titles, *(column for table in tables for column in table.columns)])


def _with_span(metric: Metric) -> str:
    unit = "none" if metric.unit == "1" else metric.unit
    return f"{format_quantity(metric.value, unit)} {format_span(metric.low, metric.high, unit)}".strip()


def _change(metric: Metric | None) -> str:
    if metric is None or metric.low is None:
        return ""
    return f"{format_percent(metric.value)} {format_span(metric.low, metric.high, '%')}"
