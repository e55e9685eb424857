"""What a user asks `ingest` for, looked over before anything slow begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.run.user_pictures import check_there, place
from models.body_arrays import BUILT_IN
from schemas.errors import ConfigError
from schemas.ids import image_id
from tasks.ingest.formats.format import Brings, Format
from tasks.ingest.formats.registry import checked_options, format_named
from tasks.ingest.people.annotations import AnnotationSource


@dataclass(frozen=True)
class Request:
    """A request that makes sense, with paths that hold from any folder."""

    format: Format
    source: AnnotationSource
    bodies: str | None
    allow_leakage: bool
    replace: bool

    @property
    def brings(self) -> Brings:
        """What the source brings, as it is to be taken."""
        return self.format.brought(self.source.options)


def request(
    format: str,
    source: str,
    dataset: str,
    split: str,
    every: int = 1,
    images: str | None = None,
    body: str | None = None,
    options: Mapping[str, str] | None = None,
    allow_leakage: bool = False,
    replace: bool = False,
    follow_links: str | None = None,
) -> Request:
    """The request in these words. Raises ConfigError for what doesn't go together, DataError for what isn't there."""
    kind = format_named(format)
    brings = kind.brought(options or {})
    image_id(dataset, split, "any")
    if every != 1 and brings == "pictures":
        raise ConfigError(f"--every counts rows of files and frames of videos; the format {kind.name} has neither.")
    if allow_leakage and brings == "pairs":
        raise ConfigError(f"--allow-leakage belongs to pictures; the format {kind.name} is {kind.title}.")
    labelled = brings in ("people", "bodies") or "labels" in (options or {})
    if body is not None and not labelled:
        raise ConfigError(f"--body belongs to annotations of people; the format {kind.name} is {kind.title}.")
    if replace and brings not in ("people", "pictures"):
        raise ConfigError(f"--replace belongs to people; the format {kind.name} is {kind.title}.")
    if follow_links is not None and (brings == "pairs" or kind.makes_pictures):
        raise ConfigError(f"--follow-links belongs to folders of pictures; the format {kind.name} is {kind.title}.")
    if follow_links is not None and "://" in follow_links:
        raise ConfigError(f"--follow-links {follow_links}: give a folder of this machine; behind URLs are no links.")
    if every < 1:
        raise ConfigError(f"--every {every}: give a whole number from 1 on.")
    if images is not None and brings == "pictures":
        raise ConfigError(f"The format {kind.name} has the pictures as its --source: leave --images out.")
    if not kind.makes_pictures:
        check_there("folder of pictures", images)
    if body not in BUILT_IN:
        check_there("folder of body files", body)
        body = place(body) if body is not None else None
    check_there("folder that links may lead to", follow_links)
    chosen = dict(checked_options(kind, options or {}))
    for name, what in kind.places.items():
        if name in chosen:
            check_there(what, chosen[name])
            chosen[name] = place(chosen[name])
    if not _is_pattern(source):
        check_there("folder of pictures" if brings == "pictures" else "source", source)
    asked = AnnotationSource(
        kind.name,
        ",".join(place(part.strip()) for part in source.split(",")) if _is_pattern(source) else place(source),
        dataset,
        split,
        place(images) if images is not None else None,
        every,
        chosen,
        place(follow_links) if follow_links is not None else None,
    )
    return Request(kind, asked, body, allow_leakage, replace)


def _is_pattern(source: str) -> bool:
    """Whether a source names several files: by signs, and no file is called so."""
    return any(sign in source for sign in "*?[,") and not Path(source).expanduser().exists()
