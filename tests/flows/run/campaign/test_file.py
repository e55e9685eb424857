"""The campaign file: each value with its line, by path, URL or mapping; what can't be one is refused in a line."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.run.campaign.file import _named, read_campaign_file
from schemas.errors import ConfigError
from schemas.layers import Setting, assemble

TEXT = """\
profile: micro   # of three
campaign: my-faces
align:
  beta: 1e-1
  optimiser: {steps: 4, learning_rate: 2.0e-4}
ray:
# actors: 3
"""


def test_values_come_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    read = read_campaign_file(str(file))
    assert read.text == TEXT
    assert read.settings == (
        Setting("profile", "micro", "mine.yaml line 1"),
        Setting("campaign", "my-faces", "mine.yaml line 2"),
        Setting("align.beta", "1e-1", "mine.yaml line 4"),
        Setting("align.optimiser.steps", 4, "mine.yaml line 5"),
        Setting("align.optimiser.learning_rate", 2e-4, "mine.yaml line 5"),
        Setting("ray", None, "mine.yaml line 6"),
    )
    config = assemble(read.settings).config
    assert (config.align.beta, config.ray.actors) == (0.1, None)


def test_by_url_in_another_encoding_and_as_a_mapping(tmp_path: Path) -> None:
    with fsspec.open("memory://campaigns/mine.yaml", "wb") as file:
        file.write(TEXT.encode("utf-16"))
    values = [setting[:2] for setting in read_campaign_file("memory://campaigns/mine.yaml").settings]
    assert _named("https://place/mine.yaml?token=secret") == "mine.yaml"
    mapping: dict[str, Any] = yaml.safe_load(TEXT)
    read = read_campaign_file(mapping)
    assert [setting[:2] for setting in read.settings] == values
    assert {setting.origin for setting in read.settings} == {"config"}
    assert yaml.safe_load(read.text) == mapping


def test_merged_mappings_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train_base: &few\n  batch_images: 8\nalign:\n  <<: *few\n  beta: 3\n")
    assert [setting[:2] for setting in read_campaign_file(str(file)).settings] == [
        ("train_base.batch_images", 8),
        ("align.batch_images", 8),
        ("align.beta", 3),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("align: {beta: 3, beta: 4}", "line 1, column 18: 'beta' is there twice"),
        ("align:\n  beta: 3\nseed: 1\nalign:\n  anchor: 3", "line 4, column 1: 'align' is there twice"),
        ("align: [3", "mine.yaml line 1, column 10: while parsing a flow sequence expected"),
        ("- align\n- beta", "is no campaign file"),
        ("align.beta", "is no campaign file"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: \x07", "special characters are not allowed"),
        ("? [a, b]\n: 3", "is no name"),
    ],
)
def test_what_is_no_campaign_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_campaign_file(str(file))
    assert "\n" not in str(error.value)


def test_a_file_that_unpacks_itself_is_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    names = "abcdefghij"
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    (file := tmp_path / "mine.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="more than 100000 values"):
        read_campaign_file(str(file))
    file.write_text("a: &a\n  b: *a\n")
    with pytest.raises(ConfigError):
        read_campaign_file(str(file))


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\xd8\xff")
    for name, message in (("none.yaml", "is not there"), ("pipe", "pipe"), ("bytes", "no text"), (".", "folder")):
        with pytest.raises(ConfigError, match=message):
            read_campaign_file(str(tmp_path / name))


@given(st.binary(max_size=200) | st.text("ab:[]{}&*!|>-?#,'\" \n\t0<%@", max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(data)
    try:
        read = read_campaign_file(str(file))
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the error is one of two good ends
    else:
        assert all(isinstance(setting.field, str) for setting in read.settings)
