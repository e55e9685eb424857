"""Ten times the people cost ten times as much, and none of them more: what does not depend on the machine.

Shards of ten people, so that a few thousand make some hundred shards.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.benchmarks.history import s3_behind_proxy
from tests.benchmarks.scale import READING, READS, Cost, costs
from tests.faults.flaky_s3 import FlakyS3

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
SHARD = 10


def found(url: str, people: int, proxy: FlakyS3 | None = None) -> Mapping[str, Cost]:
    return {cost.stage: cost for cost in costs(f"{url}/{people}", people, SHARD, proxy)}


def test_on_a_disk(tmp_path: Path) -> None:
    few, many = found(str(tmp_path), 500), found(str(tmp_path), 5000)
    assert few.keys() == many.keys() == {"ingest", "generate", "score", "pair", READING}
    for stage, cost in many.items():
        assert 0 < cost.driver_mb <= 1.2 * few[stage].driver_mb, stage
        if stage != READING:  # which no worker does
            assert 0 < cost.worker_mb <= 1.2 * few[stage].worker_mb, stage
    assert READS <= many[READING].opened == few[READING].opened <= 2 * READS
    assert many[READING].driver_cpu_seconds <= 1.2 * few[READING].driver_cpu_seconds
    works = [stage for stage in many if stage != READING]
    for what in ("seconds", "driver_cpu_seconds"):
        assert sum(getattr(many[stage], what) for stage in works) <= 11 * sum(
            getattr(few[stage], what) for stage in works
        )


def test_on_s3() -> None:
    with s3_behind_proxy("scale") as proxy:
        few, many = found("s3://scale", 100, proxy), found("s3://scale", 500, proxy)
    for stage, cost in many.items():
        assert 0 < cost.requests / cost.shards <= 1.1 * few[stage].requests / few[stage].shards, stage
