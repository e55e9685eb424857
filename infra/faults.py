"""Kill points for fault tests: with `ADHMR_FAULT_AT=<point>` set, the process that reaches the point kills itself.

`ADHMR_FAULT_AT=shard:generate@3` lets the point pass twice and kills at the third time. Without the variable,
nothing happens. Several points are separated by commas. The kill is SIGKILL: no clean-up runs, as when a machine dies.
With `ADHMR_FAULT_ONCE=<path>` one process alone dies at each point, the one that makes the file `<path>.<point>`; with
`ADHMR_FAULT_TAKES=parent` its parent dies before it: of Ray's workers that is the raylet, so that the whole node goes.

Points that exist, in the order in which a stage comes by:

- `begin:<stage>`: a sharded stage or a training knows that there is work, and has done none of it
- `file:<folder>`: a file below this folder of a local store (tables, shards, checkpoints, reports, synthetic, ingests,
  ray, leases) is whole under its temporary name, and hasn't got its own yet; `file:pictures` likewise for pictures made
- `shard-file:<table>`: a worker is about to write a shard's file for the table
- `shard:<stage>`: the driver learned that one more shard is on disk
- `shards:<stage>`: all shards are on disk, nothing is committed
- `cached:<kind>`: a file of this kind (crops, copy) of a machine's cache is written, and hasn't got its name yet
- `train:<stage>`: the driver heard of a training's progress
- `train:step:<n>`: a training worker has done step n (Ray starts another worker, which may reach the point again)
- `trained:<stage>`: the model's file is in the store, and nothing says yet that the training is over
- `made:<stage>`: a small stage or a training has its rows, none of them written
- `commit:<table>`: before the transaction that adds a stage's files to the table (`commit:stages` is the last one)
- `append:<table>`: the file with rows of `stages`, `rounds` or `reviews` is there, its transaction isn't
- `merge:<table>`: rows of one of these are in a merged file that no version knows yet
- `checkpoint:<table>`: a checkpoint of the table is made, the entries that it holds are still there
- `committed:<stage>`: after everything; `committed:reviews`: reviews are in, and whoever sent them doesn't know it
"""

import os
import signal

VARIABLE = "ADHMR_FAULT_AT"
ONCE = "ADHMR_FAULT_ONCE"
TAKES = "ADHMR_FAULT_TAKES"
_reached: dict[str, int] = {}


def reach(point: str) -> None:
    """Kill this process if the environment names `point`; else do nothing."""
    for wanted in filter(None, os.environ.get(VARIABLE, "").split(",")):
        name, _, times = wanted.partition("@")
        if name != point:
            continue
        _reached[point] = _reached.get(point, 0) + 1
        if _reached[point] >= int(times or 1) and _is_first(point):
            if os.environ.get(TAKES) == "parent":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


def _is_first(point: str) -> bool:
    """Whether no process died at the point before, where one death was asked for; notes this one."""
    path = os.environ.get(ONCE)
    if not path:
        return True
    try:
        os.close(os.open(f"{path}.{point}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
