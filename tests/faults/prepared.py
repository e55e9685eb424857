"""The line of `tests.faults.chain`, walked once for all tests, with the store as it was between any two stages."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from infra.store import Store
from tests.faults.chain import copy
from tests.faults.nursery import Nursery
from tests.faults.tables import visible


@dataclass
class Prepared:
    """The store that tests work in is always at the same place, as some rows name it; `keys` are the stages' by title,
    in the order of the line."""

    nursery: Nursery
    store: Store
    snapshots: Path
    keys: dict[str, str]
    _rows: dict[str, dict[str, pa.Table]] = field(default_factory=dict)

    @staticmethod
    def walk(nursery: Nursery, folder: Path) -> "Prepared":
        """Walk the line, undisturbed."""
        url = str(folder / "store")
        outcome = nursery.do("tests.faults.chain:prepare", url, str(folder / "snapshots"))
        assert outcome.returncode == 0, outcome
        return Prepared(nursery, Store.open(url), folder / "snapshots", dict(outcome.result))

    def enter(self, title: str, to: Path | None = None) -> None:
        """Put the store, or another place, in the state that it had before a stage."""
        copy(str(self.snapshots / str(self._place(title))), str(to) if to else self.store.root)

    def after(self, title: str) -> Store:
        """The store that an undisturbed stage left. Only to be read."""
        return Store.open(self.snapshots / str(1 + self._place(title)), create=False)

    def rows_after(self, title: str) -> dict[str, pa.Table]:
        """All that a reader sees in it."""
        if title not in self._rows:
            self._rows[title] = visible(self.after(title))
        return self._rows[title]

    def before(self, title: str) -> dict[str, str]:
        """The keys of the stages before this one."""
        return dict(list(self.keys.items())[: self._place(title)])

    def _place(self, title: str) -> int:
        return list(self.keys).index(title)
