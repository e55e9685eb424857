"""Which pairs to look at: lists of work, pairs by the beginning of their digests, verdicts out of files."""

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from infra import rounds
from infra.reviews import VERDICTS, PairName, Review, add, history, latest
from infra.stages import StageRecord, records
from infra.store import Store
from infra.tables import read
from schemas.digests import digest
from schemas.errors import ConfigError, DataError, named
from schemas.ids import StageKey
from tasks.review.verdicts import asked_of

COLUMNS: Final = ("pair", "round", "instance_id", "winner", "loser", "margin", "winner_score", "loser_score")
TO_FILL: Final = ("verdict", "reviewer", "note")
"""Columns of a work list that are left to the reviewer."""
FEWEST_DIGITS: Final = 6
REVIEW: Final = "review"
"""The stage that makes pairs of pairs by what people said of them (`tasks.stages.review`)."""
PAIR: Final = "pair"
"""The column with the digest of a pair."""
_PAIR_STAGE: Final = "pair"
_MOST_BYTES: Final = 64 * 2**20


class Sampling(NamedTuple):
    """A way to choose pairs that are worth a look."""

    sentence: str
    column: str
    """Of `COLUMNS`: those to look at first have the least in it; of equal ones, and where there is none, the digest
    decides."""


SAMPLINGS: Final[Mapping[str, Sampling]] = {
    "uncertain": Sampling("where the scorer sees the least difference: smallest margins first", "margin"),
    "random": Sampling("some of all, whatever the scorer says; the same ones each time", PAIR),
    "worst": Sampling("where even the winner has a low score, the lowest first", "winner_score"),
}
"""By their names on the command line."""


def reviewable(store: Store) -> list[StageRecord]:
    """The stages whose pairs people may review, newest first; what reviews made of pairs is not reviewed again."""
    return [one for one in reversed(records(store)) if one.rows.get("pairs") and one.stage != REVIEW]


def pairs_of_round(store: Store, campaign: str, number: int | None = None) -> StageRecord:
    """The stage whose pairs a round is about, by default the campaign's open or newest one with pairs.

    DataError where it has made none.
    """
    state = rounds.state(store, campaign)
    numbers = [number] if number is not None else range(state.round, 0, -1)
    ours = [one for one in reviewable(store) if one.campaign == campaign]
    for wanted in numbers:
        asked = asked_of(store, campaign, wanted)
        made = [one for one in reviewable(store) if one.stage_key == asked] if asked is not None else []
        # a round's control is made last
        made = made or [one for one in reversed(ours) if one.round == wanted and one.stage == _PAIR_STAGE]
        if made:
            return made[0]
    none = "no round has" if number is None else f"round {number} has not"
    raise DataError(f"Campaign {campaign}: {none} made pairs; --pairs KEY names those of a single step.")


def sample(store: Store, pairs: StageKey, how: str, count: int, reviewer: str | None = None) -> pa.Table:
    """The first `count` pairs of a stage by a sampling, with their digests (`COLUMNS`); not those that `reviewer` has
    judged, or, where none is named, that anybody has. ConfigError for another sampling."""
    sampling = named(SAMPLINGS, how, "sampling")
    if count < 1:
        raise ConfigError(f"--sample {how} {count}: give a number of pairs, at least 1.")
    rows = read(store, "pairs", stage_keys=[pairs], columns=COLUMNS[1:])
    digests = [PairName(pairs, *name).digest for name in _names(rows)]
    rows = rows.add_column(0, PAIR, pa.array(digests, pa.string()))
    said = latest(store, [pairs])
    judged = {pair for pair, by in said.items() if reviewer is None or reviewer in by}
    rows = rows.filter(pa.array([pair not in judged for pair in digests], pa.bool_()))
    by = dict.fromkeys((sampling.column, PAIR), "ascending")
    return rows.take(pc.sort_indices(rows, list(by.items()))[:count])


def to_csv(rows: pa.Table) -> str:
    """A work list as text, with empty columns for verdict, reviewer and note."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([*COLUMNS, *TO_FILL])
    for row in rows.select(COLUMNS).to_pylist():
        writer.writerow([*("" if row[name] is None else row[name] for name in COLUMNS), *("" for _ in TO_FILL)])
    return written.getvalue()


def find_pairs(store: Store, beginnings: Collection[str]) -> dict[str, PairName | str]:
    """The pairs whose digests begin so, each by the text that was asked for; instead of one that can't be told, why."""
    found: dict[str, list[PairName]] = defaultdict(list)
    by_start: dict[str, list[str]] = defaultdict(list)
    for text in beginnings:
        if len(text) >= FEWEST_DIGITS:
            by_start[text[:FEWEST_DIGITS].lower()].append(text)
    for record in reviewable(store) if by_start else ():
        rows = read(store, "pairs", stage_keys=[record.stage_key], columns=COLUMNS[2:5])
        for name in _names(rows):
            pair = PairName(record.stage_key, *name)
            for text in by_start.get(pair.digest[:FEWEST_DIGITS], ()):
                if pair.digest.startswith(text.lower()):
                    found[text].append(pair)
    answers: dict[str, PairName | str] = {}
    for text in beginnings:
        match found[text]:
            case [pair]:
                answers[text] = pair
            case []:
                short = f" (give {FEWEST_DIGITS} digits at least)" if len(text) < FEWEST_DIGITS else ""
                answers[text] = f"there is no pair {text[:70]!r}{short}"
            case several:
                answers[text] = f"{len(several)} pairs begin with {text}: give more digits"
    return answers


