"""The application: pages, pictures and files, behind the log-in and the guard."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from flows.browse import failures, pairs, people, person, pictures, rounds, sql
from flows.browse.access import LogIn
from flows.browse.desk import HERE, Desk
from flows.browse.judging import page as judging
from flows.serve.guard import Guard, own_hosts
from infra.listing import Listing
from schemas.errors import EngineError
from tasks.web.bundle import STATIC, VENDOR

ROUTERS = (
    rounds.router,
    people.router,
    person.router,
    pairs.router,
    judging.router,
    failures.router,
    sql.router,
    pictures.router,
)
_PICTURES = "/picture/"


def make_app(listing: Listing, token: str, port: int, body: str, root_solver: str) -> tuple[ASGIApp, Desk]:
    """The application for the store of these lists, and its desk, which whoever serves it closes, lists and all.

    Who has the `token` may see everything in the store; `port` is where it will be served.
    """
    desk = Desk(listing, body, root_solver)
    app = FastAPI(title="adhmr browse", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    app.state.kept = pictures.Kept()
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static/vendor", StaticFiles(directory=VENDOR), name="vendor")
    app.mount("/static/shared", StaticFiles(directory=STATIC), name="shared")
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_exception_handler(EngineError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    return Guard(LogIn(app, token, port), own_hosts(port)), desk


def _refused(request: Request, error: Exception) -> Response:
    """A page with the reason; in the place of a picture a picture that says that there is none."""
    status, text = 404, str(error)
    if isinstance(error, RequestValidationError):
        status, text = 422, "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
    elif isinstance(error, HTTPException):
        status, text = error.status_code, f"{error.detail}: {request.url.path}"
    if request.url.path.startswith(_PICTURES) and status == 404:
        return pictures.problem_picture(text)
    desk: Desk = request.app.state.desk
    return desk.page(request, "problem.html", status, text=text)
