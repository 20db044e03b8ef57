"""The observer that writes a run's log, after all others have written their files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.config.load import resolved
from app.config.run import AppConfig
from app.results.run_folder import MAY_CHANGE
from app.results.run_log import (
    BEGUN,
    CHANGEABLE,
    CLOSED,
    ENDED,
    FORMAT,
    RESUMED,
    SIGNED,
    Head,
    RunLog,
    files_of,
    hash_of,
    hash_of_bytes,
)
from app.results.summary import COMPLETED, FAILED, STOPPED_EARLY
from privacy.plan.plan import PrivacyPlan
from strategies.rounds.checkpoint import Checkpoint
from strategies.rounds.observer import ClosedRound, Observer, Outcome
from strategies.rounds.report import RoundReport
from strategies.secagg.signed_sum import SignedSum

log = logging.getLogger("flwr.tacet")


class RunLogObserver(Observer):
    """Write what happened, with the hashes of the files that say so.

    Parameters
    ----------
    folder : Path
        The run folder.
    config : AppConfig
        Of the run, as ``config.yaml`` in the folder has it.
    run_id : int
        Flower's id of the run.
    plan : PrivacyPlan or None
        Of a private run: entries list the releases so far.
    checkpoint : Checkpoint or None
        Of a run that is resumed: the rounds that were done before, and what was spent.
    tell_head : callable
        Given each new head of the log (40 bytes), for the participants to sign.
    initial : mapping or None
        What the first entry says of the other run's model that this one begins with.
    """

    def __init__(
        self,
        folder: Path,
        config: AppConfig,
        run_id: int,
        plan: PrivacyPlan | None,
        checkpoint: Checkpoint | None,
        tell_head: Callable[[bytes], None],
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder, self._plan = folder, plan
        self._tell_head = tell_head
        self._spent: Mapping[str, Any] = checkpoint.privacy if checkpoint else {}
        self._log = RunLog(folder)
        # As text: ids are larger than what JSON's numbers hold elsewhere.
        about: dict[str, Any] = {
            "format": FORMAT,
            "run_id": str(run_id),
            "config": self._hash("config.yaml"),
            CHANGEABLE: _changeable(config),
        }
        if initial is not None:
            about["initial"] = initial
        if checkpoint is None:
            self._append(BEGUN, about)
        else:
            self._take_up(about, checkpoint.reports)

    def releasing(self, privacy: Mapping[str, Any]) -> None:
        """Note what is about to be spent: it counts even if no round closes."""
        self._spent = privacy

    def round_closed(self, closed: ClosedRound) -> None:
        """Append the round: its line, the model and what was released so far."""
        self._closed(closed.report, is_last=True, signed=closed.signed)

    def finished(self, outcome: Outcome) -> None:
        """Append the end, with the hash of every file."""
        status = STOPPED_EARLY if outcome.stopped_early else COMPLETED
        self._end(status, self._releases(outcome.privacy) | _signatures(outcome.signed))

    def failed(self, error: BaseException) -> None:
        """Append that it failed, and what was released until then."""
        self._end(FAILED, self._releases(self._spent))

    def _take_up(self, about: Mapping[str, Any], done: Sequence[RoundReport]) -> None:
        """Append that the run goes on, and the rounds that count and are not in the log.

        A process may be killed when a round's checkpoint is written and its entry is not, or
        before the first entry.
        """
        num_logged = min(self._log.num_closed(), len(done))
        if len(self._log):
            self._append(RESUMED, {**about, "round": num_logged})
        else:
            self._append(BEGUN, about)
        for report in done[num_logged:]:
            self._closed(report, is_last=report is done[-1])

    def _closed(
        self, report: RoundReport, *, is_last: bool, signed: SignedSum | None = None
    ) -> None:
        line = (self._folder / "metrics.jsonl").read_bytes().split(b"\n")[report.round - 1]
        entry = {
            "round": report.round,
            "line": hash_of_bytes(line),
            "num_asked": report.num_asked,
            "num_replies": report.num_replies,
            **self._releases(report.privacy),
            **_signatures(signed),
        }
        # A process may have been killed before it wrote the first model.
        if is_last and (self._folder / "model.safetensors").exists():
            entry["model"] = self._hash("model.safetensors")
        self._append(CLOSED, entry)

    def _end(self, status: str, more: Mapping[str, Any]) -> None:
        entry = {"status": status, "files": files_of(self._folder), **more}
        head = self._append(ENDED, entry)
        log.info("log head: %d entries, %s (tacet verify)", head.size, head.root)

    def _append(self, kind: str, values: Mapping[str, Any]) -> Head:
        head = self._log.append(kind, values)
        self._tell_head(head.to_sign())
        return head

    def _releases(self, spent: Mapping[str, Any]) -> dict[str, Any]:
        """Return epsilon, delta and the releases that they are of; empty without privacy."""
        if self._plan is None or not spent:
            return {}
        schedule = self._plan.schedule(spent["num_updates"], num_metrics=spent["num_metrics"])
        return {
            "epsilon": float(spent["epsilon"]),
            "delta": float(spent["delta"]),
            "releases": [[release.to_dict(), times] for release, times in schedule],
        }

    def _hash(self, name: str) -> str:
        return hash_of(self._folder / name)


def _changeable(config: AppConfig) -> str:
    """Return what of the configuration a resume may replace, as JSON text.

    As text, since canonical JSON writes 2.0 as 2, and participants have signed the former.
    """
    values = resolved(config)
    return json.dumps({key: values[key] for key in MAY_CHANGE})


def _signatures(signed: SignedSum | None) -> dict[str, Any]:
    """Return what the participants of a sum have signed; empty if messages are not signed."""
    return {} if signed is None else {SIGNED: signed.to_dict()}
