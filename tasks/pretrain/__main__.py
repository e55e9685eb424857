"""`make pretrain`: the encoder that ships, made again from nothing; or one of other settings, for `start.encoder`.

python -m tasks.pretrain [--output FILE] [--work FOLDER] [--threads N] [--short] [--set FIELD=VALUE ...]
"""

import argparse
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from models.encoder_files import SHIPPED_FILE
from schemas.errors import ConfigError, EngineError
from schemas.fields import fields
from tasks.pretrain.people import whole_file
from tasks.pretrain.settings import PretrainConfig, short
from tasks.pretrain.work import pretrain


def main(words: list[str] | None = None) -> int:
    """Train and write the file; 2 for what can't be meant."""
    parser = argparse.ArgumentParser(prog="python -m tasks.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=SHIPPED_FILE, help="file to write")
    parser.add_argument("--work", type=Path, default=Path(".pretrain"), help="keeps pictures and checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="torch's; they reach the last bits")
    parser.add_argument("--short", action="store_true", help="a small encoder in seconds, for tests")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="as optimiser.steps=3000")
    asked = parser.parse_args(words)
    started, cpu = time.monotonic(), time.process_time()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {text}", flush=True)

    try:
        config = changed(short() if asked.short else PretrainConfig(), asked.set)
        made = pretrain(config, asked.work, asked.threads, say)
        whole_file(asked.output, made.to_bytes())
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    say(f"wrote {asked.output}: encoder {made.digest} ({(time.process_time() - cpu) / 60:.1f} CPU-minutes)")
    return 0


def changed(config: PretrainConfig, said: list[str]) -> PretrainConfig:
    """`config` with dotted fields set. ConfigError for one that isn't there, or a value that it doesn't take."""
    plain = config.model_dump()
    for text in said:
        name, equals, value = text.partition("=")
        place, _, leaf = name.rpartition(".")
        inner = plain
        for part in filter(None, place.split(".")):
            inner = inner.get(part, {})
        if not equals or leaf not in inner or isinstance(inner[leaf], dict):
            known = ", ".join(field.name for field in fields(config))
            raise ConfigError(f"--set {text}: FIELD=VALUE is needed, with one of the fields {known}.")
        inner[leaf] = value
    try:
        return PretrainConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--set {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


if __name__ == "__main__":
    sys.exit(main())
