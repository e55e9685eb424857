"""Human3.6M as OSX has it."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.osx_h36m.reader import OsxHuman36mReader

FORMAT = Format(
    "osx-h36m",
    "Human3.6M as OSX has it: four json files for each subject, with SMPL-X bodies",
    "people",
    OsxHuman36mReader,
    {"subjects": "such as 9,11; by default those of the split", "cameras": "such as 4, or all"},
    rank=2,
)
