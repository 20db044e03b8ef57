"""The operator's part: ``job.py register`` lets nodes connect, ``job.py run`` runs the job."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

OPERATOR, RUNS = Path("/operator"), Path("/runs")
APP = Path(__file__).parent.parent
CONNECTION = "federation"
#: What Flower answers when a key is known already, as after a second `up`.
_KNOWN = "Public key already in use"


def connect() -> None:
    """Tell Flower's command where the SuperLink is and which authority vouches for it."""
    home = Path(os.environ["FLWR_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "superlink:8000"\nroot-certificates = "{OPERATOR / "ca.crt"}"\n',
        encoding="utf-8",
    )


def register() -> int:
    """Let every key in the operator's folder connect."""
    for key in sorted(OPERATOR.glob("*.pub")):
        command = ["flwr", "supernode", "register", str(key), CONNECTION, "--name", key.stem]
        for wait in (2, 5, 10, 0):
            done = subprocess.run(command, capture_output=True, text=True)
            told = done.stdout + done.stderr
            if not done.returncode or _KNOWN in told:
                break
            time.sleep(wait)
        else:
            print(told, file=sys.stderr)
            return 1
        print(f"{key.stem}: may connect")
    return 0


def run() -> int:
    """Submit the job, show its log, and end as it ended; ``flwr run`` always exits with 0."""
    # Hydra takes seconds, and `register` does not need it.
    from app.results.summary import COMPLETED, STOPPED_EARLY, read_summary

    folder = RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    config = Path("/tmp/run.toml")  # noqa: S108 - the container's own
    job = (APP / "deploy" / "run.toml").read_text(encoding="utf-8")
    config.write_text(f'output-dir = "{folder}"\n{job}', encoding="utf-8")
    command = ["flwr", "run", str(APP), CONNECTION, "--stream", "--run-config", str(config)]
    subprocess.run(command)
    try:
        summary = read_summary(folder)
    except FileNotFoundError:
        print("the run left no folder: the lines above say why", file=sys.stderr)
        return 1
    print(json.dumps({"run folder": folder.name, **summary}, indent=2))
    return int(summary["status"] not in (COMPLETED, STOPPED_EARLY))


if __name__ == "__main__":
    connect()
    sys.exit({"register": register, "run": run}[sys.argv[1]]())
