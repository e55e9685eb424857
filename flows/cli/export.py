"""export: pairs and labels out of the store, in the published forms and in that of Hugging Face."""

from dataclasses import dataclass

from infra.store import Store
from schemas.errors import ConfigError
from tasks.export import dpo_json, humandata, trl
from tasks.export.chosen import Selection, choose_labels, choose_pairs, label_rows, pair_rows, people_rows, picture_rows


@dataclass(frozen=True)
class Exported:
    """What was written."""

    count: int
    what: str
    key: str
    target: str

    def __str__(self) -> str:
        return f"{self.count:,} {self.what} of stage {self.key[:12]} written to {self.target}."


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
) -> Exported:
    """Write pairs (dpo-json, trl) or labels (humandata) to `target`, a path or URL.

    Pairs: the set `pair_set`, else the newest of the campaign, or of its round `number`. Labels: those of the stage
    `label_set`, else those that the campaign's newest cleaning round kept, or its round `number`; with a data set and
    no round, the ingested ones.
    `dataset` and `split` narrow both to their people. Raises ConfigError for words that don't go together, DataError
    where there is nothing to export or the target can't be written.
    """
    if split is not None and dataset is None:
        raise ConfigError("--split belongs to a data set: name it with --dataset.")
    if form == "humandata" and pair_set is not None:
        raise ConfigError("--pair-set is about pairs, and humandata about labels: export --to dpo-json or trl.")
    if form != "humandata" and label_set is not None:
        raise ConfigError(f"--label-set is about labels, and {form} about pairs: export --to humandata.")
    selection = Selection(campaign, label_set or pair_set, number, dataset, split)
    if form == "humandata":
        return _labels(store, selection, target)
    return _pairs(store, form, selection, target)


def _pairs(store: Store, form: str, selection: Selection, target: str) -> Exported:
    chosen = choose_pairs(store, selection)
    module = {"dpo-json": dpo_json, "trl": trl}[form]
    pairs = pair_rows(store, chosen, selection, module.PAIR_COLUMNS)
    people = people_rows(store, chosen, selection, module.INSTANCE_COLUMNS)
    if form == "trl":
        count = trl.export_trl(pairs, people, target, selection.split or "train")
    else:
        count = dpo_json.export_dpo_json(pairs, people, target)
    return Exported(count, "pairs", chosen.key, target)


def _labels(store: Store, selection: Selection, target: str) -> Exported:
    chosen = choose_labels(store, selection)
    labels = label_rows(store, chosen, selection, humandata.LABEL_COLUMNS)
    people = people_rows(store, chosen, selection, humandata.INSTANCE_COLUMNS)
    pictures = picture_rows(store, chosen, humandata.IMAGE_COLUMNS)
    return Exported(humandata.export_humandata(labels, people, pictures, target), "labels", chosen.key, target)
