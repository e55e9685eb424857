"""What the command review prints, and a run whose round waits for reviews."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from flows.process.terminal import TextConsole, escape, plain_table
from infra.reviews import VERDICTS
from tasks.review.agreement import agreement
from tasks.review.verdicts import counts, said_of
from tasks.review.worklist import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from flows.run.decision.reviewed import Waiting
    from infra.stages import StageRecord
    from infra.store import Store

_SAMPLE = ("review", "--sample", "uncertain", "20")


def print_state(store: Store, made: StageRecord, again: Sequence[str]) -> None:
    """How far the pairs of a stage are reviewed, by whom, and how far they agree."""
    out, said = TextConsole(), said_of(store, made.stage_key)
    done, total = counts(said), made.rows.get("pairs", 0)
    out.print(f"[bold]{_where(made)}[/bold]: {done.judged} of {total:,} pairs are judged", soft_wrap=True)
    if not said:
        out.print(f"`{_command(*_SAMPLE, *again)}` lists some.", markup=False, soft_wrap=True)
        return
    table = plain_table("reviewer", *VERDICTS)
    for name in sorted({name for by in said.values() for name in by}):
        given = Counter(by[name] for by in said.values() if name in by)
        table.add_row(escape(name), *(str(given[verdict]) for verdict in VERDICTS))
    divided = f", {done.divided} divided" if done.divided else ""
    table.add_row("most of them", *map(str, done[:3]), style="bold")
    out.print(table)
    found = agreement(said)
    if found.pairs:
        kappa = f", {found.method} {found.kappa:.2f}" if np.isfinite(found.kappa) else ""
        out.print(f"agreement of {found.reviewers} reviewers on {found.pairs} pairs: {found.share:.0%}{kappa}{divided}")


def print_sample(made: StageRecord, rows: pa.Table, how: str, again: Sequence[str]) -> None:
    """Pairs that are worth a look, with the digests that --verdict takes; at most 80 columns wide."""
    out = TextConsole()
    out.print(f"[bold]{_where(made)}[/bold], {SAMPLINGS[how].sentence}", soft_wrap=True)
    table = plain_table("pair", "person", "winner", "loser", "margin", "score")
    for row in rows.to_pylist():
        numbers = ["" if row[name] is None else f"{row[name]:.3f}" for name in ("margin", "winner_score")]
        table.add_row(row["pair"][:12], escape(row["instance_id"]), str(row["winner"]), str(row["loser"]), *numbers)
    out.print(table)
    if len(rows):
        words = _command(
            "review", "--verdict", rows.column("pair")[0].as_py()[:12], "accept", "--reviewer", "NAME", *again
        )
        out.print(f"next:   {words}", markup=False, soft_wrap=True)
        browse = _command("browse", *again)
        out.print(f"or:     {browse}    shows the same, to judge by keyboard", markup=False, soft_wrap=True)
    else:
        out.print("All of them are judged.")


def print_waiting(waiting: Waiting, said: Sequence[str], of_store: Sequence[str]) -> None:
    """Where a run ends whose round waits for people."""
    out = TextConsole()
    out.print()
    title = f"[bold]Round {waiting.number}[/bold] of campaign {escape(waiting.campaign)}"
    out.print(f"{title} {waiting}; it stays open.", soft_wrap=True)
    named = ("--campaign", waiting.campaign)
    lines = {
        "judge": f"{_command('browse', *of_store)}    in a browser, by keyboard: its page judge",
        "or": _command(*_SAMPLE, "--out", "pairs.csv", *named, *of_store),
        "": _command("review", "--verdict", "PAIR", "accept|swap|reject", "--reviewer", "NAME", *of_store),
        "then": _command("run", *said),
    }
    for name, words in lines.items():
        out.print(f"{name + ':' if name else '':<8}{words}", markup=False, soft_wrap=True)


def _where(made: StageRecord) -> str:
    of = f"round {made.round} of campaign {made.campaign}" if made.round and made.campaign else "a single step"
    return escape(f"pairs {made.stage_key[:12]} of {of}")


def _command(*words: str) -> str:
    return shlex.join(["adhmr", *words]).replace("'accept|swap|reject'", "accept|swap|reject")
