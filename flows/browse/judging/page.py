"""The pages where people judge pairs, one after the other, by keyboard; what they say is written as rows of `reviews`.

Which one the scorer took for the winner is hidden from who judges blind, until they have said something of the pair;
left and right are then drawn by the reviewer's name and the pair.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flows.browse.desk import AtDesk, Desk, address
from flows.browse.judging.forms import Asked, Name, Taken, Verdict, asked_of, form_of, name_of, named
from flows.browse.reviewed.worklists import Work
from flows.browse.scopes import Scope
from infra.reviews import ACCEPT, REJECT, SWAP, VERDICTS, PairName, Review, Reviewed, standing_rows, take_back
from schemas.errors import DataError
from schemas.tables import LABEL_AS_SAMPLE
from tasks.review.verdicts import asked_of as waits_for
from tasks.review.worklist import SAMPLINGS, say

router = APIRouter()

PATH: Final = "/judge"
LEFT, RIGHT = "left", "right"
_SIDES: Final = (LEFT, RIGHT)
ListAsked = Annotated[Asked, Depends(asked_of)]


class Side(NamedTuple):
    """One of the two bodies, as it is shown: `words` say which it is, unless that is hidden."""

    name: str
    sample: int
    colour: str
    words: str
    score: float | None
    overlay: str
    mesh: str


@dataclass(frozen=True)
class Turn:
    """Who is asked about what: a list of work, and what this reviewer has said of it until now."""

    reviewer: str
    asked: Asked
    works: Sequence[Work]
    rows: Sequence[Reviewed]
    """All of the reviewer's, in their order."""

    @property
    def holding(self) -> list[Review]:
        """What they have said of the list's pairs and not taken back, the newest last: that is what undo takes back."""
        here = {work.pair.digest for work in self.works}
        return [one.review for one in standing_rows(self.rows) if one.review.pair.digest in here]

    @property
    def said(self) -> dict[str, Review]:
        """What holds of each pair, by its digest."""
        return {one.pair.digest: one for one in self.holding}

    def knows(self, pair: PairName) -> bool:
        """Whether the reviewer was told which one won: after the first that they said of it, taken back or not."""
        return any(one.review.pair == pair for one in self.rows)

    def winner_is_left(self, pair: PairName) -> bool:
        """Where the scorer's winner is shown. To who judges blind it is the same each time, and either as often."""
        return not self.asked.blind or sha256(f"{self.reviewer}\n{pair.digest}".encode()).digest()[0] % 2 == 0

    def open_after(self, place: int) -> int:
        """The place of the next pair that is not judged, from the one after `place` on, or from the beginning; that
        beyond the last if all are."""
        said, count = self.said, len(self.works)
        places = [(place + 1 + step) % count for step in range(count)] if count else []
        return next((one for one in places if self.works[one].pair.digest not in said), count)

    def at(self, place: int) -> str:
        """The address of a place of the list."""
        return self.asked.at_place(place)


@router.get(PATH)
def page(request: Request, desk: AtDesk, asked: ListAsked) -> Response:
    """A pair that is to be judged; the end of a list; or, where none is named, the choice of one."""
    reviewer = name_of(request)
    desk.painter.begin()
    if not reviewer:
        return desk.page(request, "judge_name.html", asked=asked, reviewer="", back="")
    judged = [scope for scope in desk.scopes() if scope.judged]
    if not asked.names_pairs:
        return desk.page(
            request,
            "judge_start.html",
            reviewer=reviewer,
            asked=asked,
            scopes=judged,
            scope=next((one for one in judged if one.name == asked.scope), judged[0] if judged else None),
            samplings={name: one.sentence for name, one in SAMPLINGS.items()},
        )
    if asked.sampling and asked.since is None:
        now = {"scope": _scope(desk, asked).name, "since": len(desk.work.rows_of(reviewer))}
        return RedirectResponse(asked.model_copy(update=now).address(), 303)
    turn = _turn(desk, asked, reviewer)
    place = turn.open_after(-1) if asked.at is None else min(asked.at, len(turn.works))
    if asked.pairs and asked.at is None:
        place = 0
    return desk.page(request, "judge.html", **_shown(desk, turn, place))


