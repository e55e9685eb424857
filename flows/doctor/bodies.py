"""doctor for bodies: which of the published body files a folder has, and whether each can be used."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from flows.doctor.checkpoint import file_size
from infra.deep import Finding
from schemas.errors import EngineError


def examine_bodies(folder: Path) -> Iterator[Finding]:
    """Which of the published body files a folder has, and whether each can be used; none at all is a problem."""
    if not folder.is_dir():
        yield Finding(
            "body files", "problem", f"there is no folder {folder}: name the one that holds human_model_files"
        )
        return
    present = 0
    for what, find, read, use in _body_files():
        try:
            path = find(folder)
        except EngineError:
            yield Finding(what, "note", f"not there; {use}")
            continue
        present += 1
        try:
            yield Finding(what, "good", f"{path}, {file_size(path)}: {read(path)}")
        except EngineError as error:
            yield Finding(what, "problem", str(error))
    if not present:
        yield Finding(
            "body files", "problem", f"{folder} has none of them: name the folder that holds human_model_files"
        )


def _body_files() -> Iterator[tuple[str, Callable[[Path], Path], Callable[[Path], str], str]]:
    """Name, how to find it in a folder, how to read it in words, and what it is for."""
    from models.body_arrays import read_arrays
    from models.body_files import Gender, find_body, find_companion, read_array, read_arrays_file
    from models.joint_sets import load_regressor
    from models.skeleton import SMPLX_VERTICES
    from models.smplx_body import read_smplx_arrays

    def smpl(path: Path) -> str:
        return f"{len(read_arrays(path)['v_template']):,} vertices"

    def smplx(path: Path) -> str:
        return f"{len(read_smplx_arrays(path)['v_template']):,} vertices"

    def joints(path: Path) -> str:
        return f"{len(load_regressor(path, 14, SMPLX_VERTICES))} joints of {SMPLX_VERTICES:,} vertices"

    def hands(path: Path) -> str:
        return ", ".join(f"{name} {value.size:,}" for name, value in read_arrays_file(path).items()) + " vertices"

    def face(path: Path) -> str:
        return f"{read_array(path).size:,} vertices"

    genders: tuple[Gender, ...] = get_args(Gender)
    for gender in genders:
        use = "the profile paper poses it" if gender == "neutral" else "only labels of that gender need it"
        yield f"SMPL {gender}", partial(find_body, model="smpl", gender=gender), smpl, use
    for gender in genders:
        use = "only SMPL-X labels need it"
        yield f"SMPL-X {gender}", partial(find_body, model="smplx", gender=gender), smplx, use
    for name, read, use in (
        ("SMPLX_to_J14.pkl", joints, "the 14-joint errors of SMPL-X bodies need it"),
        ("MANO_SMPLX_vertex_ids.pkl", hands, "errors of SMPL-X's hands need it"),
        ("SMPL-X__FLAME_vertex_ids.npy", face, "errors of SMPL-X's face need it"),
    ):
        yield name, partial(find_companion, name=name), read, use
