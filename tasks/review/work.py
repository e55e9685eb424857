"""The work of the stage review: pairs as people want them, rejected ones left out and swapped ones swapped."""

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.reviews import REJECT, SWAP, unit_of
from infra.shards import Shard
from infra.stages import Failure
from infra.store import Store
from infra.tables import read
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.review.verdicts import DIVIDED, NOT_HERE, NOT_JUDGED, REJECTED, majority
from tasks.rows.instances import sorted_ids

if TYPE_CHECKING:
    from tasks.stages.review import ApplyReviews

_NAMES: Final = ("instance_id", "winner", "loser")


def units_of(store: Store, pairs: StageKey) -> pa.StringArray:
    """The pairs of a stage by their names (`PairName.unit`)."""
    rows = read(store, "pairs", stage_keys=[pairs], columns=_NAMES).combine_chunks()
    person, winner, loser = (rows.column(name).cast(pa.string()) for name in _NAMES)
    units = pc.binary_join_element_wise(person, pc.binary_join_element_wise(winner, loser, ">"), " ")
    return pa.concat_arrays([pa.array([], pa.string()), *units.chunks])


class ReviewWorker:
    """Keeps, swaps and leaves out the pairs of a shard."""

    def __init__(self, stage: "ApplyReviews", context: Context) -> None:
        self.stage, self.store, self.partition = stage, context.store, context.partition
        self.pair_set = stage.key(context)
        self.people: set[str] | None = None
        if stage.people is not None:
            people = stage.people
            self.people = set(sorted_ids(self.store, people.ingests, people.targets, people.part).to_pylist())

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, sorted by their names."""
        failures: list[Failure] = []
        swapped: dict[str, bool] = {}
        for unit in shard.ids:
            reason, detail, swaps = self._verdict(unit)
            if reason:
                failures.append(Failure(unit, reason, detail, outcome="filtered"))
            else:
                swapped[unit] = swaps
        rows = self._rows(shard)
        kept = rows.filter(pa.array([unit in swapped for unit in units_of_rows(rows)], pa.bool_()))
        change = np.array([swapped[unit] for unit in units_of_rows(kept)], bool)
        pairs = pa.concat_tables([kept.filter(~change), swap(kept.filter(change))])
        pairs = pairs.sort_by([(name, "ascending") for name in _NAMES])
        return ShardOutput({"pairs": self._named(pairs)}, failures, ok=len(swapped))

    def _rows(self, shard: Shard) -> pa.Table:
        people = {unit.rpartition(" ")[0] for unit in shard.ids}
        return read(self.store, "pairs", stage_keys=[self.stage.pairs], ids=people)

    def _verdict(self, unit: str) -> tuple[str, str, bool]:
        """Why a pair is left out, with what was said of it; and if it is not, whether it is swapped."""
        if self.people is not None and unit.rpartition(" ")[0] not in self.people:
            return NOT_HERE, "", False
        said = self.stage.said.get(unit, {})
        verdict, words = majority(list(said.values())), ", ".join(f"{name}: {one}" for name, one in said.items())
        if verdict == REJECT:
            return REJECTED, words, False
        if verdict is None and self.stage.unjudged == "leave_out":
            return (DIVIDED if said else NOT_JUDGED), words, False
        return "", words, verdict == SWAP

    def _named(self, pairs: pa.Table) -> pa.Table:
        """The rows as those of this stage."""
        columns = {"pair_set": self.pair_set, "stage_key": self.pair_set, "round": np.int32(self.partition)}
        for name, value in columns.items():
            field = pairs.schema.field(name)
            new = pa.array([value] * len(pairs), field.type)
            pairs = pairs.set_column(pairs.schema.get_field_index(name), field, new)
        return pairs


def swap(pairs: pa.Table) -> pa.Table:
    """The same pairs with winner and loser in each other's place; a margin is then that of the scorer against them."""
    sides = ("winner", "loser")
    change = {f"{one}{rest}": f"{other}{rest}" for one, other in (sides, sides[::-1]) for rest in _RESTS}
    columns = [pairs.column(change.get(name, name)) for name in pairs.schema.names]
    margin = pairs.schema.get_field_index("margin")
    columns[margin] = pc.negate(columns[margin])
    return pa.Table.from_arrays(columns, schema=pairs.schema)


_RESTS: Final = ("", "_score", "_rank", "_uvd", "_twist", "_betas")


def units_of_rows(rows: pa.Table) -> list[str]:
    """The names of pairs (`PairName.unit`), in their order."""
    return [unit_of(*row) for row in zip(*(rows.column(name).to_pylist() for name in _NAMES), strict=True)]
