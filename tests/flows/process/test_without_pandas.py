"""Arrow without pandas: it isn't loaded by what only reads, and is there for who asks for it."""

import subprocess
import sys

SCRIPT = """
import sys
from flows.process.without_pandas import _Missing, without_pandas
{before}
without_pandas()
import pyarrow.dataset
rows = pyarrow.table({{"a": [1, None]}})
print("pandas" in sys.modules, any(type(one) is _Missing for one in sys.meta_path))
frame = rows.to_pandas()
print(type(frame).__module__.partition(".")[0], frame["a"].isna().tolist())
{after}
"""


def run(before: str = "", after: str = "") -> list[str]:
    script = SCRIPT.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def test_it_is_loaded_where_it_is_asked_for_and_not_before() -> None:
    assert run() == ["False False", "pandas [False, True]"]


def test_where_it_is_loaded_already_its_objects_are_known() -> None:
    known = "print(pyarrow.array(frame['a']).null_count)"
    assert run("import pandas", known) == ["True False", "pandas [False, True]", "1"]
