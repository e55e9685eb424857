"""The options of HumanData, and the conventions that each published data set has of its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import DataError, named
from tasks.ingest.people.annotations import AnnotationSource

CAMERA, ROOT, UNUSED = "camera", "root", "unused"
"""Values of the option keypoints3d: what 3D key-points beside a body are relative to, or that they are not used."""
FOUND, REFUSED = "found", "refused"
"""Values of the option place: of people without one, whether it is fitted to what is seen, or they fail."""
_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off", "")


@dataclass(frozen=True)
class Variant:
    """One data set's HumanData. Sizes and cameras hold where the file's own `meta` says nothing."""

    name: str
    pattern: str
    """What its file names contain, in small letters."""
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
    remark: str | None = None


PLAIN: Final = Variant("plain", "")
VARIANTS: Final = (
    Variant(
        "HI4D",
        r"hi4d",
        body="smpl",
        size=(940, 1280),
        remark="HI4D: the published loader drops people without any pixel in the person masks; masks are not read.",
    ),
    Variant(
        "BEDLAM",
        r"bedlam",
        body="smplx",
        hands_absolute=True,
        remark="BEDLAM: hand poses are absolute; the body's mean hand is subtracted from them.",
    ),
    Variant(
        "RenBody",
        r"renbody|dna[-_ ]?rendering",
        body="smplx",
        keypoints3d=UNUSED,
        remark="RenBody: joints are those of the posed body, and not the file's 3D key-points, which the published "
        "loader replaces and nothing here uses (the option keypoints3d=camera compares them).",
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
        remark="InstaVariety: its labels are guesses of NeuralAnnot, and count as pseudo.",
    ),
    Variant(
        "CHI3D",
        r"chi3d",
        body="smplx",
        remark="CHI3D: nothing is published of its HumanData file, so it is read as plain HumanData with SMPL-X: "
        "camera and picture size from `meta`, hands relative to the mean hand, every joint as the body poses it.",
    ),
)
"""The data sets that HMR-Scorer and ADHMR read as HumanData."""


@dataclass(frozen=True)
class Options:
    """The options of a HumanData source (`FORMAT` says what each means), with its variant's where it has none."""

    variant: Variant
    zero_betas: bool = False
    gendered: bool = False
    body: str | None = None
    image_size: tuple[int, int] | None = None
    label_kind: str = "gt"
    label_kind_given: bool = False
    keypoints3d: str | None = None
    """None: in the camera frame, but where a row's root is at the origin from there on."""
    remarks: list[str] = field(default_factory=list)
    place: str = FOUND


def options_of(source: AnnotationSource) -> Options:
    """The options of a source. Raises ConfigError for an unknown variant, DataError for values that mean nothing."""
    options = source.options
    variant = PLAIN
    remarks: list[str] = []
    if options.get("variant") is not None:
        variants = {_plain(each.name): each for each in (PLAIN, *VARIANTS)}
        variant = named(variants, _plain(str(options["variant"])), "variant of HumanData")
    elif guess := _guess(source):
        variant = guess
        remarks = [f"Taken for {variant.name} by its name; the option variant=plain (or another) overrules that."]
    return Options(
        variant,
        _flag(options, "zero_betas"),
        _flag(options, "gendered"),
        _choice(options, "body", ("smplx", "smpl", "smplh")) or variant.body,
        _size(options.get("image_size")),
        _choice(options, "label_kind", ("gt", "pseudo")) or variant.label_kind,
        "label_kind" in options,
        _choice(options, "keypoints3d", (CAMERA, ROOT, UNUSED)) or variant.keypoints3d,
        [*remarks, *([variant.remark] if variant.remark else [])],
        _choice(options, "place", (FOUND, REFUSED)) or FOUND,
    )


def _guess(source: AnnotationSource) -> Variant | None:
    """The data set whose name is in that of the file, or else of the data set."""
    names = (source.url.rsplit("/", 1)[-1].lower(), source.dataset.lower())
    return next((each for name in names for each in VARIANTS if re.search(each.pattern, name)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _flag(options: Mapping[str, Any], name: str) -> bool:
    text = str(options.get(name, False)).strip().lower()
    if text not in (*_YES, *_NO):
        raise DataError(f"The option {name} of HumanData is true or false, not {options[name]!r}.")
    return text in _YES


def _choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
    value: str | None = options.get(name)
    if value is not None and value not in choices:
        raise DataError(f"The option {name} of HumanData is one of {', '.join(choices)}, not {value!r}.")
    return value


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*", str(value))
    if not match:
        raise DataError(f"The option image_size of HumanData is WIDTHxHEIGHT in pixels, as in 940x1280, not {value!r}.")
    return int(match[1]), int(match[2])
