"""A session on a cluster: our code goes with it, credentials don't, and what can never fit is said at once."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray

from infra.ray_session import check_resources, lacking, ray_session
from infra.services import OWN_RAY, free_port
from schemas.errors import ConfigError
from tests.infra.two_nodes import Cluster, nodes, two_nodes

ROOT = Path(__file__).resolve().parents[2]
SECRET = "planted-9f3a-for-the-grep"

DRIVER = """
import json, os
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from infra.ray_session import check_resources, ray_session, room_for
from schemas.errors import ConfigError

def main():
    with ray_session(threads=1):
        def look():
            import infra, flows, models
            names = ("OMP_NUM_THREADS", "AWS_SECRET_ACCESS_KEY")
            return {
                "infra": infra.__file__, "flows": list(flows.__path__), "shipped": os.listdir(list(models.__path__)[0]),
                "node": ray.get_runtime_context().get_node_id(), "environment": {n: os.environ.get(n) for n in names},
            }
        remote = ray.remote(num_cpus=1)(look)
        nodes = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes()]
        seen = ray.get([remote.options(scheduling_strategy=node).remote() for node in nodes])
        refused = []
        for needed, count in (({"CPU": 2}, 1), ({"CPU": 1, "GPU": 0.5}, 1), ({"CPU": 1}, 3)):
            try:
                check_resources(needed, count)
            except ConfigError as error:
                refused.append(str(error))
        with_runtime = ray.get_runtime_context().runtime_env.to_dict()
        print(json.dumps({"seen": seen, "room": room_for({"CPU": 0.5}), "refused": refused, "runtime": with_runtime}))

main()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with two_nodes(AWS_SECRET_ACCESS_KEY="of-the-nodes") as made:
        yield made
    assert not made.processes()


