"""Print what the image installs, read from ``pyproject.toml``.

``requirements.py torch|others FILE``: torch apart, for it comes from an index of its own; and
without Flower's simulation engine, which a deployment does not use.
"""

import re
import sys
import tomllib
from pathlib import Path

which, path = sys.argv[1], Path(sys.argv[2])
for line in tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]:
    name = re.split(r"[^\w.-]", line)[0]
    if (name == "torch") == (which == "torch"):
        print(line.replace("[simulation]", ""))
