"""What formats a path or URL could be in, by its content. This never raises: what can't be read becomes a note."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tasks.ingest.formats.look import (
    Candidate,
    FileLook,
    FolderLook,
    JsonLook,
    LinesLook,
    Look,
    Looker,
    NpzLook,
    PickleLook,
    TableLook,
    TarLook,
)
from tasks.ingest.formats.registry import formats
from tasks.ingest.people.boxes import REQUIRED
from tasks.ingest.source.folder import is_picture, printable


@dataclass(frozen=True)
class Recognition:
    """The ways to read a URL, the likeliest first, and what could not be read or recognised, a sentence each."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def recognise(url: str, images: str | None = None, follow_links: str | None = None) -> Recognition:
    """What formats the file or folder at `url` could be in; `images` is the folder of its pictures, if it is known.
    `follow_links` as `Folder` takes it.

    Reads beginnings, headers and a few rows; remote files are copied to a temporary folder for that.
    """
    with tempfile.TemporaryDirectory(prefix="adhmr-look-") as work:
        looker = Looker(_ask, images, Path(work), follow_links)
        candidates = looker.at(url).candidates
    return Recognition(tuple(candidates), tuple(dict.fromkeys(looker.notes)))


def _ask(look: Look) -> None:
    """Ask all formats, the more particular first, for their candidates."""
    for kind in formats().values():
        with look.looker.noting(look.url):
            for candidate in kind.recognise(look):
                look.candidates.append(candidate)
    if not look.settled:
        look.looker.notes += look.doubts or _of_none(look)
    look.candidates = _with_inner(look)


def _with_inner(look: Look) -> list[Candidate]:
    """The candidates of a look; of a folder the particular ones, those in its files, and those of its pictures."""
    if not isinstance(look, FolderLook):
        return look.candidates
    own = {each.format for each in look.candidates}
    first = [each for each in look.candidates if formats()[each.format].brings != "pictures"]
    last = [each for each in look.candidates if each not in first]
    return [*first, *(each for each in look.within if each.format not in own), *last]


def _of_none(look: Look) -> list[str]:
    """What to say of something that no format reads."""
    url = look.url
    match look:
        case NpzLook():
            return [_archive(url, look.npz.names)]
        case JsonLook():
            what = "an object without a list annotations" if look.container else "a list without objects"
            return [f"{url} is {what}: none of the formats here."]
        case TableLook():
            shown = printable(", ".join(look.columns[:20])) or "none"
            return [f"{url} is {look.what} with the columns {shown}; one of boxes has {', '.join(REQUIRED)}."]
        case TarLook():
            return [look.words]
        case PickleLook():
            shown = printable(", ".join(sorted(look.keys)[:12])) or "nothing"
            return [f"{url} is a pickle of none of the formats here; it holds {shown}. Save it as npz or json."]
        case LinesLook():
            shown = printable(", ".join(look.keys[:20])) or "none"
            return [f"{url} is json lines with the keys {shown}: no format here."]
        case FileLook():
            return [f"{url} is no npz, json, table, picture or video."]
    return []


def _archive(url: str, members: tuple[str, ...]) -> str:
    name = printable(url.rpartition("/")[2])
    first = ", ".join(printable(member) for member in members[:12]) or "nothing"
    pictures = sum(map(is_picture, members))
    if any(member.endswith("data.pkl") for member in members):
        return f"{url} is a file of PyTorch's: `adhmr doctor --checkpoint` says what is in it."
    if pictures:
        return (
            f"{url} is a zip archive with {pictures} pictures ({first}), which is not read as it is: unpack it "
            f"(unzip {name} -d {name.removesuffix('.zip') or 'pictures'}), and ingest that folder."
        )
    return f"{url} is an npz of none of the formats here; it holds {first}."
