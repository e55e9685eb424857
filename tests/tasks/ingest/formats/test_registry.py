"""The list of formats, what they may be asked, and the look that tells them apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from tasks.ingest.formats.humandata.reader import HumanData
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.registry import checked_options, format_named, formats, reader_of
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.bodies import write_bodies
from tests.samples.coco import write_coco
from tests.samples.humandata import write_humandata
from tests.samples.neuralannot import write_neuralannot
from tests.samples.preferences import write_hypothesis_cache, write_pair_json, write_scorer_cache
from tests.samples.pw3d_pkl import write_pw3d_pkl
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people
from tests.samples.webdataset import write_webdataset
from tests.tasks.ingest.formats.mutations import broken, mutated


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(2)


def test_readers_are_found_by_name(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_humandata(people, tmp_path / "data")
    assert isinstance(reader_of(source, tmp_path / "work"), HumanData)
    with pytest.raises(ConfigError, match="there are humandata, scorehypo"):
        reader_of(AnnotationSource("cocoa", "x", "mine", "train"), tmp_path)
    others = {"humandata": "the options variant", "coco": "the options category", "dpo-json": "no options"}
    for name, options in others.items():
        with pytest.raises(ConfigError, match=f"no option 'sets'; it has {options}"):
            reader_of(AnnotationSource(name, source.url, "mine", "train", options={"sets": "x"}), tmp_path)


def test_options_are_checked_by_name_and_number() -> None:
    assert checked_options(format_named("video"), {"max_pixels": "100", "frames_as": "png"}) == {
        "max_pixels": 100,
        "frames_as": "png",
    }
    for value in ("0", "-3", "many", "1e9", ""):
        with pytest.raises(ConfigError, match="whole number"):
            checked_options(format_named("video"), {"max_pixels": value})
    with pytest.raises(ConfigError, match="it has no options"):
        checked_options(format_named("dpo-json"), {"every": "2"})
    assert all(set(known.whole) <= set(known.options) for known in formats().values())


def test_a_look_never_raises_at_bytes_gone_wrong(people: list[TruePerson], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sources = [
        write_humandata(people, tmp_path / "humandata"),
        write_hypothesis_cache(people, tmp_path / "multihypo", hypotheses=2),
        write_scorer_cache(people, tmp_path / "scored", hypotheses=2),
        write_coco(people, tmp_path / "coco"),
        write_pair_json(people, tmp_path / "pairs"),
        write_scorehypo(people, tmp_path / "3dpw", "3dpw"),
        write_neuralannot(people, tmp_path / "neuralannot"),
        write_webdataset(people, tmp_path / "tars"),
        *(write_bodies(people, tmp_path / kind, kind=kind) for kind in ("parquet", "npz", "jsonl")),
    ]
    sequences = write_pw3d_pkl(people, tmp_path / "sequences")
    sources.append(replace(sequences, url=f"{sequences.url}/downtown_walk_00.pkl"))
    whole = {source.url: Path(source.url).read_bytes() for source in sources}
    for _ in range(60):
        source = sources[int(random.integers(len(sources)))]
        target = Path(source.url).with_name(f"worse{Path(source.url).suffix}")
        target.write_bytes(broken(whole[source.url], random))
        seen = recognise(str(target))
        assert seen.candidates or seen.notes
        assert {each.format for each in seen.candidates} <= {source.format, "scorehypo", "coco"}


@pytest.mark.parametrize("write", [write_coco, write_pair_json, lambda people, at: write_scorehypo(people, at, "mpii")])
def test_a_look_never_raises_at_values_gone_wrong(write: Any, people: list[TruePerson], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    file = Path(write(people, tmp_path).url)
    content = json.loads(file.read_text())
    for _ in range(25):
        what, worse = mutated(content, random)
        file.write_text(json.dumps(worse))
        seen = recognise(str(file))
        assert seen.candidates or seen.notes, what
