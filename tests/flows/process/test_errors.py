"""What a person sees when a command goes wrong."""

import os
from typing import NoReturn

import httpx
import pytest
from botocore.exceptions import EndpointConnectionError  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from flows.process.errors import TRACEBACK_VARIABLE, LostServerError, clear_errors, without_passwords
from schemas.config.base import Config, setting
from schemas.errors import ConfigError, DataError, EngineError


class Optimiser(Config):
    steps: int = setting(10, "optimiser steps", "steps", ge=1)


class Whole(Config):
    optimiser: Optimiser = Optimiser()


def ending(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as end, clear_errors():
        raise error
    out, err = capsys.readouterr()
    assert out == ""
    return end.value.code, err


@pytest.mark.parametrize("kind", [EngineError, ConfigError, DataError])
def test_a_curable_error_is_one_line_and_code_2(kind: type[EngineError], capsys: pytest.CaptureFixture[str]) -> None:
    code, text = ending(kind("No picture in x.\n   Give another folder."), capsys)
    assert (code, text) == (2, "adhmr: No picture in x. Give another folder.\n")


@pytest.mark.timeout(30)
def test_an_error_that_was_raised_from_itself_ends(capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("No picture in x.")
    error.__cause__ = error
    assert ending(error, capsys) == (2, "adhmr: No picture in x.\n")


def test_the_error_inside_of_rays_mixture_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class RayMixtureError(DataError):
        cause = DataError("row 3 of boxes.csv has no path")

    assert ending(RayMixtureError("ray::worker() long remote traceback"), capsys) == (
        2,
        "adhmr: row 3 of boxes.csv has no path\n",
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"optimiser": {"stepz": 3}}, "Whole.optimiser.stepz: there is no such field"),
        ({"optimiser": {"steps": 0}}, "Whole.optimiser.steps: should be greater than or equal to 1, not 0"),
        ({"a": 1, "b": 2}, "Whole.a: there is no such field; Whole.b: there is no such field"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    values: dict[str, object], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(values)
    assert ending(caught.value, capsys) == (2, f"adhmr: {text}\n")


def test_a_validation_error_that_is_no_configuration_keeps_its_traceback() -> None:
    class Inner(BaseModel):
        value: int

    with pytest.raises(ValidationError), clear_errors():
        Inner.model_validate({})


def test_errors_of_s3_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, clear_errors():
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    assert ended.value.code == 2
    assert "S3 can't be reached: Could not connect to the endpoint URL" in capsys.readouterr().err


def test_a_lost_server_ends_the_program_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(code: int) -> NoReturn:
        raise KeyError(code)

    monkeypatch.setattr(os, "_exit", end)
    for error in (httpx.ConnectError("refused"), LostServerError("The server ended.")):
        with pytest.raises(KeyError, match="2"), clear_errors():
            raise error
    err = capsys.readouterr().err
    assert "adhmr: Prefect's server can't be reached any more (refused). Finished stages stay finished" in err
    assert "adhmr: The server ended.\n" in err


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(KeyboardInterrupt(), capsys) == (130, "adhmr: stopped; run the same command again to go on\n")


def test_defects_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), clear_errors():
        _ = 1 / 0


def test_tracebacks_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(DataError), clear_errors():
        raise DataError("x")


def test_as_a_decorator_it_can_be_used_more_than_once(capsys: pytest.CaptureFixture[str]) -> None:
    @clear_errors()
    def command(fail: bool) -> int:
        if fail:
            raise DataError("bad")
        return 7

    assert command(False) == 7
    for _ in range(2):
        with pytest.raises(SystemExit):
            command(True)
    assert capsys.readouterr().err == "adhmr: bad\n" * 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no answer from http://ada:s3cr:et@host:1/api?x=1 (401)", "no answer from http://host:1/api?x=1 (401)"),
        ("postgresql+asyncpg://ada:p@ss@db/prefect", "postgresql+asyncpg://db/prefect"),
        ("http://host/a@b and http://host", "http://host/a@b and http://host"),
        ("two: http://a:b@x,\nhttp://c:d@y", "two: http://x,\nhttp://y"),
    ],
)
def test_urls_are_shown_without_passwords(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
