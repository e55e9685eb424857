"""Kill points for fault tests: with `ADHMR_FAULT_AT=<point>` set, the process that reaches the point kills itself.

`ADHMR_FAULT_AT=shard:generate@3` lets the point pass twice and kills at the third time. Without the variable,
nothing happens. The kill is SIGKILL: no clean-up runs, as when a machine dies. Points that exist:

- `shard-file:<table>`: a worker is about to write a shard's file for the table
- `shard:<stage>`: the driver learned that one more shard is on disk
- `commit:<table>`: before the transaction that adds a stage's files to the table (`commit:stages` is the last one)
- `committed:<stage>`: after everything
- `train:<stage>`: the driver heard of a training's progress
- `train:step:<n>`: a training worker has done step n (Ray starts another worker, which may reach the point again)
"""

import os
import signal

VARIABLE = "ADHMR_FAULT_AT"
_reached: dict[str, int] = {}


def reach(point: str) -> None:
    """Kill this process if the environment names `point`; else do nothing."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    name, _, times = wanted.partition("@")
    if name != point:
        return
    _reached[point] = _reached.get(point, 0) + 1
    if _reached[point] >= int(times or 1):
        os.kill(os.getpid(), signal.SIGKILL)
