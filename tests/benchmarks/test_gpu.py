"""The script for a machine with a GPU runs where there is torch, numpy, what gpu-pack brings, and nothing else."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from models.diffusion import POSE_SIZE
from schemas.profiles import paper
from tests.benchmarks import plain
from tests.benchmarks.figures import Measured, Way
from tests.benchmarks.gpu_networks import EngineStep, OnDevice, encoding, sampling, scoring
from tests.benchmarks.pack import MOST_BYTES, NEEDED, download_command, pins, weigh
from tests.benchmarks.paper_sizes import smaller

ROOT = Path(__file__).resolve().parents[2]
THERE = ("torch", "numpy")


def with_what_they_need(*names: str) -> set[str]:
    """Distributions and all that they require without extras, by name."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        required = [line for line in distribution(name).requires or () if "extra" not in line and "nvidia" not in line]
        waiting += [match[0] for line in required if (match := re.match(r"[\w.-]+", line)) and "triton" not in match[0]]
    return found


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of packages with nothing in it but what is there, and what gpu-pack brings."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in with_what_they_need(*THERE) | set(NEEDED):
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            source, target = Path(str(distribution(name).locate_file(top))), folder / top
            if source.exists() and not target.exists():
                target.symlink_to(source)
    return folder


@pytest.mark.slow
def test_the_script_runs_on_a_bare_machine(bare: Path, tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    script = ["-S", "-m", "tests.benchmarks.gpu", "--device", "cpu", "--small", "--repeats", "1", "--json", str(file)]
    environment = {"PYTHONPATH": f"{bare}:{ROOT}", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, *script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(file.read_text("utf-8"))
    assert {one["precision"] for one in told["parity"]} == {"float32", "bfloat16"}
    assert all(one["holds"] for one in told["parity"])
    assert told["left_out"] == []
    groups = {figure["group"].partition(",")[0] for figure in told["figures"]}
    assert {"sampling end to end", "scoring end to end", "the policy's encoder", "the scorer's encoder"} <= groups
    assert sum("DPO" in group for group in groups) == 1
    assert any(group.startswith("bodies and errors") for group in groups)
    assert all(figure["ms"] > 0 for figure in told["figures"])
    assert told["machine"]["torch"]
    blind = [sys.executable, "-S", "-c", "import tests.benchmarks.gpu, pyarrow"]
    assert "pyarrow" in subprocess.run(blind, cwd=ROOT, env=environment, capture_output=True, text=True).stderr


def test_the_wheels_are_those_of_the_constraints(tmp_path: Path) -> None:
    assert [re.sub(r"==[\d.]+$", "", pin) for pin in pins()] == list(NEEDED)
    words = download_command(tmp_path)
    assert {"--only-binary=:all:", "--no-deps", "3.12", *pins()} <= set(words)
    (tmp_path / "one.whl").write_bytes(bytes(10))
    assert weigh(tmp_path) == 10
    with (tmp_path / "large.whl").open("wb") as large:
        large.truncate(MOST_BYTES)
    with pytest.raises(SystemExit, match=r"16\.0 MiB, more than 16"):
        weigh(tmp_path)


def of_sampling(networks: OnDevice) -> Measured:
    return sampling(networks, 1)


def of_scoring(networks: OnDevice) -> Measured:
    return scoring(networks, 1)


def of_encoding(networks: OnDevice) -> Measured:
    return encoding(networks, 1, "policy")


@pytest.mark.parametrize("group", [of_sampling, of_scoring, of_encoding])
def test_what_is_timed_in_bfloat16_is_what_stages_do(
    group: Callable[[OnDevice], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of the networks with weights of 16 bits, in microbatches, and no autocast."""
    config = smaller(paper())
    batches = {part: getattr(config, part).model_copy(update={"microbatch": 2}) for part in ("generate", "score")}
    networks = OnDevice(config.model_copy(update=batches), "cpu", 3, 2, 1)
    ways: dict[str, Way] = {}
    monkeypatch.setattr(networks, "measure", lambda title, unit, found, **others: ways.update(found))
    group(networks)
    called: list[tuple[nn.Module, int, bool]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        called.append((module, len(given[0]), torch.is_autocast_enabled("cpu")))

    hook = register_module_forward_pre_hook(note)
    try:
        ways["bfloat16"].run()
    finally:
        hook.remove()
    seeing = [(module, count) for module, count, _ in called if isinstance(module, nn.Conv2d)]
    assert any(module.weight.dtype == torch.bfloat16 for module, _ in seeing)
    assert {count for _, count in seeing} == {1, 2}
    assert not any(autocast for *_, autocast in called)


def test_the_step_without_tasks_is_that_of_the_published_code() -> None:
    """Winners and losers in one pass, features given or made in the step: the loss of the plain step."""
    torch.manual_seed(0)
    networks = OnDevice(smaller(paper()), "cpu", 1, 1, 3)
    crops, noise, time = networks.seen(networks.crops(3)), networks.normal(3, POSE_SIZE), torch.tensor([1, 500, 900])
    poses, reference = 5 * networks.normal(6, POSE_SIZE), networks.policy
    kept, beta = reference.encode(crops)[0], networks.config.align.beta
    making, given = (EngineStep(networks, "float32", trained=False) for _ in range(2))
    stepping = plain.PreferenceStep(deepcopy(reference), deepcopy(reference), beta, frozen=True)
    for step in (making, given, stepping):  # away from the reference, all in the same direction
        torch.manual_seed(1)
        for value in step.policy.hyponet.parameters():
            value.data.add_(0.01 * torch.randn_like(value))
    expected = stepping(crops, poses[::2], poses[1::2], time, noise)
    assert abs(expected - 2 * math.log(2)) > 0.01  # which it would be without a difference
    torch.testing.assert_close(making(crops, poses, time, noise), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(given(crops, poses, time, noise, kept), expected, rtol=1e-3, atol=1e-4)
