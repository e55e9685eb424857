"""Pictures and meshes, drawn by the child when a page asks for them, and kept while there is room."""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from html import escape
from textwrap import wrap
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

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
    """Answers by what was asked, the latest used last."""

    def __init__(self, room: int = _ROOM) -> None:
        self._room, self._used = room, 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, desk: Desk, request: Mapping[str, Any]) -> Answer:
        """The answer of the child that draws; ChildError if there is none. It is kept if it is of a generation, as what
        that has seen never changes; who is ingested anew may look otherwise."""
        if not request["generation"]:
            return desk.painter.ask(request)
        name = json.dumps(request, sort_keys=True)
        with self._lock:
            if name in self._answers:
                self._answers.move_to_end(name)
                return self._answers[name]
        answer = desk.painter.ask(request)
        with self._lock:
            if name not in self._answers:
                self._answers[name] = answer
                self._used += len(answer.data)
            while self._used > self._room:
                self._used -= len(self._answers.popitem(last=False)[1].data)
        return answer


@router.get("/picture/photo")
def photo(request: Request, desk: AtDesk, person: Person, generation: Key = "") -> Response:
    """The crop of a person."""
    return _answer(request, desk, {"do": "photo", "person": person, "generation": generation})


@router.get("/picture/overlay")
def overlay(
    request: Request, desk: AtDesk, person: Person, generation: Key = "", sample: Sample = 0, colour: Colour = "policy"
) -> Response:
    """A hypothesis, or (sample -1) the label, over the crop."""
    asked = {"do": "overlay", "person": person, "generation": generation, "sample": sample, "colour": colour}
    return _answer(request, desk, asked)


@router.get("/picture/again")
def again_picture(request: Request, desk: AtDesk, person: Person, generation: Key, sample: Sample) -> Response:
    """The hypothesis as it was made again, over the crop."""
    return _answer(request, desk, _again(person, generation, sample))


@router.get("/picture/steps")
def steps(request: Request, desk: AtDesk, person: Person, generation: Key, sample: Sample, step: int = 0) -> Response:
    """What the sampler took the body for after a step; the header X-Timesteps has the timesteps of all."""
    asked = {"do": "steps", "person": person, "generation": generation, "sample": sample, "step": step}
    return _answer(request, desk, asked)


@router.get("/mesh")
def mesh(request: Request, desk: AtDesk, person: Person, generation: Key = "", sample: Sample = 0) -> Response:
    """A body's mesh, as `flows.browse.painter` has it; the header X-Camera has the crop's camera."""
    return _answer(request, desk, {"do": "mesh", "person": person, "generation": generation, "sample": sample})


@router.get("/again")
def again(request: Request, desk: AtDesk, person: Person, generation: Key, sample: Sample) -> HTMLResponse:
    """A hypothesis made again from its noise, beside its row."""
    about = _kept(request).ask(desk, _again(person, generation, sample)).about
    named = {"person": person, "generation": generation, "sample": sample}
    return desk.page(
        request,
        "again.html",
        sample=sample,
        row=about["row"],
        device=about["device"],
        kept=address("/picture/overlay", **named) if about["row"] != "not kept" else "",
        made=address("/picture/again", **named),
    )


def _again(person: str, generation: str, sample: int) -> dict[str, Any]:
    return {"do": "again", "person": person, "generation": generation, "sample": sample}


def _kept(request: Request) -> Kept:
    kept: Kept = request.app.state.kept
    return kept


def _answer(request: Request, desk: Desk, asked: Mapping[str, Any]) -> Response:
    answer = _kept(request).ask(desk, asked)
    told = dict(_FOR_A_DAY) if asked["generation"] else {}  # else no-store, as of every page
    if "timesteps" in answer.about:
        told["X-Timesteps"] = json.dumps(answer.about["timesteps"])
    if "camera" in answer.about:
        told["X-Camera"] = json.dumps([*answer.about["camera"], answer.about["size"]])
    return Response(answer.data, media_type=answer.kind, headers=told)


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
