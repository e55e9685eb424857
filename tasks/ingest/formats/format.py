"""What a format is: its name, what it brings, its options and its reader. Each has a folder beside this module."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tasks.ingest.formats.look import Candidate, Look
from tasks.ingest.people.annotations import AnnotationSource, Reader

Brings: TypeAlias = Literal["pictures", "people", "pairs", "hypotheses", "bodies"]
"""pictures: a folder and tables. people: rows of ANNOTATIONS. pairs: of people who are in the tables. hypotheses: with
the people that they are of. bodies: hypotheses as parameters, of people whom they bring or who are in the tables."""


@dataclass(frozen=True)
class Format:
    """A format. `title` says in a few words what it is, `documentation` in docs/data.md, where that is more.

    `recognise` yields the ways to read what a `Look` shows. `options` are the format's own, name to meaning; those
    among `whole` are whole numbers, those among `places` paths or URLs (and what is there), and of those among
    `by_content` what they hold counts, wherever they are.
    """

    name: str
    title: str
    brings: Brings
    reader: Callable[[AnnotationSource, Path], Reader]
    recognise: Callable[[Look], Iterable[Candidate]]
    options: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    by_content: tuple[str, ...] = ()
    documentation: str = ""
    dataset: str | None = None
    """The usual name of the data set, where the format is of one."""
    ways: Mapping[str, Brings] = field(default_factory=dict)
    """What its option `as` may say, and what it brings then; without the option it is `brings`."""
    makes_pictures: bool = False
    """The ingest makes its pictures from the source, in the folder --images."""
    rank: int = 0
    """Among all. Where several could read a file, the more particular comes first."""
    version: int = 2
    """Of ingests: rises where the same source comes out otherwise. 2 since deep and transparent pictures are read as
    they are meant, and paths of other systems lead to their pictures."""

    def brought(self, options: Mapping[str, Any]) -> Brings:
        """What it brings with these options."""
        return self.ways.get(str(options.get("as")), self.brings)
