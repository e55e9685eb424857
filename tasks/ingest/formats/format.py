"""What a format is: its name, what it brings, its options and its reader. Each has a folder beside this module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from tasks.ingest.people.annotations import AnnotationSource, Reader

Brings: TypeAlias = Literal["pictures", "people", "pairs", "hypotheses"]
"""pictures: a folder and tables. people: rows of ANNOTATIONS. pairs: of people who are in the tables. hypotheses: with
the people whom they are of."""


@dataclass(frozen=True)
class Format:
    """A format. `title` is its line in lists and in the documentation.

    `options` are the format's own, name to what it says; those among `whole` are whole numbers, those among
    `by_content` files that are told by what they hold, wherever they are.
    """

    name: str
    title: str
    brings: Brings
    reader: Callable[[AnnotationSource, Path], Reader]
    options: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    by_content: tuple[str, ...] = ()
    rank: int = 0
    """Among all. Where several could read a file, the more particular comes first."""
    version: int = 2
    """Of ingests: rises where the same source comes out otherwise. 2 since deep and transparent pictures are read as
    they are meant, and paths of other systems find their pictures."""
