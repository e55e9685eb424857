"""doctor for data: what format a source is in, and what an ingest would take of it. Nothing is written to a store."""

import posixpath
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from flows.doctor.labels import examine_labels
from infra.deep import Finding, Level
from schemas.config.stages import IngestConfig
from schemas.errors import EngineError
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.registry import format_named, formats, reader_of
from tasks.ingest.image.reading import check_size, read_picture
from tasks.ingest.people.annotations import AnnotationSource, Reader
from tasks.ingest.source.folder import LEFT_OUT, Folder, PicturePlace, RefusedError, key_of, printable
from tasks.ingest.source.spellings import keys_in

ROWS = 1000
"""Rows that are looked at."""
_SHOWN = 3
_PICTURES_LOOKED_FOR = 20
_FLAGS = ("boxes", "labels", "as")
"""Options that have a flag of their own."""
_SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation", "test": "test"}


def examine_data(
    url: str,
    name: str | None = None,
    images: str | None = None,
    body: str | None = None,
    config: IngestConfig | None = None,
    *,
    follow_links: str | None = None,
) -> Iterator[Finding]:
    """What is at `url`, looked at as the format `name` if given, else as the likeliest; and the command to go on with.
    `body` poses labels that are parameters of bodies, as in an ingest; without it the free body is tried.
    `follow_links` as an ingest takes it.

    Findings with the level problem say why nothing of it could be ingested.
    """
    try:
        recognised = recognise(url, images, follow_links)
        chosen = _chosen(url, name, images, recognised.candidates)
        level: Level = "problem" if chosen is None else "note"
        for note in recognised.notes:
            yield Finding("data", level, note)
        if chosen is None:
            yield Finding("formats", "note", "; ".join(f"{each.name}: {each.title}" for each in formats().values()))
            return
        kind = format_named(chosen.format)
        yield Finding("format", "good", f"{kind.name}: {chosen.why}")
        for other in recognised.candidates:
            if other != chosen and (other.format, other.url) != (chosen.format, chosen.url):
                yield Finding("or", "note", f"{other.url} with --format {other.format}: {other.why}")
        yield from _read(chosen, kind, body, config or IngestConfig(), follow_links)
    except EngineError as error:
        yield Finding("data", "problem", str(error))
    except OSError as error:
        yield Finding("data", "problem", f"{url} can't be read: {error}")


def _chosen(url: str, name: str | None, images: str | None, candidates: Sequence[Candidate]) -> Candidate | None:
    if name is None:
        return candidates[0] if candidates else None
    fitting = [each for each in candidates if each.format == format_named(name).name]
    if fitting:
        return fitting[0]
    return Candidate(name, url, "as you say", None if format_named(name).brings == "pictures" else images)


def _read(
    chosen: Candidate, kind: Format, body: str | None, config: IngestConfig, follow_links: str | None
) -> Iterator[Finding]:
    dataset, split = _names(chosen)
    with tempfile.TemporaryDirectory(prefix="adhmr-doctor-") as work:
        source = AnnotationSource(
            kind.name,
            chosen.url,
            dataset,
            split,
            chosen.images,
            options=chosen.options,
            follow_links=follow_links,
        )
        reader = reader_of(source, Path(work))
        survey = reader.survey()
        variant = re.search(r"\((.+)\)$", survey.format)
        if variant:
            yield Finding("variant", "good", variant[1])
            dataset = _name(variant[1])
        files = ", ".join(survey.files[:5]) + (f" and {len(survey.files) - 5} more" if len(survey.files) > 5 else "")
        if files:
            yield Finding("files", "good", files)
        each = ", one for each person" if kind.brings == "pictures" else ""
        yield Finding("rows", "good", "known once they are read" if survey.rows is None else f"{survey.rows:,}{each}")
        for name, text in survey.facts.items():
            yield Finding(name, "good", printable(text))
        for remark in survey.remarks:
            yield Finding("remark", "note", printable(remark))
        if kind.makes_pictures:
            yield Finding("rows", "note", "not looked at one by one: that would write its pictures")
            body, findings = examine_labels([], survey, body, config)
            yield from findings
        else:
            rows = _first(reader)
            if kind.brings in ("people", "bodies"):
                body, findings = examine_labels(rows, survey, body, config)
                yield from findings
            yield from _rows(rows)
            if survey.images:
                yield from _pictures(rows, PicturePlace(survey.images, dataset, split), follow_links)
            elif kind.brings == "people":
                yield Finding("pictures", "problem", "where they are isn't known: say it with --images")
    if kind.brings == "pairs":
        yield Finding("next", "note", "ingest their people first, and name the data set and split of these here")
    yield _next(chosen, dataset, split, follow_links, body)


def _first(reader: Reader) -> list[dict[str, Any]]:
    rows = (row for batch in reader.batches() for row in batch.to_pylist() if row["reason"] not in LEFT_OUT)
    return list(islice(rows, ROWS))


