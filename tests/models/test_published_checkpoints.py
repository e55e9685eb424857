"""Published checkpoints at micro size: what is refused and in which words, which weights are taken, what comes back."""

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.checkpoints.export import Progress, published_content, write_published
from models.checkpoints.fitting import compare, load_into
from models.checkpoints.loading import averaged, load_policy, start_condition, warm_start
from models.checkpoints.published import read_published, recognise
from models.checkpoints.torch_file import read_torch
from models.item_graph import MaskedLinear
from models.lora import add_low_rank
from models.policy import Policy
from schemas.errors import ConfigError, DataError
from schemas.profiles import micro
from tests.models.hostile import Hostile

CONFIG = micro().policy


def policy(seed: int) -> Policy:
    torch.manual_seed(seed)
    made = Policy(CONFIG).eval()
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(0.01 * seed + 0.01)
    return made


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def published(evaluated: int = 0, raw: int = 1) -> dict[str, Any]:
    return published_content(policy(evaluated), policy(raw), Progress(epoch=3, step=40, num_updates=17))


@pytest.mark.parametrize("modern", [True, False])
def test_a_pickle_that_runs_programs_is_refused(modern: bool, tmp_path: Path) -> None:
    path, target = tmp_path / "gift.pth", tmp_path / "ran"
    content = {**published(), "epoch": Hostile(target)}
    torch.save(content, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} was refused.*system \(os\.system\)"):
        read_published(path)
    assert not target.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_of_any_protocol_is_refused_by_name(protocol: int, tmp_path: Path) -> None:
    path, target = tmp_path / "gift.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Hostile(target), protocol=protocol))
    with pytest.raises(DataError, match=r"gift\.pkl was refused.*os\.system"):
        read_torch(path)
    assert not target.exists()


def test_only_named_globals_pass(tmp_path: Path) -> None:
    torch.save({"best": np.float64(3.5), "other": np.float32(2)}, tmp_path / "scalars.pth")
    assert read_torch(tmp_path / "scalars.pth") == {"best": 3.5, "other": 2.0}
    torch.save({"array": np.zeros(3)}, tmp_path / "array.pth")
    with pytest.raises(DataError, match=r"asks for numpy\._core\.multiarray\._reconstruct"):
        read_torch(tmp_path / "array.pth")


def cut(share: float, modern: bool = True) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.save(published(), path, _use_new_zipfile_serialization=modern)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return write


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (cut(0.5), r"policy\.pth, of [\d,]+ bytes, is cut off or damaged.*copy or download it again"),
        (cut(0.9999), "is cut off or damaged"),
        (cut(0.5, modern=False), "is cut off or damaged"),
        (cut(0.0), "is empty"),
        (lambda path: path.write_text("no checkpoint at all"), "is no torch checkpoint"),
        (lambda path: path.write_text("<!DOCTYPE html><html></html>"), "is a web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (lambda path: None, "is not there"),
    ],
)
def test_files_that_are_none_are_explained(write: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    write(tmp_path / "policy.pth")
    with pytest.raises(DataError, match=said) as raised:
        read_published(tmp_path / "policy.pth")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "it holds a list"),
        ({}, "it is empty"),
        ({"weights": 1, "epoch": 2}, "its keys are weights, epoch"),
        ({"fc.weight": torch.zeros(2)}, r"its keys are fc\.weight"),
        ({"network": {"head.weight": torch.zeros(2)}}, "its keys are network"),
        ({"state_dict": {"backbone.conv.weight": torch.zeros(2)}}, "its keys are state_dict"),
        ({"model": [1], "model_cond": {}}, "model is a list, not the names and tensors"),
        ({"model": {"a": 1}, "model_cond": {}}, "model holds 'a', which is no dense tensor"),
        ({"model": {}, "model_cond": {}, "ema": {"decay": 0.9}}, "ema is no moving average as published"),
    ],
)
def test_contents_that_are_not_known_are_described(content: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        recognise(content, "file 1")


def test_evaluation_takes_the_averages_and_the_batch_statistics_of_the_file() -> None:
    content = published(evaluated=0, raw=1)
    file, loaded = recognise(content), policy(2)
    answer = load_policy(loaded, file)
    assert answer.weights == "ema"
    assert answer.notes == ()
    assert same(loaded, policy(0))
    for name, buffer in loaded.condition.named_buffers():
        if name in content["model_cond"]:
            assert torch.equal(buffer, content["model_cond"][name]), name


def test_training_goes_on_from_the_raw_weights() -> None:
    loaded, expected = policy(2), policy(1)
    assert load_policy(loaded, recognise(published(evaluated=0, raw=1)), "raw").weights == "raw"
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, expected.get_parameter(name)), name


