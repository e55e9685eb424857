"""The synthesize stage: folders as configured, the same after a kill, made again where somebody removed them."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.store import Store
from schemas.splits import SYNTHETIC
from tasks.stages.synthesize import Synthesize, synthetic_sources
from tests.tasks.ingest.pictures import Heard, context

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def folder_files(store: Store) -> dict[str, bytes]:
    """All pictures and tables, without the records that shards leave."""
    names = [name for name in store.list_files("synthetic") if "/records/" not in name]
    return {name: store.read_bytes(name) for name in names}


def test_folders_hold_what_the_configuration_says(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    result = Synthesize().run(ctx)
    assert result.key == Synthesize().spec(ctx).key
    assert result.record.tally.ok == 156
    assert result.record.rows == {"failures": 0}
    for target, source in zip(SYNTHETIC, synthetic_sources(ctx, result.key), strict=True):
        count = getattr(ctx.config.synthesize, f"{target.dataset}_{target.split}")
        folder = f"synthetic/{result.key[:12]}/{target.dataset}-{target.split}"
        assert source.url == ctx.store.uri(folder, "images")
        pictures = ctx.store.list_files(f"{folder}/images")
        assert len(pictures) == count
        rows = list(csv.DictReader(io.StringIO(Path(source.options["boxes"]).read_text())))
        assert [row["path"] for row in rows] == [f"{number:08d}.jpg" for number in range(count)]
        assert ("labels" in source.options) == (str(target) != "wild/train")
        if "labels" in source.options:
            assert len(pq.read_table(source.options["labels"])) == count
    assert Synthesize().run(ctx).reused


def test_seed_and_numbers_make_another_key_and_ray_does_not(tmp_path: Path) -> None:
    base = Synthesize().spec(context(tmp_path / "store")).key
    assert Synthesize().spec(context(tmp_path / "store", synthesize__seed=1)).key != base
    assert Synthesize().spec(context(tmp_path / "store", synthesize__wild_test=13)).key != base
    assert Synthesize().spec(context(tmp_path / "store", body="full")).key != base
    assert Synthesize().spec(context(tmp_path / "store", ray__actors=1)).key == base


DRIVER = """
import sys
from pathlib import Path
from tasks.stages.synthesize import Synthesize
from tests.tasks.ingest.pictures import context
Synthesize().run(context(Path(sys.argv[1])))
"""


def test_killed_between_shards_it_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "killed")]
    environment = {**os.environ, "ADHMR_FAULT_AT": "shard:synthesize@3"}
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL
    killed, undisturbed = context(tmp_path / "killed"), context(tmp_path / "undisturbed")
    assert not [name for name in folder_files(killed.store) if name.endswith("boxes.csv")]
    result = Synthesize().run(killed)
    assert (result.shards_found, result.shards_done) == (3, 4)
    Synthesize().run(undisturbed)
    assert folder_files(killed.store) == folder_files(undisturbed.store)


def test_what_was_removed_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    heard = Heard()
    ctx = context(tmp_path / "store", heard)
    key = Synthesize().run(ctx).key
    before = folder_files(ctx.store)
    ctx.store.remove(f"synthetic/{key[:12]}/wild-test/boxes.csv")
    ctx.store.remove(f"synthetic/{key[:12]}/wild-test/labels.parquet")
    assert Synthesize().run(ctx).reused
    assert folder_files(ctx.store) == before
    assert not any("made again" in line for line in heard.lines)
    shutil.rmtree(ctx.store.path("synthetic"))
    assert Synthesize().run(ctx).reused
    assert folder_files(ctx.store) == before
    assert sum("made again" in line for line in heard.lines) == len(SYNTHETIC)


def test_records_of_single_pictures_beside_those_of_their_shard_do_no_harm(tmp_path: Path) -> None:
    """So it is after a shard that met an error was tried picture by picture, and later as a whole."""
    ctx = context(tmp_path / "store")
    key = Synthesize().run(ctx).key
    before = folder_files(ctx.store)
    folder = f"synthetic/{key[:12]}/records/wild-test"
    (name,) = ctx.store.list_files(folder)
    single = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(ctx.store.read_bytes(name))).slice(4, 1), single)
    ctx.store.atomic_write(f"{folder}/00000004-00000004.parquet", single.getvalue())
    ctx.store.remove(f"synthetic/{key[:12]}/wild-test/boxes.csv")
    Synthesize().run(ctx)
    assert folder_files(ctx.store) == before
