"""The queries of docs/queries.md, by heading."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
QUERIES: dict[str, str] = {
    heading.strip(): sql
    for heading, sql in re.findall(
        r"^## (.+?)$.*?^```sql\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
}
