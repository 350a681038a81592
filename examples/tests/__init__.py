"""Tests of the example plugins, without Plugbay: each runs as a process behind two pipes.

Run ``python3 -W error -m unittest discover -s examples/tests -t examples`` from
the top of the repository; nothing need be installed. Plugins whose language is
not there are skipped, unless ``REQUIRE_LANGUAGES`` is set.
"""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1]
SDK = EXAMPLES.parent / "sdk-python" / "src"
TEXT = EXAMPLES / "data" / "declaration.txt"
sys.path.insert(0, str(SDK))