def test_a_file_of_data_parallel_training_is_the_same() -> None:
    content = published()
    for name in ("model", "model_cond"):
        content[name] = {f"module.{key}": value for key, value in content[name].items()}
    loaded = policy(2)
    load_policy(loaded, recognise(content))
    assert same(loaded, policy(0))


def test_what_the_graph_bars_is_zero_after_loading() -> None:
    content = published()
    order = [name for name, _ in policy(0).hyponet.named_parameters()]
    place = order.index("linear_start_j.weight")
    content["ema"]["shadow_params"][place] = torch.ones_like(content["ema"]["shadow_params"][place])
    loaded = policy(2)
    load_policy(loaded, recognise(content))
    layer = loaded.hyponet.linear_start_j
    assert isinstance(layer, MaskedLinear)
    assert torch.equal(layer.weight, layer.mask)


def test_the_average_can_go_on() -> None:
    file, trained = recognise(published(evaluated=0, raw=1)), policy(1)
    shadow = file.shadows["hyponet"]
    assert shadow.num_updates == 17
    named = averaged(trained.hyponet, shadow, "file 1")
    assert list(named) == [name for name, _ in trained.hyponet.named_parameters()]
    assert all(torch.equal(*pair) for pair in zip(shadow.parameters, named.values(), strict=True))
    assert file.facts["epoch"] == 3
    assert file.facts["step"] == 40


def without_one(content: dict[str, Any]) -> None:
    del content["model"]["temb_dense.0.bias"]


def one_more(content: dict[str, Any]) -> None:
    content["model_cond"]["extra.weight"] = torch.zeros(2, 3)


def other_shape(content: dict[str, Any]) -> None:
    content["model"]["temb_dense.0.bias"] = torch.zeros(99)


def other_average(content: dict[str, Any]) -> None:
    content["ema"]["shadow_params"][1] = torch.zeros(99)


def short_average(content: dict[str, Any]) -> None:
    content["ema_cond"]["shadow_params"].pop()


def no_average(content: dict[str, Any]) -> None:
    del content["ema"]


def nan_in_model(content: dict[str, Any]) -> None:
    content["model"]["temb_dense.0.bias"][3] = float("nan")


def nan_in_average(content: dict[str, Any]) -> None:
    content["ema_cond"]["shadow_params"][0][0] = float("nan")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_one, r"file 1, hyponet does not fit HypoNet(.|\n)*missing   temb_dense\.0\.bias \(64,\)"),
        (one_more, r"file 1, condition does not fit(.|\n)*unknown   extra\.weight \(2, 3\)"),
        (other_shape, r"shape     temb_dense\.0\.bias is \(99,\), expected \(64,\)"),
        (other_average, r"moving average does not fit HypoNet(.|\n)*shape     linear_start_j\.bias is \(99,\)"),
        (short_average, r"has \d+ averages, but ConditionNetwork as configured has \d+ parameters"),
        (no_average, "has no moving average: load its raw weights"),
        (nan_in_model, r"holds NaN or infinity in 1 of \d+ weights, the first: temb_dense\.0\.bias"),
        (nan_in_average, r"condition, moving average holds NaN or infinity in 1 of"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change: Callable[[dict[str, Any]], None], said: str) -> None:
    content = published()
    change(content)
    loaded = policy(2)
    with pytest.raises(DataError, match=said):
        load_policy(loaded, recognise(content, "file 1"))
    assert same(loaded, policy(2))


def test_another_architecture_is_refused_with_what_to_do() -> None:
    wide = CONFIG.model_copy(update={"hyponet": CONFIG.hyponet.model_copy(update={"joint_channels": 16})})
    content = published_content(Policy(wide))
    with pytest.raises(DataError, match="give the configuration that it was trained with, or another file") as raised:
        load_policy(policy(2), recognise(content, "file 1"))
    assert "shape     linear_start_j.weight is (464, 87), expected (232, 87)" in str(raised.value)
    with pytest.raises(DataError, match=r"file 2 holds another model\. Found: HRNet.*Needed here: ADHMR or ScoreHypo"):
        load_policy(policy(2), recognise(hrnet(), "file 2"))