def drive(
    cluster: Cluster, script: str, folder: Path, words: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {**cluster.environment, "RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.slow
def test_the_cluster_is_on_the_loopback_alone(cluster: Cluster) -> None:
    assert len(cluster.processes("raylet")) == 2
    heard = []
    for process in cluster.processes():
        with suppress(psutil.NoSuchProcess):  # one that has ended since it was listed
            heard += [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert heard
    assert {one.laddr.ip.removeprefix("::ffff:") for one in heard} <= {"127.0.0.1", "::1"}


@pytest.mark.slow
def test_code_is_sent_and_limits_are_told(cluster: Cluster, tmp_path: Path) -> None:
    done = drive(cluster, DRIVER, tmp_path, AWS_SECRET_ACCESS_KEY=SECRET, PREFECT_API_AUTH_STRING=SECRET)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert len({one["node"] for one in said["seen"]}) == 2
    for one in said["seen"]:
        assert "py_modules_files" in one["infra"], "the workers run code that was installed, not the driver's"
        assert "py_modules_files" in one["flows"][0]
        assert {"bodies.py", "data"} <= set(one["shipped"])
        assert one["environment"] == {"OMP_NUM_THREADS": "1", "AWS_SECRET_ACCESS_KEY": "of-the-nodes"}
    assert said["room"] == 4
    nowhere, no_gpu, too_many = said["refused"]
    assert "No node of Ray can ever host a worker of this stage, which needs 2 CPU" in nowhere
    assert nowhere.count("has 1 CPU") == 2
    assert "needs 1 CPU, 0.5 GPU" in no_gpu
    assert "0 GPU" in no_gpu
    assert "it needs 3 workers with 1 CPU each, and the cluster can host 2" in too_many
    assert SECRET not in str(said["runtime"])
    for log in cluster.folder.rglob("*"):
        if log.is_file() and not log.is_symlink():
            assert SECRET.encode() not in log.read_bytes(), log


ALONE = """
import json
import ray
from infra.ray_session import ray_session

def main():
    with ray_session(threads=1):
        def look(row):
            import infra
            return {"infra": infra.__file__}
        rows = ray.data.from_items([1]).map(look, num_cpus=0.5).take_all()
        named = ray.util.list_named_actors(all_namespaces=True)
        print(json.dumps({"infra": rows[0]["infra"], "actors": named}))

main()
"""


@pytest.mark.slow
def test_a_ray_of_our_own_is_one_machine(tmp_path: Path) -> None:
    """That of `make serve`: no actors of Ray Data for clusters, and our packages from where they are."""
    with nodes((1,)) as alone:
        seen = []
        for own in (alone.address, "127.0.0.1:1"):
            done = drive(alone, ALONE, tmp_path, **{OWN_RAY: own})
            assert done.returncode == 0, done.stderr
            seen.append(json.loads(done.stdout.splitlines()[-1]))
    assert [one["actors"] for one in seen] == [[], []]
    assert [Path(one["infra"]).parents[1] == ROOT for one in seen] == [True, False]


SHARED = """
import sys
from pathlib import Path
from infra import shared_store
from infra.ray_session import ray_session
from infra.store import Store
from schemas.errors import ConfigError

with ray_session(threads=1):
    store = Store.open(sys.argv[1])
    shared_store.check_store_is_shared(store)
    looked = shared_store._sees
    # as a node of another machine would find it
    shared_store._sees = lambda node, path: looked(node, path.replace("store", "another-disk"))
    try:
        shared_store.check_store_is_shared(store)
    except ConfigError as error:
        print(error)
    print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
"""


@pytest.mark.slow
def test_a_store_in_a_folder_is_looked_for_on_other_nodes(cluster: Cluster, tmp_path: Path) -> None:
    done = drive(cluster, SHARED, tmp_path, words=(str(tmp_path / "store"),))
    assert done.returncode == 0, done.stderr
    refused, left = done.stdout.splitlines()
    assert f"{tmp_path / 'store'}, which these nodes of the Ray cluster don't see: 127.0.0.1 (" in refused
    assert "s3:// URL" in refused
    assert "seen" not in left


@pytest.mark.slow
def test_another_token_is_refused_in_words(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other-token"
    other.write_text("0" * 64)
    script = "from infra.ray_session import ray_session\nwith ray_session():\n    print('joined')"
    done = drive(cluster, script, tmp_path, RAY_AUTH_TOKEN_PATH=str(other))
    assert done.returncode != 0
    assert "joined" not in done.stdout
    assert f"The Ray cluster at RAY_ADDRESS={cluster.address}" in done.stderr  # Ray itself knows why only sometimes
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH" in done.stderr


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(ConfigError, match="No Ray cluster answers at RAY_ADDRESS=127"), ray_session():
        pass
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["ray://name:word@head:10001", "http://head:8265"])
def test_addresses_of_another_kind(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match="it must be HOST:PORT") as refused, ray_session():
        pass
    assert "word" not in str(refused.value)


OTHER_USER = """
import os, sys
from ray._raylet import GcsClient
os.setgid(65534)
os.setuid(65534)
met = []
for look in (lambda: GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None), lambda: os.listdir(sys.argv[2])):
    try:
        met.append(look())
    except Exception as error:
        met.append(type(error).__name__)
print(*met, sep=", ")
"""


def others_get(address: str, folder: Path) -> str:
    """What another user of the machine finds of a session: at its address, and in its folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    looked = subprocess.run(
        [sys.executable, "-c", OTHER_USER, address, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return looked.stdout or looked.stderr


@pytest.mark.slow
def test_limits_of_a_local_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    spill = tmp_path / "spill"
    with ray_session(cpus=1, object_store_bytes=90 * 1024**2, spill_folder=str(spill)) as resources:
        node = ray._private.worker.global_worker.node
        files = Path(node.get_temp_dir_path()).parent
        assert [folder.stat().st_mode & 0o777 for folder in (files, *spill.iterdir())] == [0o700, 0o700]
        if os.geteuid() == 0:
            assert others_get(node.gcs_address, files) == "AuthenticationError, PermissionError\n"
        assert resources["object_store_memory"] == 90 * 1024**2
        held = [ray.put(os.urandom(30 * 1024**2)) for _ in range(5)]
        assert len(ray.get(held[0])) == 30 * 1024**2
        assert any(path.is_file() for path in spill.rglob("*")), "nothing was spilled to the folder"
        with pytest.raises(ConfigError, match=r"No node of Ray can ever host .* 1 CPU"):
            check_resources({"CPU": 2})
    assert not files.exists()
    assert list(spill.iterdir()) == []
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_what_others_hold_is_told_once_it_is_not_given_back_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look finds what the stage before is just giving back; later ones what another program keeps."""
    looks = iter([{"CPU": 0.5}, {"CPU": 2.0}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 2.0})
    monkeypatch.setattr(ray, "available_resources", lambda: next(looks))
    assert lacking({"CPU": 1.0}) == ""
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 4.0})  # Ray leaves out what is all in use
    assert lacking({"CPU": 1.0, "GPU": 1.0}, seconds=0.0) == "1 CPU, 1 GPU needed, 0 of 2 GPU free"
