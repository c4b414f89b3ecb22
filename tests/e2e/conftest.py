"""Programs that the tests here start are importable too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
