"""Makes `store.zip`: a store as the code of another checkout makes it, thinned to its tables as they are now.

    git worktree add --detach /tmp/before REVISION
    python -m tests.earlier.make_store /tmp/before

The `tests.faults.chain` of that checkout walks a DPO round, a cleaning round and what people bring, at the smallest
sizes. Beside the tables the archive holds the configuration, as that code wrote it. Nothing in it tells where it was
made: place, user and machine are those below.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from deltalake import DeltaTable

ARCHIVE = Path(__file__).with_name("store.zip")
CONFIGURATION = "configuration.json"
PLACE, USER, MACHINE = "/tmp/adhmr-earlier", "engine", "machine"
_WALK = f"""
import getpass, pathlib, socket
getpass.getuser, socket.gethostname = lambda: {USER!r}, lambda: {MACHINE!r}
from tests.faults import chain
chain.prepare("{PLACE}/store", "{PLACE}/snapshots")
pathlib.Path("{PLACE}", "{CONFIGURATION}").write_text(chain.CONFIG.model_dump_json(), encoding="utf-8")
"""


def main(checkout: str) -> None:
    """Have the checkout make its store, and pack what is kept of it."""
    place = Path(PLACE)
    place.mkdir()
    try:
        environment = {**os.environ, "PYTHONPATH": checkout, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", _WALK], cwd=checkout, env=environment, check=True)
        kept = [place / CONFIGURATION, place / "store/adhmr-store.json"]
        for table in sorted((place / "store/tables").iterdir()):
            kept += sorted(path for path in (table / "_delta_log").iterdir() if path.is_file())
            kept += sorted(map(Path, DeltaTable(table).file_uris()))
        with ZipFile(ARCHIVE, "w") as archive:
            for path in kept:
                name = ZipInfo(path.relative_to(place).as_posix())  # with no time
                archive.writestr(name, path.read_bytes(), ZIP_DEFLATED)
    finally:
        shutil.rmtree(place)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
