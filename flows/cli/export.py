"""export: pairs, labels and models out of the store, in the published forms and in those of Hugging Face."""

from typing import Final

from flows.run.steps.named import HYPOTHESES, SCORES, stage_named
from infra import rounds
from infra.store import Store
from schemas.errors import ConfigError, DataError
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.export import bodies, dpo_json, humandata, trl
from tasks.export.chosen import (
    Selection,
    choose_labels,
    choose_pairs,
    ingests_of,
    label_rows,
    pair_rows,
    people_rows,
    picture_rows,
)
from tasks.export.model import export_checkpoint, export_hub
from tasks.predict.bodies import Drawn
from tasks.predict.table import export_hypotheses as write_hypotheses
from tasks.report.model_card import model_card
from tasks.rows.models import find_model

_LABELS: Final = ("humandata", "bodies")
"""Forms of labels."""


def export(
    store: Store,
    form: str,
    target: str,
    campaign: str,
    pair_set: str | None = None,
    number: int | None = None,
    dataset: str | None = None,
    split: str | None = None,
    label_set: str | None = None,
) -> str:
    """Write pairs (dpo-json, trl) or labels (humandata, bodies) to `target`, a path or URL; gives what was written, in
    words.

    Pairs: the set `pair_set`, else the newest of the campaign, or of its round `number`. Labels: those of the stage
    `label_set`, else those that the campaign's newest cleaning round kept, or its round `number`; with a data set and
    no round, the ingested ones.
    `dataset` and `split` narrow both to their people. Raises ConfigError for words that don't go together, DataError
    where there is nothing to export or the target can't be written.
    """
    if split is not None and dataset is None:
        raise ConfigError("--split belongs to a data set: name it with --dataset.")
    if form in _LABELS and pair_set is not None:
        raise ConfigError(f"--pair-set is about pairs, and {form} about labels: export --to dpo-json or trl.")
    if form not in _LABELS and label_set is not None:
        raise ConfigError(f"--label-set is about labels, and {form} about pairs: export --to humandata or bodies.")
    selection = Selection(campaign, label_set or pair_set, number, dataset, split)
    count, what, key = (
        _labels(store, form, selection, target) if form in _LABELS else _pairs(store, form, selection, target)
    )
    return f"{count:,} {what} of stage {key[:12]} written to {target}."


def export_hypotheses(context: Context, named: str, scores: str | None, target: str) -> str:
    """Write the bodies of hypotheses, generated or ingested, to `target`; gives what was written, in words.

    `named` is the key of their stage, or its beginning; `scores` that of their scores, which are written beside them.
    """
    store = context.store
    drawn = stage_named(store, named, HYPOTHESES)
    scored = stage_named(store, scores, SCORES) if scores is not None else None
    if scored is not None and drawn.stage_key not in (scored.stage_key, *scored.reads):
        raise DataError(f"--scores {scores}: stage {scored.stage_key[:12]} scored other hypotheses than {named}.")
    these = Drawn(
        ingests=tuple(map(StageKey, ingests_of(store, drawn.stage_key))),
        generation=drawn.stage_key,
        scores=None if scored is None else scored.stage_key,
        take="all",
    )
    count = write_hypotheses(context, these, target)
    return f"{count:,} bodies of stage {drawn.stage_key[:12]} written to {target}."


def export_model(store: Store, form: str, target: str, campaign: str, named: str | None = None) -> str:
    """Write a model to `target`, a path or URL: a file (checkpoint) or a folder (hub). Gives what to say of it.

    It is the one whose digest begins with `named`, else the campaign's current policy. Raises DataError where there is
    no such model, or something is at `target` already.
    """
    digest = _current(store, campaign) if named is None else find_model(store, named)
    if form == "hub":
        export_hub(store, digest, target, model_card(store, digest))
        how = "with config.json and a card"
    else:
        how = export_checkpoint(store, digest, target)
    back = "" if "://" in target else f" `adhmr import {target}` takes it into a store."
    return f"Model {digest[:12]} written to {target}, {how}.{back}"


def _current(store: Store, campaign: str) -> ModelDigest:
    digest = rounds.state(store, campaign).policy
    if digest is None:
        raise DataError(
            f"Campaign {campaign} has no policy yet: name a model of the store with --model, or begin with `adhmr run`."
        )
    return ModelDigest(digest)


def _pairs(store: Store, form: str, selection: Selection, target: str) -> tuple[int, str, str]:
    chosen = choose_pairs(store, selection)
    module = {"dpo-json": dpo_json, "trl": trl}[form]
    pairs = pair_rows(store, chosen, selection, module.PAIR_COLUMNS)
    people = people_rows(store, chosen, selection, module.INSTANCE_COLUMNS)
    if form == "trl":
        count = trl.export_trl(pairs, people, target, selection.split or "train")
    else:
        count = dpo_json.export_dpo_json(pairs, people, target)
    return count, "pairs", chosen.key


def _labels(store: Store, form: str, selection: Selection, target: str) -> tuple[int, str, str]:
    chosen = choose_labels(store, selection)
    pictures = picture_rows(store, chosen, humandata.IMAGE_COLUMNS)
    if form == "bodies":
        labels = label_rows(store, chosen, selection, bodies.COLUMNS)
        people = people_rows(store, chosen, selection, bodies.INSTANCE_COLUMNS)
        return bodies.export_bodies(labels, people, pictures, target), "labels", chosen.key
    labels = label_rows(store, chosen, selection, humandata.LABEL_COLUMNS)
    people = people_rows(store, chosen, selection, humandata.INSTANCE_COLUMNS)
    return humandata.export_humandata(labels, people, pictures, target), "labels", chosen.key
