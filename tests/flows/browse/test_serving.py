"""What serves the pages: how it ends."""

from typing import Any

import pytest

from flows.browse import serving
from flows.browse.desk import Desk
from infra.store import Store


def test_lists_are_there_until_what_is_made_ahead_has_ended(
    browsed_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def late(desk: Desk, over: Any) -> None:
        assert over.wait(30)
        found.append(desk.listing.rows("SELECT count(*) AS n FROM people"))

    monkeypatch.setattr(serving, "_take_people", late)
    monkeypatch.setattr(serving._Told, "run", lambda server: server.ready())
    serving.serve(browsed_store, 0, "tiny", "procrustes", found.append, open_page=False)
    link, rows = found
    assert "token=" in link
    assert rows == [{"n": 0}]
