"""The labels that people were ingested with, as pseudo-labels to be judged: another model's, or a data set's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import Failure
from infra.standing import read_standing
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.clean.names import INGESTED, NO_BODY
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.rows.instances import NO_LABEL, instance_ids, of_target
from tasks.rows.part import Part, counting


@dataclass(frozen=True)
class IngestedLabels(WholeStage):
    """Takes the labels that people of some splits were ingested with -> table `labels`, label_kind "pseudo".

    People without a label, and labels that are joints alone, end in `failures`, filtered. DataError where nobody has a
    label with a body.
    """

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    part: Part | None = None
    """Those of the people who are asked for; everybody if not given."""

    name = "ingested_labels"
    writes = ("labels",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"targets": [str(target) for target in self.targets], **counting(self.part)}

    def make(self, context: Context) -> Rows:
        people = instance_ids(context.store, self.ingests, self.targets, self.part)
        labels = self._labels(context, None)
        labels = labels.filter(pc.is_in(labels.column("instance_id"), value_set=pa.array(people, pa.string())))
        bare = labels.filter(pc.invert(_with_body(labels))).column("instance_id").to_pylist()
        unlabelled = sorted(set(people) - set(labels.column("instance_id").to_pylist()))
        failures = [Failure(name, NO_LABEL, "it was ingested without one", outcome="filtered") for name in unlabelled]
        failures += [Failure(name, NO_BODY, "only joints are known", outcome="filtered") for name in bare]
        labels = labels.filter(_with_body(labels)).sort_by("instance_id")
        self._refuse_none(labels)
        for name, value in (("label_set", INGESTED), ("label_kind", "pseudo")):
            place = labels.schema.get_field_index(name)
            labels = labels.set_column(place, name, pa.array([value] * len(labels), pa.string()))
        return Rows({"labels": labels.drop_columns(["stage_key"])}, failures, units=len(people))

    def check(self, context: Context) -> None:
        """Raise DataError where nobody has a label with a body."""
        labels = self._labels(context, ["body_model", "twist"])
        self._refuse_none(labels.filter(_with_body(labels)))

    def _labels(self, context: Context, columns: Sequence[str] | None) -> pa.Table:
        wanted = [of_target(target) for target in self.targets]
        return pa.concat_tables(
            read_standing(context.store, "labels", self.ingests, where=where, columns=columns) for where in wanted
        )

    def _refuse_none(self, labels: pa.Table) -> None:
        if not len(labels):
            raise DataError(
                f"Nobody of {', '.join(map(str, self.targets))} was ingested with a label that has a body: name a file "
                "of labels, or leave --labels out and let a policy make some."
            )


def _with_body(labels: pa.Table) -> pa.Array:
    return pc.and_(labels.column("body_model").is_valid(), labels.column("twist").is_valid())
