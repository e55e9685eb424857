"""Synthesize: the folders of synthetic pictures, all domains and splits in one go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from models.body_arrays import body_digest
from schemas.ids import StageKey, Target
from schemas.splits import SYNTHETIC
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker, StageResult
from tasks.engine.stage import ShardedStage
from tasks.ingest.formats.folder.reader import NAME as FOLDER
from tasks.ingest.people.annotations import AnnotationSource
from tasks.synthesize.domains import domain_named
from tasks.synthesize.places import folder_of, name_of


@dataclass(frozen=True)
class Synthesize(ShardedStage):
    """Makes the synthetic pictures -> folders with tables of boxes and labels, as a user's own; no rows.

    A folder that was removed after the stage was finished is made again, bit for bit.
    """

    name = "synthesize"
    unit = "pictures"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """Numbers of pictures, the domains' descriptions, and the body."""
        return {
            "synthesize": context.config.synthesize,
            "domains": {name: _description(name) for name in sorted({target.dataset for target in SYNTHETIC})},
            "body": body_digest(context.config.body),
        }

    def ids(self, context: Context) -> Sequence[str]:
        counts = {
            target: getattr(context.config.synthesize, f"{target.dataset}_{target.split}") for target in SYNTHETIC
        }
        return [f"{target}/{index:08d}" for target, count in counts.items() for index in range(count)]

    def shard_size(self, context: Context) -> int:
        return context.config.synthesize.shard_size

    def device(self, context: Context) -> str:
        return "cpu"

    def max_failed_share(self, context: Context) -> float:
        return 0.0  # a picture of our own that can't be made is a fault of ours or of the disk

    def worker(self, context: Context) -> ShardWorker:
        from tasks.synthesize.work import SyntheticPictureWorker

        return SyntheticPictureWorker(context, folder_of(self.key(context)))

    def run(self, context: Context) -> StageResult:
        result = super().run(context)
        folder = folder_of(result.key)
        for target in SYNTHETIC:
            if not context.store.exists(f"{folder}/{name_of(target)}/boxes.csv"):
                from tasks.synthesize.work import complete

                complete(context, self, folder, target)
        return result


def synthetic_sources(context: Context, key: StageKey) -> tuple[AnnotationSource, ...]:
    """The folders that the stage `key` made, as ingest takes them; data sets are called after their domains."""

    def source(target: Target) -> AnnotationSource:
        place = partial(context.store.uri, folder_of(key), name_of(target))
        options = {"boxes": place("boxes.csv")} | ({"labels": place("labels.parquet")} if _labelled(target) else {})
        return AnnotationSource(FOLDER, place("images"), target.dataset, target.split, options=options)

    return tuple(map(source, SYNTHETIC))


def labelled_targets() -> list[Target]:
    """The splits that have labels."""
    return [target for target in SYNTHETIC if _labelled(target)]


def _description(name: str) -> dict[str, object]:
    plain = domain_named(name).model_dump(mode="json", exclude={"pitch"})  # which is the configuration's
    plain["unlabelled_splits"] = sorted(plain["unlabelled_splits"])  # a set: its order may differ between processes
    return plain


def _labelled(target: Target) -> bool:
    return domain_named(target.dataset).labelled(target.split)