@router.post(PATH)
def judge(request: Request, desk: AtDesk, verdict: Annotated[Verdict, Depends(form_of(Verdict))]) -> Response:
    """Write a verdict, once, however often the form is sent, and go on with the next pair."""
    turn = _turn(desk, verdict, named(request))
    place = verdict.at or 0
    work = turn.works[place] if place < len(turn.works) else None
    if work is None or work.pair.digest != verdict.pair:
        raise DataError("This pair stands elsewhere in the list by now: open the page again.")
    said = verdict.verdict
    if said in _SIDES:
        said = ACCEPT if (said == LEFT) == turn.winner_is_left(work.pair) else SWAP
    sent = next((one.review for one in turn.rows if one.review.review_id == verdict.review), None)
    if sent is not None and sent.verdict != said:  # the answer to it was lost, and then came another key
        raise DataError("Your first verdict of this pair counts: open the page again, then change it.")
    say(
        desk.store,
        work.pair,
        turn.reviewer,
        said,
        verdict.note,
        verdict.seconds,
        blind=verdict.blind and not turn.knows(work.pair),
        review_id=verdict.review,
    )
    after = _turn(desk, verdict, turn.reviewer)
    return RedirectResponse(after.at(after.open_after(place) if verdict.sampling else 0), 303)


@router.post(PATH + "/undo")
def undo(request: Request, desk: AtDesk, taken: Annotated[Taken, Depends(form_of(Taken))]) -> Response:
    """Take back the verdict that the page named, once, and show its pair again."""
    turn = _turn(desk, taken, named(request))
    gone = next((one.review for one in turn.rows if one.review.review_id == taken.undo), None)
    places = [place for place, work in enumerate(turn.works) if gone is not None and work.pair == gone.pair]
    if gone is None or not places:
        raise DataError("There is no such verdict of yours in this list: open the page again.")
    take_back(desk.store, gone)
    return RedirectResponse(turn.at(places[0]), 303)


@router.get(PATH + "/name")
def ask_name(request: Request, desk: AtDesk, asked: ListAsked) -> HTMLResponse:
    """Who judges from now on?"""
    begins = asked.model_copy(update={"since": None, "at": None})
    return desk.page(request, "judge_name.html", asked=begins, reviewer=name_of(request), back=asked.address())


@router.post(PATH + "/name")
def keep_name(given: Annotated[Name, Depends(form_of(Name))]) -> Response:
    """Keep a name in this browser; a list begins anew for another person."""
    answer = Response(headers={"HX-Redirect": given.address()})  # a whole page, with other scripts
    given.keep(answer)
    return answer


def _turn(desk: Desk, asked: Asked, reviewer: str) -> Turn:
    rows = desk.work.rows_of(reviewer)
    if asked.pairs:
        works: Sequence[Work] = (desk.work.one(asked.pair_named()),)
    else:
        judged = _scope(desk, asked).judged
        works = desk.work.sampled(judged, asked.sampling, asked.count, reviewer, asked.since or 0)
    return Turn(reviewer, asked, works, rows)


def _scope(desk: Desk, asked: Asked) -> Scope:
    if asked.scope:
        scope = desk.scope(asked.scope)
        if scope.judged:
            return scope
        raise DataError(f"{scope.title} has no pairs that could be judged.")
    found = next((one for one in desk.scopes() if one.judged), None)
    if found is None:
        raise DataError("There are no pairs in this store.")
    return found


