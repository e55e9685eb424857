"""How S3 is reached: found out once, as botocore does it, and handed to s3fs, deltalake and Ray Train.

Each by itself would look in other places. botocore looks at the environment, the profile (AWS_PROFILE), the files in
~/.aws, roles, and what the machine offers; with credentials come region and endpoint. Credentials that expire are
renewed here. They never leave the process: each that is sent a store finds its own.
"""

import asyncio
import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import fsspec

from schemas.errors import StoreError

_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
_CURE = "Check AWS_PROFILE, the files in ~/.aws, and what begins with AWS_ in the environment."


class Access:
    """What botocore makes of the environment and the files of now. Raises StoreError where nothing comes of it."""

    def __init__(self) -> None:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session

        region = os.environ.get("AWS_REGION") or None  # all tools but botocore read it
        ignoring = Config(ignore_configured_endpoint_urls=True)
        try:
            session = get_session()
            configured = session.create_client("s3", region).meta
            by_default = session.create_client("s3", region, config=ignoring).meta
            self._credentials = session.get_credentials()
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"S3 is not set up: {error}. {_CURE}") from error
        if self._credentials is None:
            raise StoreError(f"S3 is not set up: no credentials were found. {_CURE}")
        self.region = "us-east-1" if configured.region_name == "aws-global" else str(configured.region_name)
        self.endpoint = None if configured.endpoint_url == by_default.endpoint_url else str(configured.endpoint_url)

    def credentials(self) -> Any:
        """Access key, secret key and session token as botocore names them; fresh ones if they would soon expire."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"S3's credentials can't be renewed: {error}. {_CURE}") from error

    def delta_options(self) -> dict[str, str]:
        """What deltalake wants; for the moment, as these credentials may expire."""
        credentials = self.credentials()
        options = {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_SESSION_TOKEN": credentials.token,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true" if (self.endpoint or "").startswith("http://") else None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def filesystem(self) -> Any:
        """The filesystem of fsspec; one in each process."""
        # no cache of listings: other processes write to the store all the time
        return fsspec.filesystem(
            "s3",
            session=self._session,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": self.region},
            use_listings_cache=False,
        )

    @cached_property
    def _session(self) -> Any:
        from aiobotocore.credentials import AioCredentials
        from aiobotocore.session import AioSession

        class Shared(AioCredentials):
            async def get_frozen_credentials(_self) -> Any:  # noqa: N805
                return await asyncio.to_thread(access().credentials)  # renewing them takes a request

        class Resolver:
            async def load_credentials(self) -> AioCredentials:
                return Shared("", "")

        session = AioSession()
        session.register_component("credential_provider", Resolver())
        return session


def access() -> Access:
    """How S3 is reached from this process, as environment and files are now."""
    return _access(os.getpid(), _environment(), _times_of_files())


@lru_cache(maxsize=4)
def _access(_process: int, _variables: tuple[tuple[str, str], ...], _times: tuple[float, ...]) -> Access:
    return Access()


def _environment() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


def _times_of_files() -> tuple[float, ...]:
    """When the files were changed: other tools renew credentials by writing them anew."""
    paths = [Path(os.environ.get(name) or usual).expanduser() for name, usual in _FILES.items()]
    return tuple(path.stat().st_mtime if path.exists() else 0.0 for path in paths)
