"""Read a run folder into plain data, in which a node is known by a pseudonym only."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from app.results.run_log import hash_of
from app.results.summary import COMPLETED, RUNNING, STOPPED_EARLY, read_summary
from strategies.rounds.published import plain_figures

PLAN_FILE = "plan.json"

_CLIENT = re.compile(r"\b(client|node) (\d+)\b")


class NoRunError(ValueError):
    """A folder without a run. The message is one line and names it."""


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run folder as plain values.

    Attributes
    ----------
    folder : Path
        Where it is.
    config : dict
        The resolved configuration; each group has the ``name`` of its option.
    config_text : str
        The same, as the file has it.
    summary : dict
        ``status``, ``num_rounds``, ``metrics``, ``privacy``, ``seconds``, perhaps ``reason``.
    rounds : list of dict
        The lines of the history that count, the first round first; ``failures``,
        ``took_part`` and ``published`` by pseudonym.
    report, evaluation : dict or None
        What a run that has ended says of its result and of the scores of its last model.
    plan : dict
        ``rows`` and ``adversaries``, as ``app.preflight.plan_words`` words them; may be empty.
    hashes : dict
        Name of a file to its SHA-256 in hexadecimal digits.
    """

    folder: Path
    config: dict[str, Any]
    config_text: str
    summary: dict[str, Any]
    rounds: list[dict[str, Any]]
    report: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    plan: dict[str, Any]
    hashes: dict[str, str]
    names: Pseudonyms = field(repr=False)

    @property
    def status(self) -> str:
        """Return how the run stands."""
        return str(self.summary["status"])

    def published(self) -> dict[str, dict[str, float]]:
        """Return the last figures that each node has published, by pseudonym."""
        found: dict[str, dict[str, float]] = {}
        for figures in (*self.rounds, self.summary):
            for node, own in (figures.get("published") or {}).items():
                found[node] = found.get(node, {}) | own
        return found

    @property
    def num_rounds(self) -> int:
        """Return the rounds of the whole run."""
        return int(self.config.get("num_rounds") or len(self.rounds))

    def option(self, group: str) -> str:
        """Return the name of a group's option."""
        return str(_dict(self.config.get(group)).get("name", "unknown"))

    def last_metrics(self) -> dict[str, float]:
        """Return the figures of the last model that was scored."""
        metrics = _dict(self.summary.get("metrics"))
        return {name: value for name, value in metrics.items() if _is_number(value)}

    def spent(self) -> dict[str, Any]:
        """Return what the run has spent; empty without differential privacy."""
        return _dict(self.summary.get("privacy"))

    def cap(self) -> float | None:
        """Return the epsilon that the run keeps to; None where its noise was given instead."""
        cap: Any = _dict(self.config.get("privacy")).get("epsilon")
        return float(cap) if _is_number(cap) else None


class Pseudonyms:
    """Names for Flower's node ids: ``node 1`` is the one that the history names first."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, node: int) -> str:
        """Return the name of a node, a new one if there is none."""
        return self._known.setdefault(node, f"node {len(self._known) + 1}")

    def in_text(self, text: str) -> str:
        """Return a text in which each node goes by its name."""
        text = _CLIENT.sub(lambda found: self.of(int(found[2])), text)
        for node, name in self._known.items():
            # Ids of deployments have many digits; a small one could be any number.
            if node >= 10**6:
                text = text.replace(str(node), name)
        return text


@contextmanager
def naming_damage(folders: Sequence[Path]) -> Generator[None]:
    """Name the run folders where a file of one holds what no run writes.

    Raises
    ------
    NoRunError
        In place of whatever that makes of a drawing, which is its cause.
    """
    try:
        yield
    except NoRunError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        named = " or ".join(map(str, folders))
        raise NoRunError(
            f"{named}: a file is damaged, which `tacet verify` names: {type(error).__name__},"
            f" {_told(error)}"
        ) from error


def gather(folder: Path) -> RunData:
    """Read a run folder, of a run that goes on, has ended or was killed.

    Raises
    ------
    NoRunError
        If there is no run, or its configuration or summary cannot be read.
    """
    text, config = _config(folder)
    try:
        summary = read_summary(folder)
        status, num_done = str(summary["status"]), int(summary.get("num_rounds", 0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoRunError(f"{folder}: summary.json: {_told(error)}") from None
    names = Pseudonyms()
    rounds = _rounds(folder, num_done, names)
    summary["published"] = _published(summary.get("published"), names)
    if "reason" in summary:
        summary["reason"] = names.in_text(str(summary["reason"]))
    # Of a run that was resumed, what the end before has left is of another model.
    has_ended = status in (COMPLETED, STOPPED_EARLY)
    return RunData(
        folder=folder,
        config=config,
        config_text=text,
        summary=summary,
        rounds=rounds,
        report=_json(folder / "report.json") if has_ended else None,
        evaluation=_json(folder / "evaluation.json") if has_ended else None,
        plan=_json(folder / PLAN_FILE) or {},
        hashes=_hashes(folder, is_running=status == RUNNING),
        names=names,
    )


def _config(folder: Path) -> tuple[str, dict[str, Any]]:
    file = folder / "config.yaml"
    try:
        text = file.read_text(encoding="utf-8")
        # The parser in C, where there is one, takes a tenth of the time.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config = yaml.load(text, Loader=loader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NoRunError(f"{folder} is no run folder: config.yaml: {_told(error)}") from None
    if not isinstance(config, dict):
        raise NoRunError(f"{folder} is no run folder: config.yaml holds no configuration")
    return text, cast(dict[str, Any], config)


def _rounds(folder: Path, num_done: int, names: Pseudonyms) -> list[dict[str, Any]]:
    """Return the lines of rounds that count; of a killed run the last may be half a line."""
    try:
        lines = (folder / "metrics.jsonl").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines[:num_done]:
        try:
            one = dict(json.loads(line))
            one["round"], one["seconds"] = int(one["round"]), float(one["seconds"])
            failures = _dict(one.get("failures"))
            one["failures"] = {names.of(int(node)): str(why) for node, why in failures.items()}
            one["took_part"] = [names.of(int(node)) for node in one.get("took_part") or ()]
            one["published"] = _published(one.get("published"), names)
        except (ValueError, KeyError, TypeError):
            break
        for name in ("metrics", "privacy", "stage_seconds"):
            one[name] = _dict(one.get(name))
        found.append(one)
    return found


def _published(values: Any, names: Pseudonyms) -> dict[str, dict[str, float]]:
    """Return what nodes have published, by pseudonym."""
    found = plain_figures(values)
    return {names.of(int(node)): figures for node, figures in found.items()}


def _json(file: Path) -> dict[str, Any] | None:
    """Return what a JSON file of the run holds; None if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cast(dict[str, Any], found) if isinstance(found, dict) else None


def _hashes(folder: Path, *, is_running: bool) -> dict[str, str]:
    # The model changes until the end, and may be large.
    files = ["config.yaml"] if is_running else ["config.yaml", "model.safetensors"]
    return {name: hash_of(folder / name) for name in files if (folder / name).is_file()}


def _dict(value: Any) -> dict[str, Any]:
    return dict(cast(Mapping[str, Any], value)) if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _told(error: Exception) -> str:
    """Return the first line of an error, without the path that it repeats."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
