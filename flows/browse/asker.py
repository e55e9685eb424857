"""The child that answers SQL: `python -m flows.browse.asker STORE`."""

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from flows.browse.child import Answer, serve
from flows.process.visible import visible
from infra.store import Store
from infra.views import query

MOST_ROWS: Final = 1000
PERSON: Final = "instance_id"
_MOST_CHARACTERS: Final = 300


def main(url: str) -> None:
    """Answer until nobody asks any more."""
    store = Store.open(url, create=False)

    def work(request: Mapping[str, Any]) -> Answer:
        began = time.monotonic()
        rows = query(store, str(request["sql"]), most=MOST_ROWS + 1)
        shown = rows.slice(0, MOST_ROWS)
        # column by column: two may have one name
        columns = [[_plain(value) for value in column.to_pylist()] for column in shown.columns]
        about = {
            "columns": [visible(name) for name in rows.column_names],
            "rows": list(map(list, zip(*columns, strict=True))),
            # as they are, for links, by the column's place
            "ids": {
                str(place): [None if value is None else str(value) for value in shown.column(place).to_pylist()]
                for place, name in enumerate(rows.column_names)
                if name == PERSON
            },
            "more": rows.num_rows > MOST_ROWS,
            "seconds": time.monotonic() - began,
        }
        return Answer("application/json", json.dumps(about).encode())

    serve(work)


def _plain(value: object) -> Any:
    """A value as JSON has it: numbers as they are, everything else as the text that is shown."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = visible(str(value), keep="\n")
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


if __name__ == "__main__":
    main(sys.argv[1])
