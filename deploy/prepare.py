"""Make what the compose demo lacks: certificates, keys, policies, records.

One service does this for all, which a real federation must not: there each organisation makes
its own keys, reviews the code by itself, and hands over public parts alone. What is there
already stays as it is.
"""

import os
import shutil
import sys
from pathlib import Path

from app.approval.bundle import build_bundle, digest
from app.cli.main import main as tacet
from deploy.records import write_records

SUPERLINK, OPERATOR, RUNS = Path("/superlink"), Path("/operator"), Path("/runs")
HOSPITALS = [Path("/hospitals") / name for name in "abcd"]
HERE = Path(__file__).parent


class PrepareError(RuntimeError):
    """A step that failed."""


def main() -> int:
    """Prepare all volumes."""
    if not os.access(RUNS, os.W_OK):
        print(
            f"the folder for runs is not writable for user {os.getuid()}: on the host, chown it"
            f" to {os.getuid()}, or build with TACET_UID set to the user who owns it",
            file=sys.stderr,
        )
        return 1
    bundle = digest(build_bundle(HERE.parent))
    if not (SUPERLINK / "tls").exists():
        # Flower's own helpers reach the SuperLink from inside, at the address.
        hosts = ("superlink", "localhost", "127.0.0.1")
        step("keys", "tls", SUPERLINK / "tls", "--host", *hosts)
    for number, folder in enumerate(HOSPITALS):
        prepare_hospital(folder, number, bundle)
    exchange()
    print("ready: certificates, keys, policies and records of four hospitals")
    return 0


def prepare_hospital(folder: Path, number: int, bundle: str) -> None:
    """Make one hospital's keys, policy and records."""
    if not (folder / "identity").exists():
        step("keys", "new", folder / "identity")
    if not (folder / "flower-key").exists():
        step("keys", "node", folder / "flower-key")
    if not (folder / "policy.yaml").exists():
        floors = (HERE / "policy.yaml").read_text(encoding="utf-8")
        (folder / "policy.yaml").write_text(f"{floors}bundles: [{bundle}]\n", encoding="utf-8")
    if not (folder / "records.csv").exists():
        write_records(folder / "records.csv", number, len(HOSPITALS))


def exchange() -> None:
    """Hand over the public parts: what the organisations would do among themselves."""
    named = [f"hospital-{folder.name}={folder / 'identity.pub'}" for folder in HOSPITALS]
    authority = SUPERLINK / "tls" / "ca.crt"
    for folder in (*HOSPITALS, SUPERLINK):
        if not (folder / "peers").exists():
            step("keys", "merge", "--out", folder / "peers", *named)
    for folder in HOSPITALS:
        shutil.copyfile(authority, folder / "ca.crt")
        shutil.copyfile(folder / "flower-key.pub", OPERATOR / f"hospital-{folder.name}.pub")
    shutil.copyfile(authority, OPERATOR / "ca.crt")


def step(*arguments: object) -> None:
    """Run a ``tacet`` command."""
    if tacet([str(argument) for argument in arguments]):
        raise PrepareError(
            f"tacet {' '.join(map(str, arguments))} failed; the line above says why"
        )


if __name__ == "__main__":
    sys.exit(main())
