"""The table of faults: what goes wrong, what is done to bring it about, and the tests that say what must hold."""

from typing import NamedTuple


class Row(NamedTuple):
    """A fault. `tests` are beginnings of pytest's names of tests; a file alone means all of its tests."""

    fault: str
    done: str
    tests: tuple[str, ...]


CHOSEN = "FAULTS_CHOSEN"
"""The variable that tells `chosen` of the tests, a line each. The tests remove variables that begin with ADHMR."""
FAULTS = "tests/faults/"
SHARDED, TRAINING = "tests/tasks/engine/test_sharded.py::", "tests/tasks/engine/test_training.py::"
ROWS = (
    Row(
        "the driver is killed at a step of a stage",
        "SIGKILL at every point of every stage of two rounds, and of whole `adhmr run`s",
        (f"{FAULTS}test_every_step.py", f"{FAULTS}test_kills.py::test_generate",
         f"{FAULTS}test_kills.py::test_evaluate", f"{FAULTS}test_kills.py::test_align",
         f"{FAULTS}test_killed_rounds.py", f"{SHARDED}test_killed_driver_leaves_no_ray_behind"),
    ),
    Row(
        "a worker of Ray is killed",
        "SIGKILL of the worker in generate, in score and in DPO, in one session",
        (f"{FAULTS}test_dead_workers.py::test_a_worker_dies_in_each_stage",
         f"{SHARDED}test_processes_of_ray_are_kept_on_the_cpu_replaced_when_they_die_and_gone_with_a_gpu",
         f"{SHARDED}test_a_worker_process_that_dies_ends_the_stage_in_plain_words"),
    ),
    Row(
        "a node of Ray is killed",
        "SIGKILL of a raylet of two that work (`ray start`), in generate, in score and in DPO",
        (f"{FAULTS}test_dead_workers.py::test_a_node_dies_in_each_stage",),
    ),
    Row(
        "the training worker is killed in mid-epoch",
        "SIGKILL of driver and worker, alone and in a group of two; weights and curves bit for bit",
        (f"{TRAINING}test_killed_with_its_driver_and_once_more", f"{TRAINING}test_killed_in_a_group",
         f"{TRAINING}test_resumed_from_each_checkpoint_it_is_the_same_model_with_the_same_curves"),
    ),
    Row(
        "the Prefect server restarts in mid-round",
        "SIGKILL of a real server after the pairs, away for seconds, started again",
        (f"{FAULTS}test_server_restarts.py::test_the_round",),
    ),
    Row(
        "the temporary Prefect server of a command is killed",
        "SIGKILL before the training of an `adhmr run`; the command starts another one",
        (f"{FAULTS}test_server_restarts.py::test_a_temporary",),
    ),
    Row(
        "a round is triggered twice at once",
        "two flow runs at once; two processes that do not see each other's lease",
        (f"{FAULTS}test_twice.py", f"{FAULTS}test_kills.py::test_two_processes_that_generate_at_once"),
    ),
    Row(
        "a command is stopped, ended from below, or hangs",
        "TERM, HUP and INT to it, to what works and to both; aborted, killed, deaf; a start of Ray that hangs",
        ("tests/flows/process/test_supervised.py",),
    ),
    Row(
        "a signal to any process of a run, at any moment",
        "KILL, TERM, INT, HUP, a stop of 20 s; to command, driver, Ray's worker, raylet, gcs, agent, Prefect's server",
        (f"{FAULTS}test_signals.py",),
    ),
    Row(
        "a lease is taken over, its holder hangs, the store is removed",
        "forty take-overs by four processes; late writes of a zombie; no progress for long",
        ("tests/flows/run/test_lease.py", "tests/flows/run/test_session.py"),
    ),
    Row(
        "the machine lacks something",
        "home, temporary folder, name, signs, proxy, Prefect's server",
        ("tests/flows/process/test_surroundings.py",),
    ),
    Row(
        "S3 fails",
        "500, 503, slow, no answer, half an answer, for one request in ten; every commit's answer lost",
        (f"{FAULTS}test_flaky_s3.py",),
    ),
    Row(
        "the disk is full in mid-write",
        "a tmpfs filled to some pages at nine points of six stages; a limit on the size of files",
        (f"{FAULTS}test_full_disk.py",),
    ),
    Row(
        "bad pictures, NaN, scores all equal, hypotheses identical",
        "one of each on the way from pictures to a trained policy; too many of them",
        (f"{FAULTS}test_bad_units.py", "tests/tasks/ingest/test_ingest.py::test_everything_bad_is_named",
         "tests/tasks/test_generate.py::test_not_finite_is_a_failure",
         "tests/tasks/test_generate.py::test_too_many_that_are_not_finite",
         "tests/tasks/test_score.py::test_scores_that_are_not_finite", "tests/tasks/test_pair.py::test_reasons",
         "tests/tasks/test_pair.py::test_pairs_keep_their_promises"),
    ),
    Row(
        "a bit flips on the disk",
        "500 bits of data files, logs, models, receipts and facts, drawn by a seed; training checkpoints, plans",
        (f"{FAULTS}test_flipped_bits.py", "tests/infra/test_intact.py", "tests/infra/test_sealed.py",
         "tests/flows/doctor/test_deep.py", f"{TRAINING}test_a_damaged_file_of_an_earlier_run",
         "tests/tasks/ingest/plan/test_files.py::test_a_damaged_plan_is_said_and_made_again",
         "tests/tasks/rows/test_models.py"),
    ),
    Row(
        "clocks jump, shards of other code",
        "clocks set by days and years; shards of another stage version and of a changed checkout",
        (f"{FAULTS}test_clocks_and_code.py", "tests/flows/run/test_lease.py"),
    ),
    Row(
        "a promotion and a rollback at the same moment",
        "two processes at once, eight times; three promotions of one round",
        (f"{FAULTS}test_promotions.py",),
    ),
    Row(
        "the power fails, and the disk forgets what was not synced",
        "clones of the store as it may be found: each file in doubt whole, empty or absent, for every kind of commit",
        (f"{FAULTS}test_power_loss.py",),
    ),
    Row(
        "another command in the middle of a stage",
        "a vacuum without grace at every point of two rounds; a second run, an ingest, a roll-back at points of stages",
        (f"{FAULTS}test_interleaved.py::test_a_vacuum", f"{FAULTS}test_interleaved.py::test_a_second_run",
         f"{FAULTS}test_interleaved.py::test_an_ingest", f"{FAULTS}test_interleaved.py::test_a_roll_back",
         "tests/infra/test_vacuum.py"),
    ),
    Row(
        "somebody removes files of a stage at work, or of a table",
        "receipts, data files and a checkpoint removed at points of stages; a query beside a torn table",
        (f"{FAULTS}test_interleaved.py::test_somebody_removes_a_file",
         f"{SHARDED}test_what_something_removes_meanwhile_is_made_again",
         f"{SHARDED}test_what_something_keeps_removing_ends_the_stage_in_plain_words",
         "tests/infra/test_tables.py::test_a_commit_refuses_files_that_are_not_there",
         "tests/infra/test_views.py::test_a_torn_table_fails_alone_with_its_name_and_the_cure"),
    ),
)  # fmt: skip
