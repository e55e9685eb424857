"""A page of a list: the rows that come after the last of the page before, by what the list is sorted by (keyset)."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from infra.listing import Listing
from schemas.errors import DataError


class Condition(NamedTuple):
    """A condition of SQL with its values."""

    sql: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Page:
    """Rows of a list, how many there are in all, and where the next page begins."""

    rows: list[dict[str, Any]]
    total: int
    next: str
    """Empty on the last page."""
    first: int
    """Number of the first row, from 1."""


@dataclass(frozen=True)
class Sorted:
    """How a list is sorted: by a column, then by those that tell rows apart; rows without a value come last."""

    column: str
    descending: bool
    then: tuple[str, ...]


def page_of(listing: Listing, source: str, conditions: Sequence[Condition], by: Sorted, after: str, size: int) -> Page:
    """The page of `source`, a table, that begins after the row `after`, as `Page.next` has it."""
    where = " AND ".join(one.sql for one in conditions) or "true"
    values = [value for one in conditions for value in one.values]
    total = listing.rows(f"SELECT count(*) AS n FROM {source} WHERE {where}", values)[0]["n"]
    passed, seen = _after(after, by)
    direction = "DESC" if by.descending else "ASC"
    order = ", ".join([f"{by.column} {direction} NULLS LAST", *by.then])
    rows = listing.rows(
        f"SELECT * FROM {source} WHERE {where} AND {passed.sql} ORDER BY {order} LIMIT {size + 1}",
        [*values, *passed.values],
    )
    shown = rows[:size]
    if len(rows) <= size:
        return Page(shown, total, "", seen + 1)
    last = shown[-1]
    return Page(shown, total, _mark([last[by.column], *(last[name] for name in by.then), seen + len(shown)]), seen + 1)


def _after(mark: str, by: Sorted) -> tuple[Condition, int]:
    """The condition of the rows that come after the one that `mark` names, and how many came before."""
    if not mark:
        return Condition("true"), 0
    value, *names, seen = _read(mark, 2 + len(by.then))
    places = f"({', '.join(by.then)}) > ({', '.join('?' for _ in names)})"
    if value is None:
        return Condition(f"({by.column} IS NULL AND {places})", tuple(names)), seen
    beyond = "<" if by.descending else ">"
    sql = f"({by.column} {beyond} ? OR ({by.column} = ? AND {places}) OR {by.column} IS NULL)"
    return Condition(sql, (value, value, *names)), seen


def _mark(values: Sequence[Any]) -> str:
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _read(mark: str, length: int) -> list[Any]:
    try:
        values = json.loads(urlsafe_b64decode(mark + "=" * (-len(mark) % 4)))
        if not isinstance(values, list) or len(values) != length or not isinstance(values[-1], int):
            raise ValueError(mark)
        if any(isinstance(value, list | dict) for value in values):
            raise ValueError(mark)
    except ValueError as error:
        raise DataError("This address names no page of the list: begin with its first page.") from error
    return values