def _shown(desk: Desk, turn: Turn, place: int) -> dict[str, Any]:
    """What the page of a place of the list shows: a pair, or, beyond the last, what became of all."""
    said, count = turn.said, len(turn.works)
    work = turn.works[place] if place < count else None
    shown: dict[str, Any] = {
        "reviewer": turn.reviewer,
        "asked": turn.asked,
        "place": place,
        "count": count,
        "done": len(said),
        "before": turn.at(place - 1) if place else "",
        "after": turn.at(place + 1) if place < count and count > 1 else "",
        "last": turn.holding[-1] if said else None,
        "last_words": _in_words(turn),
        "work": work,
        "said": said.get(work.pair.digest) if work else None,
    }
    if work is None:
        given = Counter(one.verdict for one in said.values())
        seconds = [one.seconds for one in said.values() if one.seconds is not None]
        waits = _waits(desk, turn)
        return shown | {
            "given": {verdict: given[verdict] for verdict in VERDICTS},
            "seconds": sum(seconds) / len(seconds) if seconds else None,
            "waits": waits,
            "more": turn.asked.model_copy(update={"since": None, "at": None}).address() if turn.asked.sampling else "",
        }
    hidden = turn.asked.blind and not turn.knows(work.pair)
    following = turn.open_after(place)
    others = [] if shown["said"] is None else desk.verdicts.now().get(work.pair.digest, {}).values()
    return shown | {
        "hidden": hidden,
        "sides": _sides(turn, work, hidden),
        "photo": _photo(work),
        "review": uuid.uuid4().hex,
        "others": [one for one in others if one.reviewer != turn.reviewer],
        "soon": _soon(turn, turn.works[following]) if following < count and following != place else [],
    }


def _sides(turn: Turn, work: Work, hidden: bool) -> list[Side]:
    ends = [(work.pair.winner, "winner", work.winner_score), (work.pair.loser, "loser", work.loser_score)]
    if not turn.winner_is_left(work.pair):
        ends.reverse()
    found = []
    for name, (sample, end, score) in zip(_SIDES, ends, strict=True):
        of_sample = {"person": work.pair.instance_id, "generation": work.generation, "sample": sample}
        colour = "policy" if hidden else end
        which = "the label" if sample == LABEL_AS_SAMPLE else f"sample {sample}"
        words = name if hidden else f"{end}: {which}"
        overlay = address("/picture/overlay", **of_sample, colour=colour)
        found.append(
            Side(name, sample, colour, words, None if hidden else score, overlay, address("/mesh", **of_sample))
        )
    return found


def _photo(work: Work) -> str:
    return address("/picture/photo", person=work.pair.instance_id, generation=work.generation)


def _soon(turn: Turn, work: Work) -> list[str]:
    """Pictures of the pair that comes next, to be drawn while this one is looked at."""
    hidden = turn.asked.blind and not turn.knows(work.pair)
    return [_photo(work), *(side.overlay for side in _sides(turn, work, hidden))]


def _in_words(turn: Turn) -> str:
    """What was said last, and, to who could not know, what the scorer says."""
    if not turn.holding:
        return ""
    last = turn.holding[-1]
    if not last.blind or last.verdict == REJECT:
        done = {ACCEPT: "accepted", SWAP: "swapped", REJECT: "rejected"}[last.verdict]
        return f"{done}: {last.pair.unit}"
    side = LEFT if (last.verdict == ACCEPT) == turn.winner_is_left(last.pair) else RIGHT
    scorer = "so does the scorer" if last.verdict == ACCEPT else "the scorer says otherwise: swapped"
    return f"you took the {side} one, {scorer}: {last.pair.instance_id}"


def _waits(desk: Desk, turn: Turn) -> Scope | None:
    """The open round that waits for these pairs to be judged, if one does."""
    keys = {work.pair.stage_key for work in turn.works}
    open_rounds = (one for one in desk.scopes() if one.outcome == "open" and keys & {*one.judged})
    return next((one for one in open_rounds if waits_for(desk.store, one.campaign, one.round) in keys), None)
