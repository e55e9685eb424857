"""The command review: what people say of pairs, from a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.visible import visible
from schemas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from infra.reviews import PairName
    from infra.stages import StageRecord
    from infra.store import Store

_LISTED = 10
Reviewer = Annotated[
    str | None, typer.Option("--reviewer", metavar="NAME", envvar="ADHMR_REVIEWER", help="Who says it.")
]


def review(
    store: options.StoreUrl = None,
    file: options.CampaignsFile = None,
    campaign: options.OnlyCampaign = None,
    number: Annotated[
        int | None, typer.Option("--round", min=1, help="Of this round's pairs.", show_default="the newest with pairs")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option("--pairs", metavar="KEY", help="Of the pairs of this stage instead.")
    ] = None,
    sample: Annotated[
        tuple[str, int] | None,
        typer.Option("--sample", metavar="uncertain|random|worst N", help="List so many pairs that are worth a look."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the list as CSV, to be filled in.")
    ] = None,
    verdict: Annotated[
        tuple[str, str] | None,
        typer.Option("--verdict", metavar="PAIR accept|swap|reject", help="Say it of the pair with this digest."),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Take the verdicts of a list that was filled in.")
    ] = None,
    undo: Annotated[
        str | None, typer.Option("--undo", metavar="last|PAIR", help="Take back the last verdict, or that of a pair.")
    ] = None,
    reviewer: Reviewer = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Of --verdict: why.")] = "",
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help="Of --verdict: how long it took.")] = None,
    as_json: options.Json = False,
) -> None:
    """What people say of winners and losers: lists of work, verdicts, and how far people and scorer agree."""
    asked = [name for name, value in _deeds(sample, verdict, from_file, undo) if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} are different things: say one at a time.")
    if out is not None and sample is None:
        raise ConfigError("--out is where --sample writes its list: say that as well.")
    if (note or seconds is not None) and verdict is None:
        raise ConfigError("--note and --seconds belong to --verdict.")
    if as_json and (out is not None or (asked and sample is None)):
        raise ConfigError("--json is for looking: alone, or with --sample.")
    if verdict is not None or from_file is not None or undo is not None:
        opened = options.writable_store(store)
        if verdict is not None:
            _say(opened, *verdict, _named(reviewer), note, seconds)
        elif from_file is not None:
            _import(opened, from_file, reviewer)
        else:
            _undo(opened, str(undo), _named(reviewer))
        return
    opened = options.open_store(store)
    made = _pairs(opened, options.campaign_of(file, campaign), number, pairs)
    again = options.of_store(store)
    from flows.cli.documents import print_document, review_document
    from flows.cli.show.reviews import print_sample, print_state

    if sample is None:
        if as_json:
            print_document("review", review_document(opened, made, None))
        else:
            print_state(opened, made, again)
        return
    from tasks.review.worklist import sample as choose
    from tasks.review.worklist import to_csv

    rows = choose(opened, made.stage_key, *sample, reviewer)
    if as_json:
        print_document("review", review_document(opened, made, rows))
        return
    if out is None:
        print_sample(made, rows, sample[0], again)
        return
    try:
        with out.open("x", encoding="utf-8") as target:
            target.write(to_csv(rows))
    except FileExistsError as error:
        raise ConfigError(f"{out} is there already, and nothing is overwritten: name another file.") from error
    except OSError as error:
        raise ConfigError(f"{out} can't be written: {error}.") from error
    typer.echo(
        visible(f"{out} lists {len(rows)} pairs: fill in verdict, then `adhmr review --import {out} --reviewer NAME`.")
    )


def _deeds(*values: object) -> list[tuple[str, object]]:
    return list(zip(("--sample", "--verdict", "--import", "--undo"), values, strict=True))


def _named(reviewer: str | None) -> str:
    if not reviewer:
        raise ConfigError("Who says it? Give --reviewer NAME, or ADHMR_REVIEWER.")
    return reviewer


def _pairs(store: Store, campaign: str | None, number: int | None, key: str | None) -> StageRecord:
    from infra.rounds import campaigns
    from tasks.review.worklist import pairs_of_round, reviewable

    if key is None:
        names = campaigns(store)
        if not names:
            raise DataError(f"No campaign has begun in {store.url}: `adhmr run` makes pairs, and so does `adhmr pair`.")
        return pairs_of_round(store, options.named_or_only(campaign, names), number)
    ones = [record for record in reviewable(store) if record.stage_key.startswith(key)]
    if len(ones) != 1:
        problem = f"{len(ones)} stages with pairs begin so: give more digits." if ones else "no pairs are called so."
        raise DataError(f"--pairs {key}: {problem}")
    return ones[0]


def _one(store: Store, text: str) -> PairName:
    from tasks.review.worklist import find_pairs

    found = find_pairs(store, [text])[text]
    if isinstance(found, str):
        raise DataError(f"{found}. `adhmr review --sample random 10` lists some.".capitalize())
    return found


def _say(store: Store, pair: str, verdict: str, reviewer: str, note: str, seconds: float | None) -> None:
    from tasks.review.worklist import say

    named = _one(store, pair)
    new = say(store, named, reviewer, verdict, note.strip(), seconds)
    word = "" if new else ", as before: nothing was written"
    typer.echo(visible(f"{reviewer}: {verdict.lower()} {named.unit} ({named.digest[:12]}){word}"))


def _undo(store: Store, what: str, reviewer: str) -> None:
    from infra.reviews import withdraw

    taken = withdraw(store, reviewer, None if what == "last" else _one(store, what).digest)
    if taken is None:
        raise DataError(f"There is no verdict of {reviewer} to take back{'' if what == 'last' else ' of this pair'}.")
    typer.echo(visible(f"{reviewer}: {taken.verdict} of {taken.pair.unit} is taken back"))


def _import(store: Store, path: Path, reviewer: str | None) -> None:
    from tasks.review.worklist import import_csv

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    done = import_csv(store, data, str(path), reviewer)
    typer.echo(f"{done.written} verdicts written, {done.known} known before, {done.empty} lines without one")
    if done.refused:
        for line in done.refused[:_LISTED]:
            typer.echo(visible(f"{path}, {line}"), err=True)
        raise DataError(
            f"{len(done.refused)} lines of {path} were not taken, the first {min(_LISTED, len(done.refused))} are "
            "above; the others are written. Mend them and import the file again."
        )
