"""Where the code lies, and a policy that lists bundles."""

from pathlib import Path

import yaml


def write_policy(path: Path, *bundles: str) -> Path:
    values = {"dataset": "d", "privacy": ["none"], "min_survivors": 3, "min_colluding": 0}
    values |= {"require_identities": False} | ({"bundles": list(bundles)} if bundles else {})
    path.write_text(yaml.safe_dump(values))
    path.chmod(0o644)
    return path
