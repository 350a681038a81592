"""Tests of the Python SDK.

Run ``python3 -W error -m unittest discover -s sdk-python/tests -t sdk-python``
from the top of the repository; nothing need be installed.
"""

import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))
