"""A local S3 server for tests, with two buckets and the environment that leads to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
import pytest
import s3fs
from moto.server import ThreadedMotoServer

OURS, OTHER = "bodies", "others"


@contextmanager
def s3_server(patch: pytest.MonkeyPatch, secret: str = "test") -> Iterator[dict[str, str]]:
    """Gives the variables, which stand in this process's environment for the length of the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }
    for name, value in variables.items():
        patch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # one of another server would be taken for this one's
    try:
        # what an earlier server of this process held is still there
        httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()
        client = boto3.client("s3")
        for bucket in (OURS, OTHER):
            client.create_bucket(Bucket=bucket)
        yield variables
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
