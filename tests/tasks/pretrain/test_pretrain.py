"""`make pretrain`: people of its own, a training that goes on where it was stopped, a file to start from."""

from pathlib import Path

import numpy as np
import pytest

from models.encoder_files import read_encoder
from schemas.errors import ConfigError
from schemas.splits import SYNTHETIC
from tasks.pretrain import work
from tasks.pretrain.__main__ import changed, main
from tasks.pretrain.people import BROAD, LEVEL, TEST, TRAIN, domains, make_people
from tasks.pretrain.settings import PretrainConfig, short
from tasks.synthesize.people import PERSON, stream


def quietly(text: str) -> None:
    """Says nothing."""


def test_no_campaign_has_any_of_the_people() -> None:
    """What is drawn for a picture comes of seed, domain, split and index: other domains are other people, whatever the
    seeds are."""
    config = PretrainConfig()
    assert {domain.name for domain in domains(config).values()} == {BROAD, LEVEL}
    assert not {BROAD, LEVEL} & {target.dataset for target in SYNTHETIC}
    drawn = set()
    names = [
        *((target.dataset, target.split) for target in SYNTHETIC),
        *((d, s) for d in (BROAD, LEVEL) for s in (TRAIN, TEST)),
    ]
    for domain, split in names:
        drawn |= {stream(seed, domain, split, 0, PERSON).integers(2**62) for seed in (0, config.seed)}
    assert len(drawn) == 2 * len(names)


def test_broad_people_are_seen_from_everywhere_and_level_ones_are_not(tmp_path: Path) -> None:
    config = short()
    broad, level = (make_people(config, domain, TRAIN, tmp_path, quietly) for domain in (BROAD, LEVEL))
    assert (len(broad), len(level)) == (config.broad, config.level)
    assert broad.pitch.std() > 10 > 4 > level.pitch.std()
    assert broad.crops.shape == (config.broad, 64, 64, 3)
    assert (np.abs(level.uvd[..., :2]) < 1).mean() > 0.9
    made = sorted(tmp_path.iterdir())
    times = [file.stat().st_mtime_ns for file in made]
    again = make_people(config, BROAD, TRAIN, tmp_path, quietly)
    assert (again.crops == broad.crops).all()
    assert [file.stat().st_mtime_ns for file in made] == times


@pytest.mark.slow
def test_a_stopped_pretraining_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedError(Exception):
        """The process ends here."""

    straight = work.pretrain(short(), tmp_path / "straight", 1, quietly)
    heard: list[str] = []

    def stop_at_20(text: str) -> None:
        heard.append(text)
        if text.startswith("step 20"):
            raise StoppedError

    with pytest.raises(StoppedError):
        work.pretrain(short(), tmp_path / "stopped", 1, stop_at_20)
    resumed = work.pretrain(short(), tmp_path / "stopped", 1, heard.append)
    assert "resumed at step 10" in heard
    assert resumed.to_bytes() == straight.to_bytes()


@pytest.mark.nightly
def test_a_short_pretraining_learns_and_its_file_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "encoder.safetensors"
    words = ["--output", str(file), "--work", str(tmp_path / "work"), "--threads", "1"]
    sizes = ["broad=1500", "level=800", "held_out=200", "optimiser.steps=400", "optimiser.checkpoint_every=200"]
    assert main([*words, *(part for size in sizes for part in ("--set", size))]) == 0
    said = capsys.readouterr().out
    found = read_encoder(file)
    assert f"encoder {found.digest}" in said
    measured = found.provenance["measured"]
    assert measured["broad_joints_px"] < 7
    losses = [
        float(line.split("broad ")[1].split(",")[0])
        for line in said.splitlines()
        if "step " in line and "broad " in line
    ]
    assert losses[-1] < 0.85 * losses[0]


def test_fields_are_set_by_their_names() -> None:
    assert changed(short(), ["optimiser.steps=7", "broad=9"]).optimiser.steps == 7
    for said, problem in (
        ("steps=7", "FIELD=VALUE is needed"),
        ("broad=none", "valid integer"),
        ("optimiser=1", "FIELD"),
    ):
        with pytest.raises(ConfigError, match=problem):
            changed(short(), [said])
