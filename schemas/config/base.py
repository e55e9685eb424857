"""The base of every configuration: frozen, closed to unknown fields, every field described and with its unit."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Precision = Literal["float32", "tfloat32", "bfloat16"]
"""Of matrix products: 32 bits; on a GPU 19 of them, elsewhere 32; or 16 bits with sums of 32."""
HalfOrNot = Literal["float32", "bfloat16"]


class Config(BaseModel):
    """A frozen part of the configuration. Unknown fields are errors; the digest of its canonical JSON names it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, given: Any) -> Any:
        """Fields that were written down under the names that they had."""
        if not isinstance(given, Mapping):
            return given
        formers = {former: name for name, field in cls.model_fields.items() if (former := former_name(field))}
        return {formers.get(name, name): value for name, value in given.items()} if formers else given

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, unchecked as pydantic does it. TypeError for names that are no fields."""
        unknown = set(update or ()) - set(type(self).model_fields)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        return super().model_copy(update=update, deep=deep)

    def unusual(self, *names: str) -> dict[str, Any]:
        """Those of these fields that are not at their default: what a key says of them, so that keys which were made
        before they counted stay."""
        fields = type(self).model_fields
        return {name: value for name in names if (value := getattr(self, name)) != fields[name].default}


def setting(
    default: Any, description: str, unit: str, *, later: bool = False, formerly: str = "", **constraints: Any
) -> Any:
    """A field with its `description`, its `unit` ("1" for pure numbers, "-" for choices) and pydantic constraints.

    `later`: it came after stores had been made, and counts towards digests only where it is not the default, so that
    work which was finished without it stays finished (`schemas.digests`). `formerly`: the name that it had; digests go
    on counting it by that, and what was written down by that is read.
    """
    about: dict[str, Any] = {"unit": unit}
    about |= {"later": True} if later else {}
    about |= {"formerly": formerly} if formerly else {}
    return Field(default, description=description, json_schema_extra=about, **constraints)


def former_name(field: FieldInfo) -> str:
    """The name that a field had; empty where it never had another."""
    about = field.json_schema_extra
    return str(about.get("formerly", "")) if isinstance(about, dict) else ""
