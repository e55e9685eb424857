"""Human3.6M as OSX has it."""

import posixpath
from collections.abc import Iterator, Set

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FolderLook, JsonLook, Look
from tasks.ingest.formats.osx_h36m.reader import DATA_FILE, NAME, SUBJECTS, SUFFIXES, OsxHuman36mReader, file_name
from tasks.ingest.source.files import open_url
from tasks.ingest.source.text_files import without_gz


def recognise(look: Look) -> Iterator[Candidate]:
    """By the names of its files: those of a folder, and of its folder annotations; or those of one file's subject."""
    if isinstance(look, JsonLook) and DATA_FILE.fullmatch(look.name):
        yield from _subjects(look, look.url, look.folder, {without_gz(look.name)})
    elif isinstance(look, FolderLook):
        for folder, names in ((look.url, look.names), (f"{look.url}/annotations", look.inner)):
            look.taken |= {f"{folder}/{name}" for name in names if "Human36M_subject" in name}
            yield from _subjects(look, folder, folder, names)


def _subjects(look: Look, url: str, folder: str, names: Set[str]) -> Iterator[Candidate]:
    """The subjects in a folder that have all four files, if any has."""
    fs, path = open_url(folder)
    whole = []
    for subject in sorted({int(match[2]) for name in names if (match := DATA_FILE.fullmatch(name))}):
        wanted = [file_name(subject, kind) for kind in SUFFIXES]
        missing = [name for name in wanted if not fs.exists(posixpath.join(path, name))]
        if missing:
            look.say(f"Subject {subject} of Human3.6M lacks {', '.join(missing)} in {folder}.")
        else:
            whole.append(subject)
    if whole:
        listed = ",".join(map(str, whole))
        split = next((name for name, usual in SUBJECTS.items() if set(whole) <= set(usual)), None)
        usual = url != folder or tuple(whole) in SUBJECTS.values()
        options = {} if usual else {"subjects": listed}
        why = f"the four json files of Human3.6M's subjects {listed}"
        yield Candidate(NAME, url, why, look.looker.images, options, split)


FORMAT = Format(
    NAME,
    "Human3.6M as OSX has it: four json files for each subject, with SMPL-X bodies",
    "people",
    OsxHuman36mReader,
    recognise,
    {"subjects": "such as 9,11; by default those of the split", "cameras": "such as 4, or all"},
    documentation="Human3.6M as OSX has it: four json files for each subject",
    dataset="human36m",
    rank=2,
)
