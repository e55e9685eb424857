"""A configuration in layers: a profile, and settings over it, each of which remembers where it was said."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError
from schemas.fields import former_names
from schemas.profiles import PROFILES

USUAL_PROFILE: Final = "tiny"
_OF_PROFILES: Final = ("profile", "seed", "campaign")
"""Fields that a profile function takes: it spreads them over the others."""


class Setting(NamedTuple):
    """A value for a field."""

    field: str
    """Dotted name, such as "align.beta"."""
    value: Any
    origin: str
    """Where it was said, for messages and listings: "campaign.yaml line 3", "--seed"."""


class Configured(NamedTuple):
    """A configuration, and for every field that a setting decided the origin of that; the profile decided the rest."""

    config: EngineConfig
    origins: Mapping[str, str]
    file: str = ""
    """The campaign file that settings came from, if any did."""


def settings(fields: Mapping[str, Any], origin: str, before: str = "") -> Iterator[Setting]:
    """The settings of a mapping, whose names may be dotted and whose values may be mappings for whole sections."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from settings(value, origin, f"{before}{name}.")
        else:
            yield Setting(f"{before}{name}", value, origin)


def assemble(said: Sequence[Setting]) -> Configured:
    """The configuration that settings make, of which a later one counts more.

    Raises ConfigError, which names the setting's origin, for an unknown profile or field, and for a value that the
    field does not take.
    """
    chosen = {setting.field: setting for setting in said if setting.field in _OF_PROFILES}
    profile = chosen.get("profile", Setting("profile", USUAL_PROFILE, ""))
    if profile.value not in list(PROFILES):
        there_are = f"there are {', '.join(PROFILES)}"
        raise ConfigError(f"{_at(profile.origin)}There is no profile {profile.value!r}; {there_are}.")
    arguments = {name: chosen[name].value for name in ("seed", "campaign") if name in chosen}
    try:
        base = PROFILES[profile.value](**arguments)
    except ValidationError as error:
        raise _no_value(error, {name.rpartition(".")[2]: setting.origin for name, setting in chosen.items()}) from error
    return changed(base, said)


def changed(base: EngineConfig, said: Sequence[Setting]) -> Configured:
    """A configuration with settings over it; raises as `assemble`."""
    origins, plain, formers = {}, base.model_dump(), dict(former_names(base))
    for setting in said:
        setting = setting._replace(field=formers.get(setting.field, setting.field))
        if setting.field == "profile":
            origins[setting.field] = setting.origin
            continue
        *parents, leaf = setting.field.split(".")
        place: Any = plain
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            raise _no_field(setting, plain)
        if isinstance(place[leaf], dict):
            if setting.value is None:
                continue  # a section of a file with no line in it
            raise ConfigError(f"{_at(setting.origin)}{setting.field} is a section: give fields of it, not a value.")
        place[leaf] = setting.value
        origins[setting.field] = setting.origin
    try:
        return Configured(EngineConfig.model_validate(plain), origins)
    except ValidationError as error:
        raise _no_value(error, origins) from error


def _at(origin: str) -> str:
    return f"{origin}: " if origin else ""


def _no_value(error: ValidationError, origins: Mapping[str, str]) -> ConfigError:
    """What to say of a value that a field does not take."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    inside = (name for name in origins if name.startswith(f"{where}."))
    origin = next((origins[name] for name in (where, *_above(where), *inside) if name in origins), "")
    value = first.get("input")
    got = "" if isinstance(value, dict) else f" (got {value!r})"
    message = first["msg"].removeprefix("Value error, ")
    of = f"Configuration field {where}" if where else "Configuration"  # some fields go with others
    return ConfigError(f"{_at(origin)}{of}: {message}{got}.")


def _above(field: str) -> Iterator[str]:
    """What a place is part of, such as a list."""
    while "." in field:
        field = field.rpartition(".")[0]
        yield field


def _no_field(setting: Setting, plain: Mapping[str, Any]) -> ConfigError:
    """What to say of a field that isn't there: the one that was meant, perhaps, and what there is."""
    dotted, every = setting.field, [one.field for one in settings(plain, "")]
    leaf = dotted.rsplit(".", 1)[-1]
    close = get_close_matches(dotted, every, n=1) or [name for name in every if name.rsplit(".", 1)[-1] == leaf]
    meant = f" Did you mean {' or '.join(close)}?" if 0 < len(close) < 4 else ""
    where, place = "", plain
    for part in dotted.split(".")[:-1]:
        inner = place.get(part)
        if not isinstance(inner, Mapping):
            break
        where, place = f"{where}{part}.", inner
    sections = ", ".join(sorted(name for name in place if isinstance(place[name], Mapping)))
    fields = ", ".join(sorted(name for name in place if not isinstance(place[name], Mapping)))
    listed = [f"{word}: {names}" for word, names in (("sections", sections), ("fields", fields)) if names]
    in_it = f"In {where.rstrip('.')} there are the " if where else "There are the "
    at = _at(setting.origin)
    return ConfigError(f"{at}There is no configuration field {dotted!r}.{meant} {in_it}{'; '.join(listed)}.")
