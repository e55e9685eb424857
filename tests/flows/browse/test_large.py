"""A million pairs: how soon the first page comes, how long a filter takes, and what the server holds in memory."""

import re
import subprocess
import sys
import time
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import numpy as np
import psutil
import pytest

from infra import reviews
from infra.reviews import PairName, Review
from infra.services import free_port
from infra.shards import Tally, cut, receipts, write_shard
from infra.stages import StageSpec, commit
from infra.store import Store
from infra.tables import read
from schemas.tables import build
from tasks.review.worklist import SAMPLINGS

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
PEOPLE, SAMPLES, EACH = 250_000, 4, 4
NAME = ("pair_set", "instance_id", "winner", "loser")
FIRST_SECONDS, SECONDS, LIST_SECONDS, MEGABYTES = 1.0, 0.5, 3.0, 500


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Scores and pairs of many people, in shards of the usual size; poses are zeros, which take little room."""
    store = Store.open(tmp_path_factory.mktemp("large") / "store")
    ids = [f"wild/train/{number:07d}#0" for number in range(PEOPLE)]
    drawn = StageSpec("generate", 1, {"targets": ["wild/train"]}, campaign="large", in_round=1)
    scored = StageSpec("score", 1, {}, reads=(drawn.key,), campaign="large", in_round=1)
    paired = StageSpec(
        "pair", 1, {"pair": {"strategy": "top_bottom"}}, reads=(drawn.key, scored.key), campaign="large", in_round=1
    )
    rng = np.random.default_rng(0)
    zeros = {
        f"{end}_{name}": np.zeros((EACH * 250, length), np.float32)
        for end in ("winner", "loser")
        for name, length in (("uvd", 87), ("twist", 46), ("betas", 10))
    }
    for spec, table in ((scored, "scores"), (paired, "pairs")):
        shards = cut(ids, 250)
        for shard in shards:
            names = np.repeat(shard.ids, EACH).tolist()
            score = rng.random(len(names))
            about = {"generation_id": drawn.key, "instance_id": names, "round": 1, "stage_key": spec.key}
            if table == "scores":
                rows = {
                    "sample_index": np.tile(np.arange(SAMPLES, dtype=np.int32), len(shard.ids)),
                    "scorer": "s",
                    "score": score,
                }
            else:
                places = np.tile(np.arange(EACH, dtype=np.int32), len(shard.ids))
                margin = rng.random(len(names))
                rows = {
                    "pair_set": spec.key,
                    "winner": places,
                    "loser": places + EACH,
                    "winner_score": score,
                    "loser_score": score - margin,
                    "winner_rank": places,
                    "loser_rank": places + EACH,
                    "margin": margin,
                    "strategy": "top_bottom",
                    "dataset": "wild",
                    **{name: values[: len(names)] for name, values in zeros.items()},
                }
            write_shard(
                store,
                spec.key,
                shard,
                {table: build(table, {**about, **rows})},
                Tally(ok=len(shard.ids)),
                stage=spec.name,
            )
        files = [file for receipt in receipts(store, spec.key, shards).values() for file in receipt.files]
        commit(store, spec, {table: files}, len(ids), Tally(ok=len(ids)))
    return store


def test_a_million_pairs(large: Store) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "browse", "--store", large.url, "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as server:
        try:
            assert server.stdout is not None
            link = next(line.strip() for line in server.stdout if "token=" in line)
            ask = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar())).open

            def timed(url: str) -> tuple[float, str]:
                began = time.monotonic()
                text = ask(url).read().decode()
                return time.monotonic() - began, text

            base = link.split("/?")[0]
            seconds, _ = timed(link)
            assert seconds < FIRST_SECONDS
            seconds, page = timed(f"{base}/pairs")
            print(f"first page of pairs: {seconds:.2f} s")
            assert seconds < FIRST_SECONDS
            assert f"of {PEOPLE * EACH:,} pairs" in page
            pair = PairName(*(read(large, "pairs", ids=["wild/train/0000007#0"]).to_pylist()[0][name] for name in NAME))
            reviews.add(large, [Review(pair, "anna", reviews.SWAP)])
            for asked in (
                {"said": "swap", "by": "anna"},
                {"said": "open", "sort": "margin"},
                {"sort": "margin"},
                {"sort": "-winner", "margin_from": "0.3", "margin_to": "0.6"},
                {"find": "0099", "sort": "name"},
                {"score_from": "0.99"},
            ):
                seconds, page = timed(f"{base}/pairs?{urlencode(asked)}")
                print(f"{asked}: {seconds:.2f} s")
                assert seconds < SECONDS
                following = re.search(r'rel="next" href="([^"]+)"', page)
                if following:
                    seconds, _ = timed(base + following[1].replace("&amp;", "&"))
                    assert seconds < SECONDS
            ask(Request(f"{base}/judge/name", b"reviewer=anna", {"Origin": base})).read()
            for how in SAMPLINGS:
                seconds, page = timed(f"{base}/judge?{urlencode({'sampling': how})}")
                print(f"list {how}: {seconds:.2f} s")
                assert "Pair 1 of 20" in page
                assert seconds < LIST_SECONDS
            tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            held = max(process.memory_info().rss for process in tree) / 2**20
            print(f"memory: {held:.0f} MiB")
            assert held < MEGABYTES
        finally:
            server.terminate()
