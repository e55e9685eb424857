"""A Prefect start-up plugin: `prefect deployment run dpo-round` means the deployment dpo-round of the flow dpo-round.

Prefect names deployments FLOW/DEPLOYMENT and refuses a name without a slash before it asks its server. Ours are named
like their flows, so a bare name `x` is read as `x/x`. And where no Prefect server is named, the one that `make serve`
has started in this folder is meant; its log-in comes with it. Prefect loads this through the entry-point group
`prefect.plugins`, and calls `setup_environment`, where plugins are switched on: by `prefect.toml` in the
working directory, or by PREFECT_PLUGINS_ENABLED=1.
"""

import functools
from collections.abc import Callable
from typing import Any

from prefect.plugins import HookContext, SetupResult, register_hook

from flows.serve.place import API_VARIABLE, CLIENT_LOGIN_VARIABLE, login, page_url, services_here
from infra.services import LOOPBACK

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"

_LOOKUP = "read_deployment_by_name"


def full_name(name: str) -> str:
    """`x` -> `x/x`; a name with a slash as it is."""
    return name if "/" in name or not name else f"{name}/{name}"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Teach both of Prefect's clients, the waiting and the asynchronous one, to look bare names up.

    The answer names the server of `make serve`, and its log-in, to a process that knows of no other.
    """
    from prefect.client.orchestration import PrefectClient, SyncPrefectClient

    for client in (PrefectClient, SyncPrefectClient):
        lookup = getattr(client, _LOOKUP, None)
        if lookup is None:
            ctx.logger_factory("prefect.plugins").warning(
                "Prefect %s looks deployments up in another way than adhmr-engine knows: write dpo-round/dpo-round "
                "instead of dpo-round.",
                ctx.prefect_version,
            )
        elif not getattr(lookup, "takes_bare_names", False):
            setattr(client, _LOOKUP, _taking_bare_names(lookup))
    variables = _served(ctx.api_url)
    return SetupResult(variables, "the server of `make serve`") if variables else None


def _served(named: str | None) -> dict[str, str]:
    """How to reach the server of `make serve`, for a process that settings name no other server to."""
    services = services_here()
    page = page_url(services)
    if page is None or named not in (None, f"{page}/api", f"{page.replace(LOOPBACK, 'localhost')}/api"):
        return {}
    secret = login(services)
    return {API_VARIABLE: f"{page}/api", **({CLIENT_LOGIN_VARIABLE: secret} if secret else {})}


def _taking_bare_names(lookup: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(lookup)
    def wrapper(self: object, name: str, *args: Any, **kwargs: Any) -> Any:
        return lookup(self, full_name(name), *args, **kwargs)

    wrapper.__dict__["takes_bare_names"] = True
    return wrapper
