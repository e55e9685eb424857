"""The base of every configuration: frozen, closed to unknown fields, every field described and with its unit."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """A frozen part of the configuration. Unknown fields are errors; the digest of its canonical JSON names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def setting(default: Any, description: str, unit: str, **constraints: Any) -> Any:
    """A field with its `description`, its `unit` ("1" for pure numbers, "-" for choices) and pydantic constraints."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **constraints)
