"""The base of every configuration: frozen, closed to unknown fields, every field described and with its unit."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["float32", "tfloat32", "bfloat16"]
"""Of matrix products: 32 bits; on a GPU 19 of them, elsewhere 32; or 16 bits with sums of 32."""
HalfOrNot = Literal["float32", "bfloat16"]


class Config(BaseModel):
    """A frozen part of the configuration. Unknown fields are errors; the digest of its canonical JSON names it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )


def setting(default: Any, description: str, unit: str, *, later: bool = False, **constraints: Any) -> Any:
    """A field with its `description`, its `unit` ("1" for pure numbers, "-" for choices) and pydantic constraints.

    `later`: it came after stores had been made, and counts towards digests only where it is not the default, so that
    work which was finished without it stays finished (`schemas.digests`).
    """
    about: dict[str, Any] = {"unit": unit, **({"later": True} if later else {})}
    return Field(default, description=description, json_schema_extra=about, **constraints)
