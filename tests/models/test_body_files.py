import io
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from models.bodies import load_body
from models.body_arrays import BUILT_IN, read_arrays
from models.body_files import find_body, read_array, read_arrays_file
from models.joint_sets import load_regressor, regress
from models.restricted_pickle import ALLOWED, load_restricted
from models.smplx_body import load_smplx_body
from schemas.errors import DataError, EngineError
from tests.models.pickles import calling, chumpy, python2_pickle


class _Attack:
    """Runs a command wherever it is unpickled by the usual means."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def _small() -> dict[str, Any]:
    return {"v_template": np.arange(12.0).reshape(4, 3), "f": np.array([[0, 1, 2]], np.uint32)}


@pytest.mark.parametrize("place", ["body", "smplx body", "entry", "regressor", "inside .npz", "folder"])
def test_a_pickle_that_runs_a_command_is_refused_by_name_and_runs_nothing(tmp_path: Path, place: str) -> None:
    mark = tmp_path / "it ran"
    attack = _Attack(f"touch '{mark}'")
    file = tmp_path / "SMPL_NEUTRAL.pkl"
    file.write_bytes(pickle.dumps({**_small(), "weights": attack} if place == "entry" else attack))
    if place == "inside .npz":
        file = tmp_path / "body.npz"
        np.savez(file, v_template=np.zeros((4, 3)), weights=np.array([attack], object))
    read: Any = {"smplx body": load_smplx_body, "regressor": lambda path: load_regressor(path, 17, 6890)}.get(
        place, load_body
    )
    with pytest.raises(EngineError) as refused:
        read(tmp_path if place == "folder" else file)
    assert f"{os.system.__module__}.system" in str(refused.value)
    assert file.name in str(refused.value)
    assert "nothing in it was run" in str(refused.value)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers_and_numpys_scalars_are_read_in_every_protocol(protocol: int) -> None:
    held = {
        "ordered": OrderedDict(b=1, a=np.arange(3)),
        "default": defaultdict(list, names=["x"]),
        "without": defaultdict(None, {"a": defaultdict(dict, b={"c": np.float32(2)})}),
        "text": np.str_("Zürich"),
        "texts": np.array([np.str_("a/1.jpg"), "b.jpg"], object),
        np.str_("key"): np.bool_(True),
    }
    found = load_restricted(io.BytesIO(pickle.dumps(held, protocol)), "own.npz")
    assert type(found["ordered"]) is dict
    assert list(found["ordered"]) == ["b", "a"]
    assert found["ordered"]["a"].tolist() == [0, 1, 2]
    assert found["default"] == {"names": ["x"]}
    assert found["without"] == {"a": {"b": {"c": 2.0}}}
    assert (found["text"], found["texts"].tolist()) == ("Zürich", ["a/1.jpg", "b.jpg"])
    assert all(type(text) is str for text in found["texts"])
    assert found["key"]


@pytest.mark.parametrize(
    "raw",
    [
        b"ccollections\ndefaultdict\n(cos\nsystem\ntR.",
        b"ccollections\nOrderedDict\n(tR}S'__class__'\nI1\nsb.",
        b"ccollections\nOrderedDict.__reduce__\n(tR.",
        b"ccollections\nCounter\n(tR.",
        b"c__builtin__\nlist.append\n.",
    ],
)
def test_containers_are_no_way_in(raw: bytes) -> None:
    with pytest.raises(DataError, match=r"was not read|damaged"):
        load_restricted(io.BytesIO(raw), "own.npz")


def test_what_a_defaultdict_would_make_is_not_made() -> None:
    with pytest.raises(DataError, match=r"own\.npz is truncated or damaged"):
        load_restricted(io.BytesIO(b"ccollections\ndefaultdict\n(c__builtin__\nlist\ntRS'a'\nS'b'\nae."), "own.npz")


@pytest.mark.parametrize(
    ("module", "name", "cure"),
    [
        ("pathlib", "PosixPath", r"save them as texts \(str\(path\)\)"),
        ("torch._utils", "_rebuild_tensor_v2", r"tensor\.numpy\(\)"),
        ("pandas.core.series", "Series", r"column\.to_numpy\(\)"),
        ("posix", "system", "may be an attack"),
    ],
)
def test_what_is_refused_is_said_with_its_cure(module: str, name: str, cure: str) -> None:
    with pytest.raises(DataError, match=cure):
        load_restricted(io.BytesIO(calling(module, name, "x")), "own.npz")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("builtins", "__import__")),
        *(("numpy", "load"), ("numpy", "ndarray.tofile"), ("numpy.core.multiarray", "fromfile")),
        *(("numpy.core.multiarray", "_reconstruct.__globals__"), ("numpy.core", "multiarray._reconstruct")),
        *(("numpy.core.multiarray.x", "_reconstruct"), ("scipy.sparse.csc", "csc_matrix.__init__")),
        *(("scipy.sparse", "csc_matrix"), ("chumpy.ch", "Ch.__init__"), ("chumpy.ch", "depends_on"), ("chumpy", "ch")),
        *(("models.restricted_pickle", "load_restricted"), ("copyreg", "__newobj__"), ("", "")),
    ],
)
def test_whatever_is_not_listed_to_the_letter_is_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    file = tmp_path / "body.pkl"
    file.write_bytes(calling(module, name, "true"))
    with pytest.raises(DataError, match=r"body\.pkl") as refused:
        read_arrays_file(file)
    assert f"{module}.{name}" in str(refused.value)


@pytest.mark.parametrize(("module", "name"), sorted(ALLOWED))
@pytest.mark.parametrize("trick", [b"}U\x01xK\x01sb.", b"N}U\x08__call__K\x01s\x86b.", b"(tR}U\x01xK\x01sb."])
def test_the_listed_names_can_be_neither_changed_nor_misused(
    tmp_path: Path, module: str, name: str, trick: bytes
) -> None:
    """Setting attributes of a listed class, by dictionary and by slots; building one out of nothing."""
    kind = ALLOWED[module, name]
    before = dict(vars(kind)) if kind is not object else {}
    file = tmp_path / "body.pkl"
    file.write_bytes(b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n" + trick)
    with pytest.raises(DataError, match=r"body\.pkl"):
        read_arrays_file(file)
    assert dict(vars(kind)) == before


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_python_2_files_with_chumpy_and_sparse_matrices_are_read(tmp_path: Path, protocol: int) -> None:
    random = np.random.default_rng(0)
    regressor = sparse.random(24, 50, 0.1, format="csc", random_state=0)
    template, shapes = random.normal(size=(50, 3)), np.asfortranarray(random.normal(size=(50, 3, 10)))
    file = tmp_path / "body.pkl"
    with chumpy() as fake:
        body = {
            "J_regressor": regressor,
            "J_regressor_prior": regressor.tocsr(),
            "v_template": fake.Ch(template),
            "shapedirs": fake.Ch(shapes),
            "some": fake.Select(fake.Ch(template), np.array([3, 4, 5]), (1, 3)),
            "f": np.arange(6, dtype=">u4").reshape(2, 3),
            "bs_style": "lbs",
            "info": {"date": "2014"},
        }
        file.write_bytes(python2_pickle(body, protocol))
    found = read_arrays_file(file)
    np.testing.assert_array_equal(found["J_regressor"], regressor.toarray())
    np.testing.assert_array_equal(found["J_regressor_prior"], regressor.toarray())
    np.testing.assert_array_equal(found["v_template"], template)
    np.testing.assert_array_equal(found["shapedirs"], shapes)
    np.testing.assert_array_equal(found["some"], template[1:2])
    np.testing.assert_array_equal(found["f"], np.arange(6).reshape(2, 3))
    assert found["f"].dtype == np.uint32
    assert set(found) == set(body) - {"bs_style", "info"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_files_of_todays_python_are_read(tmp_path: Path, protocol: int) -> None:
    regressor, file = np.random.default_rng(1).normal(size=(14, 30)).astype(np.float32), tmp_path / "regressor.pkl"
    file.write_bytes(pickle.dumps(regressor, protocol))
    np.testing.assert_array_equal(load_regressor(file, 14, 30).numpy(), regressor)
    file.write_bytes(pickle.dumps({"a": np.asfortranarray(regressor), "b": np.float64(2)}, protocol))
    found = read_arrays_file(file)
    np.testing.assert_array_equal(found["a"], regressor)
    assert found["b"] == 2
    np.save(tmp_path / "regressor.npy", regressor)
    vertices = np.random.default_rng(2).normal(size=(5, 30, 3)).astype(np.float32)
    np.testing.assert_allclose(
        regress(load_regressor(tmp_path / "regressor.npy", 14, 30), torch.from_numpy(vertices)).numpy(),
        np.einsum("jv,bvc->bjc", regressor, vertices),
        atol=1e-5,
    )


def test_a_pickled_body_is_the_same_body(tmp_path: Path) -> None:
    arrays = read_arrays(BUILT_IN["tiny"])
    file = tmp_path / "human_model_files" / "smpl" / "SMPL_MALE.pkl"
    file.parent.mkdir(parents=True)
    with chumpy() as fake:
        changed = {**arrays, "v_template": fake.Ch(arrays["v_template"])}
        changed["J_regressor"] = sparse.csc_matrix(arrays["J_regressor"])
        changed["posedirs"] = np.zeros((1, 1, 1))
        file.write_bytes(python2_pickle(changed))
    for folder in (tmp_path, tmp_path / "human_model_files", file.parent):
        assert load_body(folder, "male").digest == load_body(file).digest == load_body("tiny").digest
    with pytest.raises(DataError, match=r"has no neutral SMPL body: looked for SMPL_NEUTRAL\.pkl"):
        load_body(tmp_path)
    with pytest.raises(DataError, match="'other' is no body's gender"):
        find_body(tmp_path, "smpl", "other")  # type: ignore[arg-type]


def test_object_arrays_inside_an_npz_are_read_without_running_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "body.npz", v_template=np.ones((4, 3)), joint2num=np.array({"pelvis": 0}, object))
    assert list(read_arrays_file(tmp_path / "body.npz")) == ["v_template"]


@pytest.mark.parametrize("ending", [".pkl", ".npz"])
def test_a_truncated_file_says_so(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"SMPL_NEUTRAL{ending}"
    if ending == ".pkl":
        file.write_bytes(pickle.dumps(_small()))
    else:
        np.savez(file, **_small())
    whole = file.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"SMPL_NEUTRAL.*(truncated|no readable)") as problem:
            load_body(file)
        assert "again" in str(problem.value)
        assert "\n" not in str(problem.value)


def test_wrong_contents_are_named(tmp_path: Path) -> None:
    file = tmp_path / "body.pkl"
    file.write_bytes(pickle.dumps(_small()))
    with pytest.raises(DataError, match=r"body\.pkl has 4 vertices and no 'leaf_vertices'"):
        load_body(file)
    file.write_bytes(pickle.dumps({**_small(), "leaf_vertices": np.arange(5)}))
    with pytest.raises(DataError, match=r"body\.pkl lacks 'shapedirs'"):
        load_body(file)
    file.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="holds no arrays by name, but a list"):
        load_body(file)
    file.write_bytes(pickle.dumps({"v_template": np.zeros((10475, 3))}))
    with pytest.raises(DataError, match="SMPL-X body, but hypotheses pose bodies of SMPL"):
        load_body(file)
    arrays = read_arrays(BUILT_IN["tiny"])
    arrays["posedirs"] = np.zeros((7, 3, 207))
    np.savez(tmp_path / "posedirs.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'posedirs' has shape"):
        load_body(tmp_path / "posedirs.npz")
    arrays["posedirs"] = np.full((1, 1, 1), np.nan)
    np.savez(tmp_path / "posedirs.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'posedirs' holds NaN"):
        load_body(tmp_path / "posedirs.npz")
    np.save(tmp_path / "J_regressor_h36m.npy", np.zeros((17, 10)))
    with pytest.raises(DataError, match=r"float64 of shape \(17, 10\)"):
        load_regressor(tmp_path / "J_regressor_h36m.npy", 17, 6890)
    (tmp_path / "text.npy").write_text("text")
    with pytest.raises(DataError, match=r"no readable \.npy"):
        read_array(tmp_path / "text.npy")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_pickle_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(python2_pickle({**_small(), "J_regressor": sparse.csc_matrix(np.eye(3))}))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.pkl"
    file.write_bytes(bytes(raw))
    refused = "damaged.pkl"
    try:
        read_arrays_file(file)
    except DataError as problem:
        refused = str(problem)
    assert "damaged.pkl" in refused
