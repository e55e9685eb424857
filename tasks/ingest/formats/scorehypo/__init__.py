"""The json files of ScoreHypo and ADHMR, of seven data sets."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.scorehypo.reader import ScoreHypoReader
from tasks.ingest.formats.scorehypo.recognition import NAME, recognise

FORMAT = Format(
    NAME,
    "json of ScoreHypo and ADHMR (HybrIK's): 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII, UP3D, SURREAL",
    "people",
    ScoreHypoReader,
    recognise,
    {"set": "which of the seven it is; by default told by its structure"},
    documentation="the json files of ScoreHypo and ADHMR (HybrIK's style): 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII, "
    "UP3D, SURREAL",
    rank=1,
)