def hrnet() -> dict[str, Tensor]:
    return {
        "conv1.weight": torch.zeros(64, 3, 3, 3),
        "stage2.0.branches.0.0.conv1.weight": torch.zeros(48, 48, 3, 3),
        "final_layer.weight": torch.zeros(17, 48, 1, 1),
    }


class Small(nn.Module):
    """The beginning of a condition network: two published weights, and a head of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, bias=False)
        self.hmap_layer = nn.Conv2d(4, 29, 1)


def test_a_start_from_hrnet_says_what_it_leaves_to_chance() -> None:
    network = Small()
    head = network.hmap_layer.weight.clone()
    file = recognise(hrnet())
    assert file.kind == "hrnet"
    with pytest.raises(DataError, match=r"unknown   stage2\.0\.branches\.0\.0\.conv1\.weight"):
        start_condition(network, file)
    known = {"conv1.weight": file.parts["condition"]["conv1.weight"]}
    answer = start_condition(network, replace(file, parts={"condition": known}))
    assert not network.conv1.weight.any()
    assert torch.equal(network.hmap_layer.weight, head)
    assert answer.notes == (
        "condition: allowed to differ: missing hmap_layer (2)",
        "left out, as published: final_layer (1)",
    )


def test_low_rank_additions_bar_the_averages() -> None:
    adapted = policy(0)
    add_low_rank(adapted.hyponet)
    content = published_content(adapted, policy(1))
    assert len(content["ema"]["shadow_params"]) == 2 * sum(".lora_a" in name for name in content["model"])
    with pytest.raises(DataError, match=r"low-rank additions \(LoRA\), but the network has none"):
        load_policy(policy(2), recognise(content))
    loaded = policy(2)
    add_low_rank(loaded.hyponet)
    answer = load_policy(loaded, recognise(content))
    assert answer.weights == "raw"
    assert same(loaded, adapted)
    # strict=False as published: a plain checkpoint starts the additions, which stay as they are
    plain = load_policy(loaded, recognise(published(evaluated=0, raw=1)))
    assert any("missing blocks" in note for note in plain.notes)
    assert torch.equal(loaded.hyponet.linear_start_j.bias, policy(1).hyponet.linear_start_j.bias)
    assert not plain.fits["hyponet"].problems


def test_a_warm_start_copies_what_has_the_same_shape() -> None:
    file = recognise(published(evaluated=0, raw=1))
    torch.manual_seed(5)
    network = Policy(CONFIG.model_copy(update={"hyponet": CONFIG.hyponet.model_copy(update={"time_channels": 32})}))
    before = network.hyponet.temb_dense[0].weight.clone()
    fits = warm_start({"score_net": network.hyponet, "condition": network.condition}, file)
    assert torch.equal(network.hyponet.linear_final_j.weight, policy(1).hyponet.linear_final_j.weight)
    assert torch.equal(network.hyponet.temb_dense[0].weight, before)
    assert "temb_dense.0.weight" in {row.name for row in fits["score_net"].differences}


def test_other_networks_are_not_written_in_the_published_layout(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"No published layout: the published code has no policy with the image encoder compact\. Use",
    ):
        write_published(policy(0), tmp_path / "policy.pth")
    assert not list(tmp_path.iterdir())


def test_a_policy_with_nan_is_not_written() -> None:
    broken = policy(0)
    with torch.no_grad():
        broken.hyponet.temb_dense[0].bias[0] = float("inf")
    with pytest.raises(DataError, match=r"to be written \(model\).*temb_dense\.0\.bias"):
        published_content(broken)


def test_the_table_counts_what_is_allowed() -> None:
    network = Small()
    state = {"conv1.weight": torch.zeros(64, 3, 3, 3), "decoder.a": torch.zeros(1), "decoder.b": torch.zeros(1)}
    fit = compare(network, state, optional=(r"hmap_layer\.", r"decoder\."))
    assert fit.problems == ()
    assert fit.matched == 1
    assert fit.table() == ""
    assert fit.allowed() == "missing hmap_layer (2), unknown decoder (2)"
    assert load_into(network, state, optional=(r"hmap_layer\.", r"decoder\.")) == fit
    assert not network.conv1.weight.any()
