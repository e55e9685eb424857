"""Pictures and meshes, drawn by the child when a page asks for them, and kept while there is room.

The child does one after the other, and may take minutes: whoever waits for it holds none of the threads that pages are
made in.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from html import escape
from textwrap import wrap
from typing import Annotated, Any, Final

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from flows.browse.child import Answer
from flows.browse.desk import AtDesk, Desk, address
from flows.process.visible import visible

router = APIRouter()

_ROOM: Final = 48 * 2**20
"""Bytes of answers that are kept."""
_FOR_A_DAY: Final = {"Cache-Control": "private, max-age=86400"}
Person = Annotated[str, Query(max_length=1000)]
Key = Annotated[str, Query(pattern="^[0-9a-f]{0,64}$")]
Colour = Annotated[str, Query(pattern="^(policy|label|winner|loser)$")]
Sample = Annotated[int, Query(ge=-1, le=1_000_000)]


class Kept:
    """Answers by what was asked, the latest used last; what isn't kept is asked for in turn."""

    def __init__(self, room: int = _ROOM) -> None:
        self._room, self._used = room, 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        # as many at a time as the child does: another would wait in it, and be done for whoever has gone meanwhile
        self._turn, self._thread = anyio.Lock(), anyio.CapacityLimiter(1)

    async def ask(self, request: Request, desk: Desk, asked: Mapping[str, Any]) -> Answer | None:
        """The answer of the child that draws; ChildError if there is none. None if the browser no longer waits for it
        when its turn comes. It is kept if it is of a generation, as what that has seen never changes; who is ingested
        anew may look otherwise."""
        name = json.dumps(asked, sort_keys=True) if asked["generation"] else ""
        if (kept := self._kept(name)) is not None:
            return kept
        async with self._turn:
            if await request.is_disconnected():
                return None
            if (kept := self._kept(name)) is not None:  # whoever was before asked the same
                return kept
            # who ends the server doesn't wait: the child ends then, and the thread with it
            answer = await run_sync(desk.painter.ask, asked, abandon_on_cancel=True, limiter=self._thread)
        if name:
            self._keep(name, answer)
        return answer

    def _kept(self, name: str) -> Answer | None:
        if name in self._answers:
            self._answers.move_to_end(name)
        return self._answers.get(name)

    def _keep(self, name: str, answer: Answer) -> None:
        self._answers[name] = answer
        self._used += len(answer.data)
        while self._used > self._room:
            self._used -= len(self._answers.popitem(last=False)[1].data)


@router.get("/picture/photo")
async def photo(request: Request, desk: AtDesk, person: Person, generation: Key = "") -> Response:
    """The crop of a person."""
    return await _answer(request, desk, {"do": "photo", "person": person, "generation": generation})


@router.get("/picture/overlay")
async def overlay(
    request: Request, desk: AtDesk, person: Person, generation: Key = "", sample: Sample = 0, colour: Colour = "policy"
) -> Response:
    """A hypothesis, or (sample -1) the label, over the crop."""
    asked = {"do": "overlay", "person": person, "generation": generation, "sample": sample, "colour": colour}
    return await _answer(request, desk, asked)


@router.get("/picture/again")
async def again_picture(request: Request, desk: AtDesk, person: Person, generation: Key, sample: Sample) -> Response:
    """The hypothesis as it was made again, over the crop."""
    return await _answer(request, desk, _again(person, generation, sample))


@router.get("/picture/steps")
async def steps(
    request: Request, desk: AtDesk, person: Person, generation: Key, sample: Sample, step: int = 0
) -> Response:
    """What the sampler took the body for after a step; the header X-Timesteps has the timesteps of all."""
    asked = {"do": "steps", "person": person, "generation": generation, "sample": sample, "step": step}
    return await _answer(request, desk, asked)


@router.get("/mesh")
async def mesh(request: Request, desk: AtDesk, person: Person, generation: Key = "", sample: Sample = 0) -> Response:
    """A body's mesh, as `flows.browse.painter` has it; the header X-Camera has the crop's camera."""
    return await _answer(request, desk, {"do": "mesh", "person": person, "generation": generation, "sample": sample})


@router.get("/again")
async def again(request: Request, desk: AtDesk, person: Person, generation: Key, sample: Sample) -> Response:
    """A hypothesis made again from its noise, beside its row."""
    answer = await _kept(request).ask(request, desk, _again(person, generation, sample))
    if answer is None:
        return _unsent()
    named = {"person": person, "generation": generation, "sample": sample}
    return desk.page(
        request,
        "again.html",
        sample=sample,
        row=answer.about["row"],
        device=answer.about["device"],
        kept=address("/picture/overlay", **named) if answer.about["row"] != "not kept" else "",
        made=address("/picture/again", **named),
    )


def _again(person: str, generation: str, sample: int) -> dict[str, Any]:
    return {"do": "again", "person": person, "generation": generation, "sample": sample}


def _kept(request: Request) -> Kept:
    kept: Kept = request.app.state.kept
    return kept


async def _answer(request: Request, desk: Desk, asked: Mapping[str, Any]) -> Response:
    answer = await _kept(request).ask(request, desk, asked)
    if answer is None:
        return _unsent()
    told = dict(_FOR_A_DAY) if asked["generation"] else {}  # else no-store, as of every page
    if "timesteps" in answer.about:
        told["X-Timesteps"] = json.dumps(answer.about["timesteps"])
    if "camera" in answer.about:
        told["X-Camera"] = json.dumps([*answer.about["camera"], answer.about["size"]])
    return Response(answer.data, media_type=answer.kind, headers=told)


def _unsent() -> Response:
    """What a browser that no longer waits is answered: it gets to know nothing of it."""
    return Response(status_code=503)


def problem_picture(text: str) -> Response:
    """What stands in the place of a picture that can't be drawn: the reason, as a picture. By nature it is one pixel
    wide, by which scripts tell it from what was drawn."""
    words = visible(text)[:200]
    lines = "".join(f'<tspan x="128" dy="19">{escape(line)}</tspan>' for line in wrap(words, 32))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" viewBox="0 0 256 256" role="img">'
        f"<title>{escape(words)}</title>"
        '<rect width="256" height="256" fill="#8884"/><g text-anchor="middle" font-family="sans-serif" fill="#777">'
        '<text x="128" y="60" font-size="26">can\'t be drawn</text>'
        f'<text y="76" font-size="15">{lines}</text></g></svg>'
    )
    return Response(svg, 200, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})
