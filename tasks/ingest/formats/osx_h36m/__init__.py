"""Human3.6M as OSX has it."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.osx_h36m.reader import NAME, OsxHuman36mReader
from tasks.ingest.formats.osx_h36m.recognition import recognise

FORMAT = Format(
    NAME,
    "Human3.6M as OSX has it: four json files for each subject, with SMPL-X bodies",
    "people",
    OsxHuman36mReader,
    recognise,
    {"subjects": "such as 9,11; by default those of the split", "cameras": "such as 4, or all"},
    documentation="Human3.6M as OSX has it: four json files for each subject",
    dataset="human36m",
    rank=2,
)
