"""WebDataset: tars of pictures with their labels beside, which share a name up to its first dot.

Labels are read where they lie, one at a time. The pictures of people become files in a folder that lasts, as frames of
videos do, because the tables name pictures that other stages open again; a picture that is there is not written anew.
"""

import math
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from models.restricted_pickle import load_restricted
from schemas.errors import ConfigError, DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.humandata.reader import files_of
from tasks.ingest.formats.humandata.variants import FOUND, REFUSED
from tasks.ingest.formats.json_rows import MISSING, UNREADABLE
from tasks.ingest.formats.sequences import sequence_files
from tasks.ingest.formats.webdataset.people import CROP_SCALE, KEYS, MOST_NUMBERS, has_body, people_of, person
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.source.files import local_file, open_url
from tasks.ingest.source.folder import PicturePlace, RefusedError, is_picture, key_of, printable
from tasks.ingest.source.json_stream import items
from tasks.ingest.source.npz_columns import Npz
from tasks.ingest.source.tars import Member, Sample, Tar

NAME: Final = "webdataset"
PICKLES: Final = ("data.pyd", "pyd", "data.pkl", "pkl", "pickle")
LABELS: Final = (*PICKLES[:2], "data.json", "json", "data.npz", "npz", *PICKLES[2:])
"""Endings of labels; of several the first counts."""
ARCHIVE: Final = "archive damaged"
SAMPLES_LOOKED_AT: Final = 20
_LARGEST_LABEL, _LARGEST_PICTURE = 1 << 26, 1 << 30
_VALUES: Final = 50_000
"""Values of a label beside its arrays."""
_KINDS: Final = ("pseudo", "gt")
_PLACES: Final = (FOUND, REFUSED)
_LATE: Final = (
    f"the first {SAMPLES_LOOKED_AT} samples of each tar have no body_pose, so no body files were asked for: give some "
    "of them one (with has_body_pose 0 where it is unknown)"
)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class WebDatasetReader:
    """The people of some tars, tar after tar, in the order of the samples. The URL is a tar, a folder of them, a
    pattern, or names with commas between. `options`: label_kind (pseudo or gt) and place (found or refused).

    `source.images` is the local folder that pictures are written to (default: `work`/images). It has to stay.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        fs, path = open_url(source.url)
        self.urls = sequence_files(source.url, ".tar", 1) if fs.isdir(path) else files_of(source.url)
        if not self.urls:
            raise DataError(f"{source.url} has no file *.tar.")
        self._kind = _choice(source, "label_kind", _KINDS)
        self._finds = _choice(source, "place", _PLACES) == FOUND
        if source.images is not None and "://" in source.images:
            raise DataError(f"Pictures of {source.url} can be written to a local folder only, not to {source.images}.")
        self.images = Path(source.images) if source.images is not None else work / "images"
        self._folders = _folders(self.urls)

    @cached_property
    def tars(self) -> list[Tar]:
        """By their headers. DataError for one that is no tar."""
        return [Tar(local_file(url, self.work, "tar"), printable(posixpath.basename(url))) for url in self.urls]

    def survey(self) -> Survey:
        """What the headers and the first labels show."""
        samples = sum(len(tar.samples) for tar in self.tars)
        rows = [row for _, row in self._first()]
        labelled = [row for row in rows if row.get("label_kind") is not None]
        endings = sorted({ending for tar in self.tars for sample in _begin(tar) for ending in sample.members})
        facts = {
            "samples": f"{samples} in {len(self.tars)} tars, with {printable(', '.join(endings[:8]))}",
            "labels": f"{self._kind}; {len(labelled)} of the first {len(rows)} people have one",
            "body model": "smpl, if any" if self.bodies else "none",
            "pictures": "written to the folder of pictures, where they have people",
            "every N": "counts samples",
        }
        remarks = []
        for tar in self.tars:
            if tar.broken is not None:
                remarks.append(f"{tar.name} is damaged, and was read as far as it goes: {tar.broken}.")
            if tar.others:
                remarks.append(f"{tar.name}: {tar.others} links, devices or files with holes are left alone.")
        if any("transl" not in row for row in labelled):
            remarks.append(
                "There is no transl: each person is put where the label fits its key-points, or else its box, best "
                "(placed_by in labels); --option place=refused lets them fail."
                if self._finds
                else "There is no transl, so nothing says where people are: they fail (--option place=found)."
            )
        return Survey(NAME, self.urls, None, str(self.images), facts, remarks, self.bodies)

    @cached_property
    def bodies(self) -> list[str]:
        """The kinds of bodies that the first labels speak of: those that `--body` is asked for."""
        return ["smpl"] if any(has_body(given) for given, _ in self._first()) else []

    def _first(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The people of each tar's first samples, as they are given and as rows."""
        for tar in self.tars:
            for sample in _begin(tar):
                yield from self._people(tar, sample)

    def usable(self) -> bool:
        """Whether some of the first samples' people can be used, as far as their labels show."""
        return any(row.get("reason") is None for _, row in self._first())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people; the pictures of those that can be used are written meanwhile."""
        return json_rows.in_batches(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        rows, samples = count(), count()
        for tar, folder in zip(self.tars, self._folders, strict=True):
            for sample in tar.samples.values():
                number = next(samples)
                taken = number % max(1, self.source.every) == 0
                written: str | RefusedError | None = None
                for given, row in self._people(tar, sample):
                    if has_body(given) and not self.bodies and row.get("reason") is None:
                        row |= {"reason": "body missing", "detail": _LATE}
                    row |= {"row": next(rows), "counts_as": number}
                    if taken and row.get("reason") is None:
                        with json_rows.refusal_in(row):
                            if written is None:
                                written = json_rows.or_refusal(self._write, tar, sample, folder)
                            if isinstance(written, RefusedError):
                                raise written
                            row["path"] = written
                    yield row
            if tar.broken is not None:
                row = json_rows.new_row(next(rows), tar.name, "box")
                yield row | {"counts_as": 0, "reason": ARCHIVE, "detail": f"what follows can't be read: {tar.broken}"}

    def _people(self, tar: Tar, sample: Sample) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The people of a sample as they are given, and as rows without number and path; one row that is refused for a
        label that can't be read."""
        where = f"{tar.name}, {printable(sample.key)}"
        whole = json_rows.new_row(0, where, "box", CROP_SCALE)
        label = json_rows.or_refusal(self._label, tar, sample)
        people = label if isinstance(label, RefusedError) else json_rows.or_refusal(people_of, label)
        if isinstance(people, RefusedError):
            yield None, whole | {"reason": people.reason, "detail": people.detail}
            return
        for place, given in enumerate(people):
            row = whole | {"origin": f"{where}, person {place}", "person": place}
            with json_rows.refusal_in(row):
                row |= person(given, self._kind, self._finds)
            yield given, row

    def _label(self, tar: Tar, sample: Sample) -> Any:
        """What the sample's label holds. RefusedError where it has none, or one that can't be read."""
        ending = next((each for each in LABELS if each in sample.members), None)
        if ending is None or ending in sample.twice:
            what = f"two members {ending}" if ending else f"no label ({', '.join(LABELS[:4])}, ...)"
            raise RefusedError(UNREADABLE if ending else MISSING, f"the sample has {what}")
        member = sample.members[ending]
        try:
            data = tar.read(member, _LARGEST_LABEL)
            if ending in PICKLES:
                return load_restricted(BytesIO(data), printable(member.name), most=_VALUES)
            return self._of_text(member, data) if ending.endswith("json") else self._of_npz(member, data)
        except DataError as error:
            raise RefusedError(UNREADABLE, str(error)) from error

    def _of_text(self, member: Member, data: bytes) -> Any:
        with tempfile.NamedTemporaryFile(dir=self._spool) as file:
            file.write(data)
            file.flush()
            try:
                return next(items(Path(file.name), ""), None)
            except DataError as error:
                raise DataError(str(error).replace(file.name, printable(member.name))) from error

    def _of_npz(self, member: Member, data: bytes) -> Any:
        """The arrays of an npz, of one person."""
        with tempfile.TemporaryDirectory(dir=self._spool) as folder:
            path = Path(folder) / "label.npz"
            path.write_bytes(data)
            npz = Npz(path, Path(folder) / "members", printable(member.name))
            known = [name for name in KEYS if name in npz]
            for name in known:
                numbers = math.prod(npz.header(name).shape)
                if numbers > MOST_NUMBERS:  # looked at before it is unpacked
                    raise DataError(f"{npz.name}, {name}: {numbers} numbers are far more than a person's.")
            return {name: npz.value(name) for name in known}

    @cached_property
    def _spool(self) -> Path:
        folder = self.work / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write(self, tar: Tar, sample: Sample, folder: str) -> str:
        """The path of the sample's picture below the folder of pictures, where it lies from now on.

        RefusedError for a sample without a picture, for one whose name leads elsewhere, and one that can't be read.
        """
        ending = next((each for each in sample.members if is_picture(f"a.{each}") and "." not in each), None)
        if ending is None or ending in sample.twice:
            what = f"two members {ending}" if ending else "no picture that is read here"
            raise RefusedError("picture missing", f"the sample has {what}")
        member = sample.members[ending]
        key_of(PicturePlace("", *self.source.target), member.name)  # refuses what leads elsewhere
        key = posixpath.join(folder, posixpath.normpath(member.name))
        target, root = self.images / key, os.path.realpath(self.images)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not f"{os.path.realpath(target.parent)}{os.sep}".startswith(f"{root.rstrip(os.sep)}{os.sep}"):
                raise RefusedError("path leaves the folder", f"{key}: a link in {self.images} leads elsewhere")
            data = tar.read(member, _LARGEST_PICTURE)
            if target.is_symlink() or not target.is_file() or target.read_bytes() != data:
                with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
                    file.write(data)
                os.replace(file.name, target)
        except DataError as error:
            raise RefusedError("picture truncated", str(error)) from error
        except OSError as error:
            raise DataError(f"The picture {target} can't be written: {error}") from error
        return key


def _begin(tar: Tar) -> Iterator[Sample]:
    return islice(tar.samples.values(), SAMPLES_LOOKED_AT)


def _folders(urls: list[str]) -> list[str]:
    """A folder for the pictures of each tar: its name, with a number where that is another's, too."""
    folders: list[str] = []
    for url in urls:
        name = _UNSAFE.sub("-", posixpath.basename(url).removesuffix(".tar")).strip(".-")[:100] or "tar"
        taken = sum(each == name or each.startswith(f"{name}~") for each in folders)
        folders.append(f"{name}~{taken}" if taken else name)
    return folders


def _choice(source: AnnotationSource, option: str, choices: tuple[str, ...]) -> str:
    value = str(source.options.get(option, choices[0]))
    if value not in choices:
        raise ConfigError(f"The option {option} is {' or '.join(choices)}, not {value!r}.")
    return value
