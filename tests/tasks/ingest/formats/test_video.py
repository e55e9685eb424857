"""Videos: frames as pictures, boxes by frame, and every way in which a video can be none."""

import csv
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pytest
from PIL import Image

from schemas.errors import DataError
from tasks.ingest.formats.video import frames as frames_module
from tasks.ingest.formats.video.reader import VideoReader
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource
from tests.samples.truth import TruePerson, true_people
from tests.samples.video import write_frames, write_video

COUNT = 6


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(COUNT)


@pytest.fixture
def source(people: list[TruePerson], tmp_path: Path) -> AnnotationSource:
    return write_video(people, tmp_path / "sample")


def rows_of(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    batches = list(VideoReader(source, work).batches())
    assert all(batch.schema.equals(ANNOTATIONS) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def boxes(source: AnnotationSource, rows: list[dict[str, Any]]) -> None:
    with Path(source.options["boxes"]).open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("frame_*"))


def test_frames_and_boxes_agree_with_the_truth(
    people: list[TruePerson], source: AnnotationSource, tmp_path: Path
) -> None:
    source = dataclasses.replace(source, options={**source.options, "frames_as": "png"})
    rows = rows_of(source, tmp_path / "work")
    images = Path(VideoReader(source, tmp_path / "work").survey().images)
    assert [row["counts_as"] for row in rows] == list(range(COUNT))
    for row, person in zip(rows, people, strict=True):
        assert row["reason"] is None
        np.testing.assert_allclose(row["box"], person.box)
        np.testing.assert_allclose([row["fx"], row["cx"], row["cy"]], person.intrinsics[[0, 2, 3]])
        assert (row["person"], row["crop_rule"], row["label_kind"]) == (0, "box", None)
        frame = np.asarray(Image.open(images / row["path"]))
        (tmp_path / "true.jpg").write_bytes(person.jpeg)
        true = np.asarray(Image.open(tmp_path / "true.jpg").convert("RGB"))
        np.testing.assert_array_equal(frame[: person.height, : person.width], true)


def test_survey_decodes_nothing(source: AnnotationSource, tmp_path: Path) -> None:
    survey = VideoReader(source, tmp_path / "work").survey()
    assert (survey.format, survey.rows, survey.images) == ("video", COUNT, str(tmp_path / "work" / "images"))
    assert survey.facts["frames"] == "6 by its header"
    assert not survey.remarks
    assert not pictures(tmp_path / "work")


def test_without_boxes_every_nth_frame_is_a_picture(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_video(people, tmp_path / "sample", every=2, boxes=False)
    survey = VideoReader(source, tmp_path / "work").survey()
    assert "NO BOXES" in survey.remarks[0]
    assert survey.rows == COUNT
    rows = rows_of(source, tmp_path / "work")
    assert [(row["counts_as"], row["box"], row["reason"]) for row in rows] == [(n, None, None) for n in range(COUNT)]
    assert [path.name for path in pictures(tmp_path / "work")] == [f"frame_{n:08d}.jpg" for n in (0, 2, 4)]


def test_frames_go_where_the_source_says(people: list[TruePerson], tmp_path: Path) -> None:
    source = dataclasses.replace(write_video(people, tmp_path / "sample"), images=str(tmp_path / "kept"))
    rows_of(source, tmp_path / "work")
    assert len(pictures(tmp_path / "kept" / "people")) == COUNT
    with pytest.raises(DataError, match="local folder only"):
        VideoReader(dataclasses.replace(source, images="s3://bucket/frames"), tmp_path / "work")


def test_only_frames_that_are_missing_are_written(
    source: AnnotationSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(source, tmp_path / "work")
    written = pictures(tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in written}
    written[2].unlink()
    assert rows_of(source, tmp_path / "work") == rows
    assert [path for path in written if path.stat().st_mtime_ns != before[path]] == [written[2]]
    # all there: nothing is decoded
    monkeypatch.setattr(frames_module.Frames, "_write", lambda *_: pytest.fail("a frame was written"))
    assert rows_of(source, tmp_path / "work") == rows


def test_frames_of_an_older_video_are_not_taken(
    people: list[TruePerson], source: AnnotationSource, tmp_path: Path
) -> None:
    rows_of(source, tmp_path / "work")
    first = pictures(tmp_path / "work")[0].read_bytes()
    write_video(people[::-1][:5], tmp_path / "sample")
    rows_of(source, tmp_path / "work")
    written = pictures(tmp_path / "work")
    assert len(written) == 5
    assert written[0].read_bytes() != first


def test_frames_of_two_videos_of_one_name_are_kept_apart(people: list[TruePerson], tmp_path: Path) -> None:
    first, second = (
        dataclasses.replace(write_video(people, tmp_path / name, boxes=False), images=str(tmp_path / "kept"))
        for name in ("a", "b")
    )
    rows_of(first, tmp_path / "work")
    with pytest.raises(DataError, match="Name another folder"):
        rows_of(second, tmp_path / "work")
    assert len(pictures(tmp_path / "kept")) == COUNT


def test_bad_rows_cost_themselves_alone(source: AnnotationSource, tmp_path: Path) -> None:
    good = {"frame": 1, "x": 1, "y": 2, "w": 30, "h": 40, "person": 0, "focal_px": ""}
    boxes(
        source,
        [
            good,
            {**good, "frame": 99},
            {**good, "frame": "one"},
            {**good, "frame": -1},
            {**good, "frame": 1e300},
            {**good, "w": "nan"},
            {**good, "w": 0},
            {**good, "focal_px": -5},
            {**good, "person": "x"},
            {**good, "person": 1},
        ],
    )
    rows = rows_of(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [
        None,
        "frame missing",
        *["row not readable"] * 3,
        "box not finite",
        "box without area",
        "camera not usable",
        "person not usable",
        None,
    ]
    assert [row["row"] for row in rows] == list(range(10))
    assert rows[1]["origin"] == "boxes.csv: row 2"
    assert "6 frames" in rows[1]["detail"]


def test_a_video_behind_a_url(source: AnnotationSource, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/videos/people.mp4", Path(source.url).read_bytes())
    remote = dataclasses.replace(source, url="memory://videos/people.mp4")
    assert rows_of(remote, tmp_path / "remote") == rows_of(source, tmp_path / "work")
    assert len(pictures(tmp_path / "remote")) == COUNT


def test_a_table_needs_frames_and_no_paths(source: AnnotationSource, tmp_path: Path) -> None:
    boxes(source, [{"path": "a.jpg", "x": 1, "y": 2, "w": 30, "h": 40}])
    with pytest.raises(DataError, match="lacks the columns frame"):
        VideoReader(source, tmp_path / "work")


def test_decoding_ends_with_the_last_frame_that_is_wanted(source: AnnotationSource, tmp_path: Path) -> None:
    boxes(source, [{"frame": 1, "x": 1, "y": 2, "w": 30, "h": 40}])
    rows_of(source, tmp_path / "work")
    about = json.loads((tmp_path / "work" / "images" / "people" / "video.json").read_text())
    assert (about["count"], about["complete"]) == (2, False)
    assert len(pictures(tmp_path / "work")) == 1
    boxes(source, [{"frame": 5, "x": 1, "y": 2, "w": 30, "h": 40}])
    assert rows_of(source, tmp_path / "work")[0]["reason"] is None


def test_turned_frames_come_upright(people: list[TruePerson], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:32, :32] = 255  # top left
    write_frames(tmp_path / "a.mp4", [wide])
    # a display matrix can't be written with PyAV; it says: turn by so many degrees counter-clockwise
    original = frames_module.Frames._write

    class Turned:
        def __init__(self, frame: Any) -> None:
            self.width, self.height, self.rotation, self.to_ndarray = frame.width, frame.height, -90, frame.to_ndarray

    monkeypatch.setattr(frames_module.Frames, "_write", lambda self, frame, n: original(self, Turned(frame), n))
    source = AnnotationSource("video", str(tmp_path / "a.mp4"), "a", "train", options={"frames_as": "png"})
    rows_of(source, tmp_path / "work")
    frame = np.asarray(Image.open(pictures(tmp_path / "work")[0]))
    assert frame.shape == (128, 64, 3)
    assert frame[:32, 32:].min() > 200  # top right, after a quarter clockwise
    assert frame[:32, :32].max() < 50


def test_large_frames_are_refused_before_they_are_decoded(source: AnnotationSource, tmp_path: Path) -> None:
    limited = dataclasses.replace(source, options={**source.options, "max_pixels": 128 * 128 - 1})
    with pytest.raises(DataError, match="pixels"):
        VideoReader(limited, tmp_path / "work")
    VideoReader(dataclasses.replace(source, options={**source.options, "max_pixels": 128 * 128}), tmp_path / "work")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\0" * 5000,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile people.mp4\n",
    ],
    ids=["empty", "text", "zeros", "playlist", "concat"],
)
def test_what_is_no_video_is_one_message(source: AnnotationSource, tmp_path: Path, content: bytes) -> None:
    file = Path(source.url).with_name("other.mp4")
    file.write_bytes(content)
    with pytest.raises(DataError, match="can't be read as a video") as caught:
        VideoReader(dataclasses.replace(source, url=str(file)), tmp_path / "work")
    assert str(file) in str(caught.value)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="no video stream"):
        VideoReader(AnnotationSource("video", str(tmp_path / "a.mp4"), "a", "train"), tmp_path / "work")


def test_without_pyav_it_is_said_what_to_install(
    source: AnnotationSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"adhmr-engine\[video\]"):
        VideoReader(source, tmp_path / "work")


def test_a_truncated_video_keeps_its_first_frames(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_video(people, tmp_path / "sample", boxes=False, name="people.mkv")
    data = Path(source.url).read_bytes()
    Path(source.url).write_bytes(data[: len(data) // 2])
    rows = rows_of(source, tmp_path / "work")
    good = [row for row in rows if row["reason"] is None]
    assert 0 < len(good) < COUNT
    assert {row["reason"] for row in rows} <= {None, "frame missing", "frame damaged"}
    assert len(pictures(tmp_path / "work")) >= len(good)


def test_mutated_videos_raise_nothing_but_data_errors(people: list[TruePerson], tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    random = np.random.Generator(np.random.PCG64(0))
    for name in ("people.mp4", "people.mkv"):
        source = write_video(people, tmp_path / "sample", boxes=False, name=name)
        good = Path(source.url).read_bytes()
        for number in range(25):
            data = bytearray(good)
            if number % 3 == 0:
                del data[random.integers(len(data)) :]
            # the header of a Matroska file stands at the beginning, that of an MP4 at the end
            near = slice(0, 1000) if name.endswith("mkv") else slice(-1500, None)
            places = np.arange(len(data))[near if number % 3 == 1 else slice(None)]
            for place in random.choice(places, size=4):
                data[place] = random.integers(256)
            Path(source.url).write_bytes(bytes(data))
            try:
                rows = rows_of(source, tmp_path / f"work-{name}-{number}")
            except DataError:
                ends["refused"] += 1
            else:
                assert [row["row"] for row in rows] == list(range(len(rows)))
                ends["read"] += 1
    assert min(ends["read"], ends["refused"]) > 3
