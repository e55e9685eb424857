"""How to recognise Human3.6M as OSX has it: by the names of its files, four for each subject."""

import posixpath
from collections.abc import Iterator, Set
from dataclasses import replace

from tasks.ingest.formats.look import Candidate, FolderLook, JsonLook, Look
from tasks.ingest.formats.osx_h36m.reader import DATA_FILE, NAME, SUBJECTS, SUFFIXES, file_name
from tasks.ingest.source.files import open_url
from tasks.ingest.source.text_files import without_gz


def recognise(look: Look) -> Iterator[Candidate]:
    """Of a folder, and of one with such files in its folder annotations; or the subject of one file."""
    if isinstance(look, JsonLook) and DATA_FILE.fullmatch(look.name):
        subjects = _whole(look, look.folder, {without_gz(look.name)})
        if subjects:
            yield replace(look.candidate(NAME, _why(subjects)), split=_split(subjects))
    elif isinstance(look, FolderLook):
        for folder, names in ((look.url, look.names), (f"{look.url}/annotations", look.inner)):
            look.taken |= {f"{folder}/{name}" for name in names if "Human36M_subject" in name}
            subjects = _whole(look, folder, names)
            if subjects:
                split = _split(subjects)
                usual = split is not None and tuple(subjects) == SUBJECTS[split]
                options = {} if usual else {"subjects": ",".join(map(str, subjects))}
                yield Candidate(NAME, folder, _why(subjects), look.looker.images, options, split)


def _whole(look: Look, folder: str, names: Set[str]) -> list[int]:
    """The subjects in a folder that have all four files."""
    subjects = []
    for subject in sorted({int(match[2]) for name in names if (match := DATA_FILE.fullmatch(name))}):
        fs, path = open_url(folder)
        wanted = [file_name(subject, kind) for kind in SUFFIXES]
        missing = [name for name in wanted if not fs.exists(posixpath.join(path, name))]
        if missing:
            look.say(f"Subject {subject} of Human3.6M lacks {', '.join(missing)} in {folder}.")
        else:
            subjects.append(subject)
    return subjects


def _why(subjects: list[int]) -> str:
    return f"the four json files of Human3.6M's subjects {','.join(map(str, subjects))}"


def _split(subjects: list[int]) -> str | None:
    return next((name for name, usual in SUBJECTS.items() if set(subjects) <= set(usual)), None)
