"""Tests know nothing of what somebody serves from this checkout at the moment (`make serve`)."""

import os

os.environ["ADHMR_SERVE"] = os.devnull
