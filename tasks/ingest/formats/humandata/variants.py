"""What published HumanData files have in common with each other, and what each data set has of its own."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import DataError
from tasks.ingest.people.annotations import AnnotationSource

_OPTIONS: Final = ("variant", "zero_betas", "gendered", "body", "image_size", "label_kind", "keypoints3d")
CAMERA, ROOT, UNUSED = "camera", "root", "unused"
"""Values of the option keypoints3d: what 3D key-points beside a body are relative to, or that nothing looks at them."""
_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off", "")


@dataclass(frozen=True)
class Variant:
    """One data set's HumanData. Sizes and cameras hold where the file's own `meta` says nothing."""

    name: str
    pattern: str
    """What its file names hold, in small letters."""
    body: str | None = None
    """Which parameters to take where a file has several: smplx, smpl or smplh; None: the first of these."""
    size: tuple[int, int] | None = None
    """Width and height that the published loaders take for granted, pixels."""
    focal_px: float | None = None
    centre: tuple[float, float] | None = None
    crop_scale: float = 1.25
    label_kind: str = "gt"
    hands_absolute: bool = False
    keypoints3d: str | None = None
    remarks: tuple[str, ...] = ()


PLAIN: Final = Variant("plain", "")
VARIANTS: Final = (
    Variant(
        "HI4D",
        r"hi4d",
        body="smpl",
        size=(940, 1280),
        remarks=("HI4D: the published loader drops people without any pixel in the person masks; masks are not read.",),
    ),
    Variant(
        "BEDLAM",
        r"bedlam",
        body="smplx",
        hands_absolute=True,
        remarks=("BEDLAM: hand poses are absolute; the body's mean hand is subtracted from them.",),
    ),
    Variant(
        "RenBody",
        r"renbody|dna[-_ ]?rendering",
        body="smplx",
        keypoints3d=UNUSED,
        remarks=(
            "RenBody: joints are those of the posed body, and not the file's 3D key-points, which the published loader "
            "replaces and nothing here looks at (the option keypoints3d=camera compares them).",
        ),
    ),
    Variant(
        "GTA-Human II", r"gta[-_]?human", body="smplx", size=(1920, 1080), focal_px=1158.0337, centre=(960.0, 540.0)
    ),
    Variant("SPEC", r"(^|[^a-z])spec([^a-z]|$)", body="smpl", size=(1920, 1080)),
    Variant(
        "InstaVariety",
        r"insta[-_]?variety",
        body="smpl",
        size=(224, 224),
        crop_scale=1.0,
        label_kind="pseudo",
        remarks=("InstaVariety: its labels are guesses of NeuralAnnot, and count as pseudo.",),
    ),
    Variant(
        "CHI3D",
        r"chi3d",
        body="smplx",
        remarks=(
            "CHI3D: nothing is published of its HumanData file, so it is read as plain HumanData with SMPL-X: camera "
            "and picture size from `meta`, hands relative to the mean hand, every joint as the body poses it.",
        ),
    ),
)
"""The data sets that HMR-Scorer and ADHMR read as HumanData."""


@dataclass(frozen=True)
class Options:
    """A HumanData source's flags, read from `AnnotationSource.options`.

    variant: one of VARIANTS by name, or plain; not given: guessed from the names of file and data set.
    zero_betas: betas of SMPL and SMPL-H bodies are zero, as the published loaders read them.
    gendered: the file's gender and `betas`, also where it has `betas_neutral`.
    body: smplx, smpl or smplh, where a file has several.
    image_size: WIDTHxHEIGHT, in place of the file's and the data set's.
    label_kind: gt or pseudo, in place of the variant's.
    keypoints3d: how 3D key-points beside a body are compared with it: in the camera frame, from the root on, or unused;
        not given: in the camera frame, but where a row's root is at the origin from there on.
    """

    variant: Variant
    guessed: bool
    zero_betas: bool = False
    gendered: bool = False
    body: str | None = None
    image_size: tuple[int, int] | None = None
    label_kind: str = "gt"
    label_kind_given: bool = False
    keypoints3d: str | None = None
    remarks: list[str] = field(default_factory=list)


def options_of(source: AnnotationSource) -> Options:
    """The options of a source. Raises DataError for unknown ones and for values that mean nothing."""
    given = dict(source.options)
    unknown = sorted(set(given) - set(_OPTIONS))
    if unknown:
        raise DataError(
            f"HumanData has no option {', '.join(map(repr, unknown))}. Its options are: {', '.join(_OPTIONS)}."
        )
    variant, guessed = _variant(given.get("variant"), source)
    remarks = list(variant.remarks)
    if guessed and variant is not PLAIN:
        remarks.insert(
            0, f"Taken for {variant.name} by its name; the option variant=plain (or another) overrules that."
        )
    return Options(
        variant,
        guessed,
        _flag(given, "zero_betas"),
        _flag(given, "gendered"),
        _choice(given, "body", ("smplx", "smpl", "smplh")) or variant.body,
        _size(given.get("image_size")),
        _choice(given, "label_kind", ("gt", "pseudo")) or variant.label_kind,
        "label_kind" in given,
        _choice(given, "keypoints3d", (CAMERA, ROOT, UNUSED)) or variant.keypoints3d,
        remarks,
    )


def _variant(given: Any, source: AnnotationSource) -> tuple[Variant, bool]:
    if given is not None:
        known = {_plain(variant.name): variant for variant in (PLAIN, *VARIANTS)}
        if _plain(str(given)) not in known:
            names = ", ".join(variant.name for variant in (PLAIN, *VARIANTS))
            raise DataError(f"HumanData has no variant {given!r}. Choose one of: {names}.")
        return known[_plain(str(given))], False
    for name in (source.url.rsplit("/", 1)[-1].lower(), source.dataset.lower()):
        for variant in VARIANTS:
            if re.search(variant.pattern, name):
                return variant, True
    return PLAIN, True


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _flag(given: dict[str, Any], name: str) -> bool:
    text = str(given.get(name, False)).strip().lower()
    if text not in (*_YES, *_NO):
        raise DataError(f"The option {name} of HumanData is true or false, not {given[name]!r}.")
    return text in _YES


def _choice(given: dict[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
    value = given.get(name)
    if value is not None and value not in choices:
        raise DataError(f"The option {name} of HumanData is one of {', '.join(choices)}, not {value!r}.")
    return value


def _size(given: Any) -> tuple[int, int] | None:
    if given is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*", str(given))
    if not match:
        raise DataError(f"The option image_size of HumanData is WIDTHxHEIGHT in pixels, as in 940x1280, not {given!r}.")
    return int(match[1]), int(match[2])
