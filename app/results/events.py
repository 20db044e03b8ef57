"""TensorBoard's event files: every number of a round's line becomes a curve."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from strategies.rounds.observer import ClosedRound, Observer, Outcome

log = logging.getLogger("flwr.tacet")

FOLDER = "events"


class EventsObserver(Observer):
    """Write ``events/`` in the run folder, for ``tensorboard --logdir`` of all run folders.

    What a resumed run does again replaces what its folder has of those rounds. A file that
    cannot be written ends no run: it is for looking at, and ``metrics.jsonl`` has it all.

    Parameters
    ----------
    folder : Path
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._writer: Any = None

    def round_closed(self, closed: ClosedRound) -> None:
        """Write the numbers of the round's line, at its round."""
        values, step = closed.report.to_dict(), closed.report.round
        self._write(dict(numbers(values)), step)

    def finished(self, outcome: Outcome) -> None:
        """Write the scores of the last model, which no round's line has."""
        if last := of_last_model(outcome):
            self._write(last, outcome.num_rounds + 1)
        self._close()

    def failed(self, error: BaseException) -> None:
        """Close the file."""
        self._close()

    def _write(self, values: Mapping[str, float], step: int) -> None:
        try:
            if self._writer is None:
                # Seconds to import, and of no use before a round has closed.
                from tensorboardX import SummaryWriter

                self._writer = SummaryWriter(
                    str(self._folder),
                    purge_step=step,
                    # Names have seconds, and a run may be resumed within one.
                    filename_suffix=f".{step:06}",
                )
            for name, number in values.items():
                self._writer.add_scalar(name, number, step)
            self._writer.flush()
        except OSError as error:
            log.warning("no event file for TensorBoard: %s", error)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def of_last_model(outcome: Outcome) -> dict[str, float]:
    """Return the scores of the last model, by the names that they have in the rounds."""
    return {f"metrics/{name}": value for name, value in outcome.metrics.items()}


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line with their names, ``privacy/epsilon`` for one inside."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and key != "round":
            yield prefix + key, float(value)
