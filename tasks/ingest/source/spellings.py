"""Paths of lists that name a picture in another spelling than the folder does: written on another system.

Windows separates folders by backslashes and takes .JPG for .jpg; macOS takes an accented letter apart into two signs.
Such a path means the one picture that is spelled alike otherwise; where several are, nothing says which.
"""

import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.ingest.source.folder import Folder, PicturePlace, RefusedError, is_picture, key_of


def blanks_refused(path: str) -> RefusedError:
    """The refusal of a path that begins or ends with blanks, as the name of a picture does that is there."""
    detail = f"{path!r} is there, and no picture's name may begin or end with a blank. Rename the file"
    return RefusedError("path not usable", detail)


def folded(path: str) -> str:
    """What is the same of all spellings of a path."""
    stem, ending = posixpath.splitext(posixpath.normpath(path.replace("\\", "/")))
    return unicodedata.normalize("NFC", stem + ending.lower())


def is_spelled(fs: Any, base: str, path: str) -> bool:
    """Whether a folder `base` has a file of this path in one of the usual spellings. Asks for each, without a list."""
    stem, ending = posixpath.splitext(path.replace("\\", "/"))
    endings = dict.fromkeys((ending, ending.lower(), ending.upper()))
    forms = dict.fromkeys((stem, *(unicodedata.normalize(form, stem) for form in ("NFC", "NFD"))))
    return any(fs.exists(posixpath.join(base, form + ending)) for form in forms for ending in endings)


@dataclass(frozen=True)
class Spellings:
    """Keys of a list that no picture has, each with the pictures that are spelled alike, if there are any."""

    alike: Mapping[str, tuple[str, ...]]

    def of(self, key: str) -> str | RefusedError:
        """The picture that a key of the list means: itself, where none is spelled alike; a refusal for several."""
        names = self.alike.get(key, ())
        if len(names) > 1:
            listed = " and ".join(map(repr, names[:3]))
            detail = f"there is no {key!r}; {listed} are there, and nothing says which it is"
            return RefusedError("picture missing", detail)
        return names[0] if names else key

    def in_words(self) -> str | None:
        """What to say of paths that were taken for another spelling, None where none was."""
        taken = [(key, names[0]) for key, names in self.alike.items() if len(names) == 1]
        if not taken:
            return None
        key, name = min(taken)
        return (
            f"{len(taken)} paths spell a picture in another way than the folder does, and were taken for it (such as "
            f"{key!r} for {name!r})."
        )


def spellings(missing: Iterable[str], names: Iterable[str]) -> Spellings:
    """How the keys of a list that are `missing` among the pictures' `names` are spelled there."""
    wanted: dict[str, list[str]] = {}
    for key in dict.fromkeys(missing):
        wanted.setdefault(folded(key), []).append(key)
    alike: dict[str, list[str]] = {}
    for name in names if wanted else ():
        same = folded(name)
        if same in wanted:
            alike.setdefault(same, []).append(name)
    return Spellings({key: tuple(sorted(spelled)) for same, spelled in alike.items() for key in wanted[same]})


def keys_in(folder: Folder, place: PicturePlace, paths: Iterable[str]) -> dict[str, str | RefusedError]:
    """The picture of the folder that each of a few paths means, or why none is meant. Lists it where one is missing."""
    keys: dict[str, str | RefusedError] = {}
    for path in paths:
        try:
            keys[path] = key_of(place, path)
        except RefusedError as refusal:
            keys[path] = refusal
    missing = [key for key in keys.values() if isinstance(key, str) and not folder.fs.exists(folder.path(key))]
    alike = spellings(missing, (name for name, _ in folder.files() if is_picture(name)) if missing else ())
    return {path: key if isinstance(key, RefusedError) else alike.of(key) for path, key in keys.items()}
