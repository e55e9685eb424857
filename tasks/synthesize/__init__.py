"""Synthetic people for the embedded default: three domains of pictures that the project makes itself."""

from tasks.synthesize.domains import Domain, domain_named, scorer, source, wild
from tasks.synthesize.picture import Label, Picture, make_picture
from tasks.synthesize.write import Record, records_table, write_pictures, write_tables

__all__ = [
    "Domain",
    "Label",
    "Picture",
    "Record",
    "domain_named",
    "make_picture",
    "records_table",
    "scorer",
    "source",
    "wild",
    "write_pictures",
    "write_tables",
]
