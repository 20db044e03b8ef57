"""Write the lock files of ``deploy/locks``: ``make lock``.

Each names, for Linux with Python 3.11, one version of every package and the hashes of all its
files, from the ranges in ``pyproject.toml``. A locked version stays as long as the ranges
allow it; ``--upgrade``, and whatever else is given, goes to ``uv pip compile``.
"""

import hashlib
import re
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "deploy" / "locks"
WHEELS = ROOT / "deploy" / "wheels"
PYTHON = "3.11"
#: PyPI's builds of torch for Linux ask for these, gigabytes that a CPU build has no use for.
CUDA = (
    "cuda-bindings",
    "cuda-toolkit",
    "nvidia-cudnn-cu13",
    "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    "nvidia-nvshmem-cu13",
    "triton",
)
_CPU_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
_HEAD = f"""\
# Written by `make lock` from the ranges in pyproject.toml, for Linux with Python {PYTHON}.
# Not to be edited; see docs/supply-chain.md.
"""
_TORCH_HEAD = """\
# CPU builds alone: PyPI's own builds for Linux ask for gigabytes of CUDA. PyPI has no CPU build
# for Linux, so pip must be told where one is.
"""


@dataclass(frozen=True)
class Entry:
    """What a lock file says of one package."""

    version: str
    hashes: frozenset[str]


def entries(lock: str) -> dict[str, Entry]:
    """Read a lock file's text: every package by its normalised name."""
    found: dict[str, Entry] = {}
    for line in lock.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, version = re.match(r"([\w.-]+)==([^\s;]+)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})(?!\S)", line)
            found[normal(name)] = Entry(version, frozenset(hashes))
    return found


def normal(name: str) -> str:
    """Return a package's name as all files write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def cpu_builds(lock: str) -> dict[str, str]:
    """Return the CPU builds that the head of ``torch.txt`` lists: hash by file name."""
    found = re.findall(r"^# ([0-9a-f]{64})  (\S+)$", lock, re.MULTILINE)
    return {name: digest for digest, name in found}


def wanted() -> dict[str, list[str]]:
    """Return the ranges that each lock file answers, torch among them."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    dependencies: list[str] = project["dependencies"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return {
        "torch": [line for line in dependencies if re.match(r"torch\b", line)],
        "dev": [*dependencies, *extras["dev"], *groups["editable"], *groups["setuptools"]],
        # A deployment does not use Flower's simulation engine.
        "image": [line.replace("[simulation]", "") for line in dependencies],
        "setuptools": groups["setuptools"],
        "tools": groups["tools"],
        "tensorboard": groups["tensorboard"],
    }


#: The lock files that one environment is made of have one version of each package.
_CONSTRAINTS = {
    "dev": ["torch"],
    "image": ["torch", "dev"],
    "setuptools": ["dev"],
}


def main(arguments: list[str]) -> None:
    """Write all lock files."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        sys.exit(f"there is no {uv}; it comes with Flower: `make .venv/installed`")
    LOCKS.mkdir(exist_ok=True)
    with TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "cuda.in").write_text("\n".join(CUDA), encoding="utf-8")
        for name, ranges in wanted().items():
            # By relative names, which are all that the lock says of where it was made.
            (folder / f"{name}.in").write_text("\n".join(ranges), encoding="utf-8")
            target = folder / f"{name}.txt"
            if (LOCKS / target.name).exists():
                # uv keeps the versions that it finds. PyPI does not know torch's CPU builds.
                old = (LOCKS / target.name).read_text(encoding="utf-8").replace("+cpu", "")
                target.write_text(old, encoding="utf-8")
            _compile([str(uv), "pip", "compile", *arguments], target)
            lock = target.read_text(encoding="utf-8")
            if cuda := [one for one in entries(lock) if re.match("nvidia|cuda|triton", one)]:
                sys.exit(
                    f"torch asks for {', '.join(cuda)}: add to CUDA in {Path(__file__).name}"
                )
            lock = _torch(entries(lock)["torch"].version) if name == "torch" else lock
            (LOCKS / target.name).write_text(_HEAD + lock, encoding="utf-8")


def _compile(command: list[str], target: Path) -> None:
    name, folder = target.stem, target.parent
    command += [f"{name}.in", "--output-file", target.name, "--no-config", "--quiet"]
    command += ["--generate-hashes", "--no-header", "--annotation-style", "line"]
    command += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--excludes", "cuda.in"]
    command += ["--no-deps"] if name == "torch" else ["--no-emit-package", "torch"]
    for other in _CONSTRAINTS.get(name, ()):
        lock = entries((folder / f"{other}.txt").read_text(encoding="utf-8"))
        pins = "\n".join(f"{package}=={entry.version}" for package, entry in lock.items())
        (folder / f"{other}.lock").write_text(pins, encoding="utf-8")
        command += ["--constraints", f"{other}.lock"]
    if subprocess.run(command, cwd=folder).returncode:
        sys.exit(f"{name}.txt was not written")


def _torch(version: str) -> str:
    """Return the lock of torch: the CPU builds' hashes, from wherever they can be had."""
    ours = re.compile(
        rf"torch-{re.escape(version)}\+cpu-cp{PYTHON.replace('.', '')}-\S*linux\S*"
    )
    old = LOCKS / "torch.txt"
    known = cpu_builds(old.read_text(encoding="utf-8")) if old.exists() else {}
    found: dict[str, str] = {}
    for name, digest in [*known.items(), *_listed(), *_lying_here()]:
        if ours.fullmatch(name) and found.setdefault(name, digest) != digest:
            sys.exit(f"there are two files {name}, with the hashes {found[name]} and {digest}")
    if not found:
        sys.exit(f"no CPU build of torch {version}: put its wheel into {WHEELS}")
    files = "".join(f"# {digest}  {name}\n" for name, digest in sorted(found.items()))
    hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(found.values()))
    return f"{_TORCH_HEAD}{files}torch=={version}+cpu{hashes}\n"


def _listed() -> list[tuple[str, str]]:
    """Return what PyTorch's index lists, or nothing where it is out of reach."""
    try:
        with urllib.request.urlopen(_CPU_INDEX, timeout=20) as answer:
            page = answer.read().decode()
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"{_CPU_INDEX}: {error}; hashes of CPU builds that are known stay")
        return []
    found = re.findall(r'/(torch-[^"/#]+\.whl)#sha256=([0-9a-f]{64})', page)
    return [(name.replace("%2B", "+"), digest) for name, digest in found]


def _lying_here() -> list[tuple[str, str]]:
    """Return the wheels in ``deploy/wheels``."""
    return [
        (wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())
        for wheel in WHEELS.glob("torch-*.whl")
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
