"""The files of others in pages: fetched from npm as `vendor.json` says. `make vendor`

`python -m tests.maintenance.vendor` fetches the versions that the file names and refuses other bytes than it records;
with `--renew` it records what came: raise a version in the file first, then look at the change.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tasks.web.bundle import VENDOR as FOLDER

PINS = FOLDER / "vendor.json"


def main(renew: bool) -> None:
    """Fetch all packages of the file into the folder beside it."""
    pins: dict[str, Any] = json.loads(PINS.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for package, pin in pins.items():
            for member, file in pin["files"].items():
                data = member_of(archive_of(package, pin["version"], Path(folder)), member)
                digest = hashlib.sha256(data).hexdigest()
                if digest != file["sha256"] and not renew:
                    sys.exit(
                        f"{package} {pin['version']}: {member} is not what vendor.json records; --renew records it."
                    )
                file["sha256"] = digest
                (FOLDER / file["as"]).write_bytes(data)
    PINS.write_text(json.dumps(pins, indent=2) + "\n")


def archive_of(package: str, version: str, folder: Path) -> Path:
    """The package's archive, fetched once into the folder."""
    archive = folder / f"{package}-{version}.tgz"
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            sys.exit("npm is not installed, and the files come from its registry.")
        packed = subprocess.run(
            [npm, "pack", "--silent", f"{package}@{version}"], cwd=folder, capture_output=True, text=True, check=True
        )
        (folder / packed.stdout.strip().splitlines()[-1]).rename(archive)
    return archive


def member_of(archive: Path, member: str) -> bytes:
    """The bytes of one of its files; archives of npm have all below `package/`."""
    with tarfile.open(archive) as opened:
        file = opened.extractfile(f"package/{member}")
        assert file is not None, member
        return file.read()


if __name__ == "__main__":
    main("--renew" in sys.argv[1:])
