"""What addresses and forms of the pages of judging say, and who sends them: a name, kept in the browser.

Forms are sent by the scripts of these pages alone. A browser tells with each where the page came from; what doesn't say
that is refused, as what comes from elsewhere is (`flows.serve.guard`).
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, quote, unquote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flows.browse.desk import address
from flows.browse.reviewed.worklists import MOST
from infra.reviews import LONGEST_NAME, LONGEST_NOTE, PairName, check_name
from schemas.errors import DataError

_COOKIE: Final = "adhmr-reviewer"
_A_YEAR: Final = 365 * 86400
_MOST_BYTES: Final = 64 * 1024
_FORM: Final = "application/x-www-form-urlencoded"
Form = TypeVar("Form", bound=BaseModel)


def _empty_as_none(value: Any) -> Any:
    return None if value == "" else value


Place = Annotated[Annotated[int, Field(ge=0, le=10**9)] | None, BeforeValidator(_empty_as_none)]
Sample = Annotated[Annotated[int, Field(ge=-1, le=10**6)] | None, BeforeValidator(_empty_as_none)]
Seconds = Annotated[Annotated[float, Field(ge=0, le=10**6)] | None, BeforeValidator(_empty_as_none)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Asked(BaseModel):
    """Which pairs, and which of them: a list by its sampling, or one pair by its name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scope: str = ""
    sampling: str = ""
    count: int = Field(20, ge=1, le=MOST)
    since: Place = None
    """Rows that the reviewer had written when the list was made."""
    blind: bool = False
    at: Place = None
    """Place in the list; the first that is not judged, if it is not named."""
    pairs: str = ""
    person: str = ""
    winner: Sample = None
    loser: Sample = None

    @property
    def names_pairs(self) -> bool:
        return bool(self.sampling or self.pairs)

    def pair_named(self) -> PairName:
        """The one pair. DataError where the address names none."""
        if not self.person or self.winner is None or self.loser is None:
            raise DataError("This address names no pair: it takes pairs, person, winner and loser.")
        return PairName(self.pairs, self.person, self.winner, self.loser)

    def fields(self) -> dict[str, str]:
        """What an address or a form carries to mean the same, without the place."""
        own = self.model_dump(include=set(Asked.model_fields) - {"at"}, exclude_defaults=True)
        return {name: "1" if value is True else str(value) for name, value in own.items()}

    def address(self) -> str:
        """Of the page that this asks for."""
        return address("/judge", **self.fields(), at=self.at)

    def at_place(self, place: int) -> str:
        """Of the page of a place of the same list."""
        return address("/judge", **self.fields(), at=place)


class Verdict(Asked):
    """The form of a verdict. `review` is the id that it counts once by."""

    pair: Digest
    review: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    verdict: Literal["accept", "swap", "reject", "left", "right"]
    note: Annotated[str, BeforeValidator(lambda text: str(text).replace("\r\n", "\n").strip())] = Field(
        "", max_length=LONGEST_NOTE
    )
    seconds: Seconds = None


class Taken(Asked):
    """The form that takes a verdict back, by its id."""

    undo: Annotated[str, Field(min_length=1, max_length=200)]


class Name(Asked):
    """The form of a reviewer's name."""

    reviewer: Annotated[str, BeforeValidator(lambda text: str(text).strip())] = Field(max_length=LONGEST_NAME)

    def keep(self, answer: Response) -> None:
        """Have the browser keep it. DataError if it can't be a name."""
        check_name(self.reviewer)
        answer.set_cookie(
            _COOKIE, quote(self.reviewer), max_age=_A_YEAR, path="/judge", httponly=True, samesite="strict"
        )


def asked_of(request: Request) -> Asked:
    """What an address asks for."""
    return _valid(Asked, dict(request.query_params))


def form_of(kind: type[Form]) -> Callable[[Request], Awaitable[Form]]:
    """What reads such a form out of a request."""

    async def read(request: Request) -> Form:
        if "origin" not in request.headers or request.headers.get("content-type", "").split(";")[0] != _FORM:
            raise HTTPException(403, "Only the pages of this server send forms")
        data = b""
        async for piece in request.stream():
            data += piece
            if len(data) > _MOST_BYTES:
                raise HTTPException(413, f"A form has at most {_MOST_BYTES} bytes")
        try:
            return _valid(kind, dict(parse_qsl(data.decode(), keep_blank_values=True)))
        except UnicodeDecodeError as error:
            raise HTTPException(400, "This form is no text") from error

    return read


def name_of(request: Request) -> str:
    """Who judges in this browser; empty where nobody has said it."""
    name = unquote(request.cookies.get(_COOKIE, ""))
    try:
        check_name(name)
    except DataError:
        return ""
    return name


def named(request: Request) -> str:
    """Who judges in this browser. DataError where nobody has said it."""
    name = name_of(request)
    if not name:
        raise DataError("Who says it? Open the page again and give a name.")
    return name


def _valid(kind: type[Form], values: dict[str, str]) -> Form:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
