"""infra/deploy: what `adhmr init` lays, as far as it can be checked where nothing of it runs."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "infra/deploy"
FILES = ("compose.yaml", "kuberay.yaml", "Dockerfile")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
WHEEL = "adhmr_engine-*.whl"
SERVICE_FIELDS = {
    *("build", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "init", "ports", "restart"),
    *("secrets", "shm_size", "volumes"),
}
"""Those of compose's specification that are used here; a misspelt one would be refused, or worse, passed over."""
TOP_FIELDS = {"name", "services", "secrets", "volumes"}
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z_0-9]*)(:?[-?][^}]*)?\}")
PINNED = re.compile(r"^[a-z0-9./-]+:.*\d+\.\d+|^[a-z0-9./-]+:RELEASE\.\d{4}-\d{2}-\d{2}")


def text(name: str) -> str:
    return (DEPLOY / name).read_text("utf-8")


def pins() -> dict[str, str]:
    lines = text("constraints.txt").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(text("compose.yaml"))


@pytest.fixture(scope="module")
def kuberay() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text("kuberay.yaml")))


def values(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar of a document, with where it stands."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from values(inner, f"{path}.{key}")
    elif isinstance(node, list):
        for number, inner in enumerate(node):
            yield from values(inner, f"{path}.{number}")
    else:
        yield path, node


def test_compose_has_the_shape_of_its_specification(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} <= TOP_FIELDS
    assert set(compose["services"]) == {"database", "prefect", "objects", "bucket", "ray-head", "ray-worker", "worker"}
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_FIELDS, name
        assert "image" in service, name
        assert all(isinstance(word, str) for word in service.get("command", [])), name
        for variable, value in service.get("environment", {}).items():
            assert isinstance(value, str), f"{name}: {variable} is no text, which YAML may read as another kind"
        for other, condition in _depends(service).items():
            assert other in compose["services"], f"{name} waits for {other}"
            if condition == "service_healthy":
                assert "healthcheck" in compose["services"][other], f"{name} waits for the health of {other}"
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"], name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("/") or source in compose["volumes"], volume


def _depends(service: dict[str, Any]) -> dict[str, str]:
    asked = service.get("depends_on", {})
    return dict.fromkeys(asked, "") if isinstance(asked, list) else {k: v["condition"] for k, v in asked.items()}


def test_nothing_is_published_beyond_this_machine(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) >= 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports), ports
    for service in compose["services"].values():
        assert "network_mode" not in service


def test_variables_are_well_formed(compose: dict[str, Any]) -> None:
    for path, value in values(compose):
        if isinstance(value, str) and "$" in value:
            assert "$" not in VARIABLE.sub("", value), f"{path}: {value}"


def test_images_have_versions(compose: dict[str, Any], kuberay: list[dict[str, Any]]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    images += [value for path, value in values(kuberay) if path.endswith(".image")]
    images += re.findall(r"^FROM (\S+)", text("Dockerfile"), re.MULTILINE)
    assert len(images) >= 9
    for image in images:
        shown = VARIABLE.sub("cpu", image)
        assert PINNED.match(shown), f"{image} names no version"
        assert "latest" not in image


@pytest.mark.parametrize("name", FILES)
def test_no_secret_stands_in_them(name: str) -> None:
    for line in VARIABLE.sub("${}", text(name)).splitlines():
        found = re.search(r"([A-Z_]*(?:SECRET|PASSWORD|TOKEN|AUTH_STRING|ACCESS_KEY)[A-Z_]*)\s*[:=]\s*(\S.*)", line)
        if found is None or line.lstrip().startswith("#"):
            continue
        value = found.group(2)
        assert value.startswith(("${", "/run/secrets/")), f"{name}: {line.strip()}"
    for url in re.findall(r"[a-z+]+://[^\s\"']+@", text(name)):
        assert "${" in url, f"{name}: a password in {url}"


def test_required_secrets_have_no_default(compose: dict[str, Any]) -> None:
    for path, value in values(compose):
        for name, rule in VARIABLE.findall(str(value)):
            if re.search("SECRET|PASSWORD|TOKEN|AUTH|ACCESS_KEY", name):
                assert rule.startswith(":?"), f"{path}: {name} has a default"


def test_the_worker_is_a_node_and_knows_where_all_is(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert "ray start --address=ray-head:6379 --num-cpus=0" in worker["command"][2]
    assert worker["environment"]["RAY_ADDRESS"] == "ray-head:6379"
    assert worker["environment"]["PREFECT_API_URL"] == "http://prefect:4200/api"
    for name in ("ray-head", "ray-worker", "worker"):
        environment = compose["services"][name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token", name
        assert environment["ADHMR_STORE"].startswith("s3://"), name
        assert "ray_token" in compose["services"][name]["secrets"]


def test_the_prefect_server_is_guarded(compose: dict[str, Any]) -> None:
    server, worker = compose["services"]["prefect"], compose["services"]["worker"]
    assert server["command"][:3] == ["python", "-m", "flows.serve.server"]
    called = worker["environment"]["PREFECT_API_URL"].split("/")[2]
    assert called in server["command"], "the worker would be refused"
    assert "PREFECT_SERVER_CORS_ALLOWED_ORIGINS" not in server["environment"]
    for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        assert any(name in service["environment"] for service in (server, worker))


def test_kuberay_objects(kuberay: list[dict[str, Any]]) -> None:
    cluster, job = kuberay
    assert [(one["apiVersion"], one["kind"]) for one in kuberay] == [
        ("ray.io/v1", "RayCluster"),
        ("ray.io/v1", "RayJob"),
    ]
    assert cluster["spec"]["rayVersion"] == pins()["ray"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay wants texts"
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert pod["securityContext"]["runAsNonRoot"] is True
    assert groups[0]["serviceType"] == "ClusterIP"


def test_the_dockerfile_installs_what_was_tested() -> None:
    whole = text("Dockerfile")
    (install,) = re.findall(r"pip install .*", whole)
    assert "-c constraints.txt" in install
    assert '"./$1[s3]"' in install
    assert re.search(r"^ARG DEVICE=cpu$", whole, re.MULTILINE)
    assert re.search(r"^USER (?!root)", whole, re.MULTILINE)
    copied = {
        word for line in re.findall(r"^COPY (.*) \S+$", whole, re.MULTILINE) for word in line.split() if word[0] != "-"
    }
    assert copied == {"constraints.txt", f"adhmr_engine-{VERSION}-*.whl", "prefect.yaml"}
    ignored = text("Dockerfile.dockerignore").splitlines()
    assert next(line for line in ignored if line[0] != "#") == "*", "stores and secrets would get into the image"
    assert {line[1:] for line in ignored if line[0] == "!"} == {*copied, WHEEL} - {f"adhmr_engine-{VERSION}-*.whl"}


@pytest.mark.parametrize("name", ["prefect.yaml", "prefect.toml", "constraints.txt"])
def test_a_clone_works_with_the_very_file_that_is_laid(name: str) -> None:
    assert (ROOT / name).samefile(DEPLOY / name)


def test_files_of_secrets_get_into_no_commit() -> None:
    assert {".env", "/ray-token"} <= set((ROOT / ".gitignore").read_text("utf-8").splitlines())