def _rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """How many of the first rows can be used as far as that shows before a picture is opened, and why others can't."""
    bad = Counter(row["reason"] for row in rows if row["reason"] is not None)
    usable = len(rows) - bad.total()
    looked = f"{usable:,} of the first {len(rows):,} can be used as far as the file shows"
    yield Finding("usable", "good" if not bad else "note" if usable else "problem", looked)
    for reason, count in bad.most_common():
        first = next(row for row in rows if row["reason"] == reason)
        where = _named(first, printable(str(first["detail"])))
        yield Finding("failed", "note", f"{count:,} x {reason}; the first is {where}")
    for row in islice((row for row in rows if row["reason"] is None), _SHOWN):
        yield Finding("row", "good", printable(_named(row, _in_words(row))))


def _named(row: Mapping[str, Any], text: str) -> str:
    return f"{printable(row['origin'])}: {text}" if row["origin"] else text


def _in_words(row: Mapping[str, Any]) -> str:
    """A row, in a few words; of the columns that its form has."""
    words = [str(row.get("path") or row.get("img_path") or row.get("crop") or "no path")]
    if row.get("img_idx") is not None:
        words.append(f"img_idx {row['img_idx']}")
    if row.get("box") is not None:
        words.append("box " + " ".join(f"{value:.4g}" for value in row["box"]))
    elif "box" in row:
        words.append("the whole picture is the box")
    focal = row.get("fx") or row.get("focal_px")
    if focal is not None:
        words.append(f"focal length {focal:.5g} px")
    if row.get("label_kind") is not None:
        words.append(" ".join(filter(None, [row["label_kind"], row["body_model"] or "key-points", row["gender"]])))
    if row.get("count") is not None:
        words.append(f"{row['count']} hypotheses")
    return ", ".join(words)


def _pictures(rows: Sequence[Mapping[str, Any]], place: PicturePlace, follow_links: str | None) -> Iterator[Finding]:
    """Whether pictures are where the rows say, and can be used; only the first of them are looked at."""
    good = [row for row in rows if row["reason"] is None]
    first: dict[str, Mapping[str, Any]] = {}
    for row in good:
        path = row.get("path") or row.get("crop")
        if path and len(first) < _PICTURES_LOOKED_FOR:
            first.setdefault(path, row)
    if not first:
        return
    folder = Folder(place.images, follow_links)
    keys = keys_in(folder, place, first)
    refusals = {path: _look(folder, key, first[path]) for path, key in keys.items()}
    missing = [path for path, why in refusals.items() if why and (why is keys[path] or why.reason == "picture missing")]
    unusable = {path: why for path, why in refusals.items() if why and path not in missing}
    respelled = {path: key for path, key in keys.items() if isinstance(key, str) and key != key_of(place, path)}
    count, where = len(first), place.images
    bad: Level = "problem" if len(missing) + len(unusable) == count else "note"
    if missing:
        text = f"{len(missing)} of the first {count} are not in {where}, such as {printable(missing[0])}"
        yield Finding("pictures", bad, text + ("; say with --images where they are" if bad == "problem" else ""))
    if unusable:
        refusal = next(iter(unusable.values()))
        text = f"{len(unusable)} of the first {count} can't be used; the first: {printable(str(refusal))}"
        yield Finding("pictures", bad, text)
    if respelled:
        path, key = next(iter(respelled.items()))
        text = f"{len(respelled)} of the first {count} are spelled in another way there, such as {key!r} for {path!r}"
        yield Finding("pictures", "note", text)
    if not missing and not unusable:
        yield Finding("pictures", "good", f"the first {count} are in {where}")


def _look(folder: Folder, key: str | RefusedError, row: Mapping[str, Any]) -> RefusedError | None:
    """Why a picture could not be ingested, None if it could."""
    if isinstance(key, RefusedError):
        return key
    try:
        photograph = read_picture(folder, key, IngestConfig().max_pixels)
        check_size((row.get("width_px"), row.get("height_px")), photograph, key)
    except RefusedError as refusal:
        return refusal
    return None


def _next(chosen: Candidate, dataset: str, split: str, follow_links: str | None, body: str | None = None) -> Finding:
    """The command that ingests what was looked at."""
    words = ["adhmr", "ingest", "--format", chosen.format, "--source", chosen.url]
    words += ["--dataset", dataset, "--split", split]
    for flag, value in (("--images", chosen.images), ("--body", body), ("--follow-links", follow_links)):
        words += [] if value is None else [flag, value]
    for name, value in chosen.options.items():
        words += [f"--{name}", value] if name in _FLAGS else ["--option", f"{name}={value}"]
    return Finding("next", "good", shlex.join(words))


_NAMES_OF = {"Human3.6M": "human36m", "GTA-Human II": "gta-human2"}
"""Data sets whose usual names have other letters."""


def _names(chosen: Candidate) -> tuple[str, str]:
    """A data set and a split, as far as the URL tells."""
    parts = chosen.url.rstrip("/").split("/")[-2:]
    words = [word for part in reversed(parts) for word in re.split(r"[^a-z]+", part.lower())]
    split = chosen.split or next((_SPLITS[word] for word in words if word in _SPLITS), "train")
    return format_named(chosen.format).dataset or _name(posixpath.splitext(parts[-1])[0]), split


def _name(text: str) -> str:
    """`text` as the name of a data set: the usual one, where there is one."""
    return _NAMES_OF.get(text) or re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:100] or "mine"
