"""Encoders as files: the one that ships is whole, and what is not as it was written is refused in one line."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from models.condition import CompactBackbone, load_backbone
from models.encoder_files import SHIPPED_FILE, EncoderFile, encoder_digest, encoder_path, read_encoder
from schemas.config.networks import ConditionConfig
from schemas.errors import DamagedError, DataError

SMALL = ConditionConfig(widths=(8, 16, 16), blocks=(1, 1, 1), map_channels=8)


def encoder(seed: int = 0) -> EncoderFile:
    torch.manual_seed(seed)
    state = {name: value.numpy() for name, value in CompactBackbone(SMALL).state_dict().items()}
    return EncoderFile(SMALL, state, "Apache-2.0", {"command": "a test"})


def written(folder: Path, data: bytes) -> Path:
    file = folder / "encoder.safetensors"
    file.write_bytes(data)
    return file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = encoder()
    assert made.to_bytes() == made.to_bytes()
    found = read_encoder(written(tmp_path, made.to_bytes()))
    assert found.config == SMALL
    assert found.digest == made.digest != encoder(seed=1).digest
    assert found.provenance == {"command": "a test"}
    assert found.licence == "Apache-2.0"
    backbone = CompactBackbone(SMALL)
    load_backbone(backbone, found)
    assert all((value.numpy() == made.state[name]).all() for name, value in backbone.state_dict().items())


def test_a_file_that_was_changed_is_refused_in_one_line(tmp_path: Path) -> None:
    data = encoder().to_bytes()
    file = written(tmp_path, data[:-4] + struct.pack("<f", 0.25))
    with pytest.raises(DamagedError, match=r"its weights have digest [0-9a-f]{12}, not [0-9a-f]{12}\. Copy") as problem:
        read_encoder(file)
    assert "\n" not in str(problem.value)
    with pytest.raises(DamagedError, match="manifest does not have the digest"):
        read_encoder(written(tmp_path, data.replace(b"a test", b"A test")))
    with pytest.raises(DamagedError, match="damaged"):
        read_encoder(written(tmp_path, data[: len(data) // 2]))
    with pytest.raises(DamagedError, match="no safetensors file"):
        read_encoder(written(tmp_path, b"not one"))


def test_no_encoder_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no encoder .*none\.safetensors.*make pretrain"):
        read_encoder(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="is no encoder"):
        read_encoder(tmp_path)


def test_nan_is_neither_written_nor_read(tmp_path: Path) -> None:
    bad = encoder()
    bad.state["stem.0.weight"][0] = np.nan  # type: ignore[index]
    with pytest.raises(DataError, match=r"NaN or infinity in stem\.0\.weight"):
        bad.to_bytes()


def test_the_shipped_encoder_is_that_of_the_readme_and_of_the_default_sizes() -> None:
    found = read_encoder(SHIPPED_FILE)
    assert found.config == ConditionConfig()
    assert found.licence.startswith("Apache-2.0")
    assert found.provenance["command"] == "make pretrain"
    readme = SHIPPED_FILE.with_name("README.md").read_text(encoding="utf-8")
    assert re.search(rf"`{SHIPPED_FILE.name}`.*{found.digest[:16]}", readme), found.digest
    assert SHIPPED_FILE.stat().st_size < 4_000_000
    load_backbone(CompactBackbone(found.config), found)
    measured = found.provenance["measured"]
    assert measured["broad_joints_px"] < 2.5, "no stub: it finds joints in crops of people that it has not seen"
    assert encoder_digest("shipped") == found.digest


def test_words_for_encoders() -> None:
    assert encoder_path("train") is None
    assert encoder_digest("train") is None
    assert encoder_path("shipped") == SHIPPED_FILE
    assert encoder_path("some/file.safetensors") == Path("some/file.safetensors")
