"""Stages that drew hypotheses, by their records: with which configuration, and for whom."""

from typing import Any, Final

import pyarrow as pa

from infra.stages import StageRecord, find
from infra.store import Store
from infra.tables import read_ids
from schemas.config.stages import GenerateConfig
from schemas.digests import canonical_json
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.rows.instances import sorted_ids
from tasks.rows.part import Part

DRAW: Final = "draw"
"""The stage that draws and scores in one pass, and keeps all scores but not all hypotheses (`tasks.stages.draw`)."""

_DRAWING: Final = ("generate", DRAW, "evaluate")


def everybody(store: Store, generation: StageKey) -> list[str]:
    """The instances of whom a finished stage has drawn hypotheses, kept or not, sorted."""
    ids: list[str] = read_ids(store, table_of_all(store, generation), stage_keys=[generation]).to_pylist()
    return ids


def table_of_all(store: Store, generation: StageKey) -> str:
    """The table that has a row for each hypothesis which a finished stage has drawn."""
    record = find(store, generation)
    return "scores" if record is not None and record.stage == DRAW else "hypotheses"


def drawn_with(record: StageRecord) -> GenerateConfig:
    """How a generation, draw or evaluation drew its hypotheses."""
    config = GenerateConfig.model_validate_json(canonical_json(record.config["generate"]))
    temperature = config.noise_temperature * record.config.get("temperature", 1.0)
    return config.model_copy(update={"noise_temperature": temperature})


def can_be_made_again(record: StageRecord) -> bool:
    """Whether a policy of the store drew hypotheses in this stage, from noise that can be drawn again."""
    return record.stage in _DRAWING and not is_moved(record)


def is_moved(record: StageRecord) -> bool:
    """Whether all hypotheses were moved by one shift once they were drawn: a study's constant offset. They are no
    policy's own, though the record names one."""
    return "offset" in record.config


def drawn_for(store: Store, record: StageRecord) -> pa.StringArray:
    """Whom it drew them for, sorted, those without finite numbers among them."""
    targets = [Target(*text.split("/", 1)) for text in record.config["targets"]]
    part: Any = record.config.get("part")
    return sorted_ids(store, record.reads, targets, None if part is None else Part(*part))


def draw_record(store: Store, key: StageKey) -> StageRecord:
    """The record of a finished stage `draw`. DataError where the key is of none."""
    record = find(store, key)
    if record is None or record.stage != DRAW:
        raise DataError(f"There is no finished stage draw with the key {key[:12]} in {store.url}.")
    return record