@dataclass(frozen=True)
class Imported:
    """What came of a file of verdicts. `refused` are lines that could not be taken, in words."""

    written: int
    known: int
    """Verdicts that had been given before."""
    empty: int
    """Lines without a verdict."""
    refused: tuple[str, ...]


def import_csv(store: Store, data: bytes, where: str, reviewer: str | None = None) -> Imported:
    """Take verdicts out of a work list that was filled in: columns `pair` and `verdict`, and perhaps `reviewer`, `note`
    and `seconds`. `reviewer` counts where a line names none.

    A line that can't be taken costs itself alone. The same file again changes nothing. DataError for a file that is no
    such list.
    """
    lines = list(_lines(data, where))
    filled = [(number, line) for number, line in lines if line.get("verdict", "")]
    pairs = find_pairs(store, {line["pair"] for _, line in filled})
    before, last, known = latest(store), _last_rows(store), 0
    refused: list[str] = []
    new: dict[tuple[PairName, str], Review] = {}
    for number, line in filled:
        try:
            review = _review(pairs[line["pair"]], line, reviewer)
        except DataError as error:
            refused.append(f"line {number}: {error}")
            continue
        who = review.pair, review.reviewer
        said = new.get(who) or before.get(review.pair.digest, {}).get(review.reviewer)
        if said is not None and (said.verdict, said.note) == (review.verdict, review.note):
            known += 1
            continue
        last[who] = (numbered := _numbered(review, last.get(who, ""))).review_id
        new[who] = numbered
    written = add(store, list(new.values())) if new else 0
    return Imported(written, known + len(new) - written, len(lines) - len(filled), tuple(refused))


def say(
    store: Store,
    pair: PairName,
    reviewer: str,
    verdict: str,
    note: str,
    seconds: float | None = None,
    *,
    blind: bool = False,
    review_id: str | None = None,
) -> bool:
    """Write one verdict; False where the reviewer's last word on the pair is the same. A `review_id` makes it count
    once, however often it is said; without one it does so as long as nothing else is said of the pair."""
    review = replace(_review(pair, {"verdict": verdict, "note": note}, reviewer, seconds), blind=blind)
    said = latest(store, [pair.stage_key]).get(pair.digest, {}).get(reviewer)
    if said is not None and (said.verdict, said.note) == (review.verdict, review.note):
        return False
    if review_id is not None:
        return bool(add(store, [replace(review, review_id=review_id)]))
    return bool(add(store, [_numbered(review, _last_rows(store).get((pair, reviewer), ""))]))


def _review(
    pair: PairName | str, line: Mapping[str, str], reviewer: str | None, seconds: float | None = None
) -> Review:
    """The review that a line says. DataError for one that says none."""
    if isinstance(pair, str):
        raise DataError(pair)
    verdict, name = line["verdict"].lower(), line.get("reviewer") or reviewer
    if verdict not in VERDICTS:
        raise DataError(f"{verdict[:30]!r} is no verdict; there are {', '.join(VERDICTS)}")
    if not name:
        raise DataError("it names no reviewer; --reviewer NAME says who for all such lines")
    if line.get("seconds"):
        try:
            seconds = float(line["seconds"])
        except ValueError as error:
            raise DataError(f"{line['seconds'][:30]!r} is no number of seconds") from error
    return Review(pair, name, verdict, line.get("note", ""), seconds)


def _last_rows(store: Store) -> dict[tuple[PairName, str], str]:
    """The ids of the newest rows of each reviewer on each pair, those that take something back among them."""
    return {(one.review.pair, one.review.reviewer): one.review.review_id for one in history(store)}


def _numbered(review: Review, last: str) -> Review:
    """The same with an id that says what row it follows: done twice at once, it is written once."""
    said = [review.reviewer, review.pair.digest, review.verdict, review.note, last]
    return replace(review, review_id=digest(said))


def _lines(data: bytes, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    if len(data) > _MOST_BYTES:
        raise DataError(f"{where} has {len(data):,} bytes; a list of verdicts has at most {_MOST_BYTES:,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text in UTF-8: save it as CSV in that encoding.") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",")
    try:
        columns: Sequence[str] = [name.strip().lower() for name in reader.fieldnames or ()]
        if not {"pair", "verdict"} <= set(columns):
            raise DataError(
                f"{where} has the columns {', '.join(columns)[:200] or '(none)'}; a list of verdicts has pair and "
                "verdict at least: `adhmr review --sample random 20 --out FILE` writes one."
            )
        reader.fieldnames = columns
        for row in reader:
            yield reader.line_num, {name: _text(value) for name, value in row.items() if name in columns}
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num}: {error}.") from error


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _names(rows: pa.Table) -> Iterator[tuple[str, int, int]]:
    return zip(*(rows.column(name).to_pylist() for name in ("instance_id", "winner", "loser")), strict=True)
