"""Views of what ingests say that holds: `standing_images`, `standing_instances`, `standing_labels`.

The tables keep the rows of every ingest. One that was done again holds only what was new, changed or gone, and names in
`reads` the one that it builds on. Of a split the newest ingest holds, with those that it builds on; of a person, what
the newest of these says: a row, or in `failures` that there is none. (In Python: `standing`.)
"""

from typing import Final

STANDING: Final = ("images", "instances", "labels")
"""Tables that have such a view."""
UNDER_STANDING: Final = frozenset({*STANDING, "stages", "failures"})
"""Tables that the views are made of."""
_INGEST: Final = "ingest"
_CHAINS: Final = f"""
WITH RECURSIVE ingests AS (
    SELECT stage_key, reads, finished_at FROM stages WHERE stage = '{_INGEST}'
), chains AS (
    SELECT stage_key AS newest, stage_key, finished_at, 0 AS age FROM ingests
    UNION ALL
    SELECT chains.newest, earlier.stage_key, chains.finished_at, chains.age + 1
    FROM chains
    JOIN ingests this ON this.stage_key = chains.stage_key
    JOIN ingests earlier ON list_contains(this.reads, earlier.stage_key)
), held AS (
    SELECT DISTINCT dataset, split, stage_key FROM instances
), ranked AS (
    SELECT held.dataset, held.split, chains.newest, row_number() OVER (
        PARTITION BY held.dataset, held.split ORDER BY chains.finished_at DESC, chains.newest DESC
    ) AS place
    FROM held JOIN chains ON chains.stage_key = held.stage_key
), standing AS (
    SELECT ranked.dataset, ranked.split, chains.stage_key, chains.age
    FROM ranked JOIN chains ON chains.newest = ranked.newest
    WHERE ranked.place = 1
)"""
_OF_PEOPLE: Final = "SELECT stage_key, instance_id AS id FROM instances UNION ALL SELECT stage_key, id FROM failures"
_OF_PICTURES: Final = "SELECT stage_key, image_id AS id FROM images"


def view_name(table: str) -> str:
    """The name of the view of a table's rows that hold."""
    return f"standing_{table}"


def standing_view(table: str) -> str:
    """The SQL that makes the view of one of STANDING, over the views of the tables."""
    mentions, name = (_OF_PICTURES, "image_id") if table == "images" else (_OF_PEOPLE, "instance_id")
    return f"""CREATE OR REPLACE VIEW {view_name(table)} AS {_CHAINS}, said AS (
    SELECT standing.dataset, standing.split, words.id, min(standing.age) AS age
    FROM standing JOIN ({mentions}) words ON words.stage_key = standing.stage_key
    GROUP BY ALL
)
SELECT {table}.* FROM {table}
JOIN standing ON standing.stage_key = {table}.stage_key
    AND standing.dataset = {table}.dataset AND standing.split = {table}.split
JOIN said ON said.id = {table}.{name} AND said.age = standing.age
    AND said.dataset = {table}.dataset AND said.split = {table}.split"""
