"""The Prefect server that the environment or a Prefect profile names: whether it can be asked, before work begins."""

import importlib.util
import os
import sys
import tomllib
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.process.errors import without_passwords
from flows.serve.place import API_VARIABLE, page_url, services_here
from schemas.errors import ConfigError

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_HERE = ("127.0.0.1", "localhost", "::1")
_SECONDS = 5.0


def why_it_does_not_answer(url: str) -> str:
    """What is wrong with the server at this URL, and the cure; empty if it answers."""
    try:
        look_past_socks(url)
    except ConfigError as error:
        return str(error)
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True, httpx_settings={"timeout": _SECONDS}) as client:
            problem = client.api_healthcheck()
    except Exception as error:  # noqa: BLE001 - whatever a proxy or a certificate makes of it: it does not answer
        problem = error
    if problem is None:
        return ""
    reason = " ".join(without_passwords(str(problem)).split()).partition(" For more information")[0]
    unset = f"unset {API_VARIABLE}" if os.environ.get(API_VARIABLE) else f"`prefect config unset {API_VARIABLE}`"
    return (
        f"The Prefect server at {without_passwords(url)}, which {_where()} names, does not answer ({reason}). Start "
        f"it, correct the address or its log-in (PREFECT_API_AUTH_STRING), or {unset}: then a temporary one is started."
    )


def may_be_named() -> bool:
    """Whether anything here could name a server: to ask Prefect itself costs as much as all else of a quick look.

    Looks where Prefect does: at the environment, the settings of this folder, a profile, and what `make serve` has
    running. Where Prefect is loaded already, it can be asked.
    """
    if "prefect" in sys.modules or os.environ.get(API_VARIABLE) or os.environ.get("PREFECT_PROFILE"):
        return True
    prefect_toml, pyproject = _toml("prefect.toml"), _toml("pyproject.toml").get("tool", {}).get("prefect", {})
    if any("api" in settings or "profiles_path" in settings for settings in (prefect_toml, pyproject)):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    return profiles.exists() or Path(".env").exists() or page_url(services_here()) is not None


def _toml(name: str) -> dict[str, Any]:
    """What a file of settings in this folder says; nothing where it isn't there, or is broken."""
    with suppress(OSError, ValueError):
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    return {}


def look_past_socks(url: str | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Take SOCKS proxies out of the environment where Prefect has no use for them: its client would fail over them.

    Without a URL, the server is one of this machine. Raises ConfigError where the server can't be reached without.
    """
    if importlib.util.find_spec("socksio") is not None:
        return
    for name in [spelled for proxy in _PROXIES for spelled in (proxy, proxy.lower())]:
        if not environment.get(name, "").lower().startswith("socks"):
            continue
        if url and urlsplit(url).hostname not in _HERE:
            raise ConfigError(
                f"{name} names a SOCKS proxy, which Prefect needs a library for to ask {without_passwords(url)}: "
                f"`pip install socksio`, or unset {name}."
            )
        del environment[name]


def _where() -> str:
    if os.environ.get(API_VARIABLE):
        return API_VARIABLE
    from prefect.context import get_settings_context

    return f"the Prefect profile {get_settings_context().profile.name}"
