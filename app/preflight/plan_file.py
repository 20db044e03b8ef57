"""``plan.json`` of a run folder: what the run was to cost and to promise, in words.

A plan takes seconds of accounting under privacy, while the server waits for nodes anyway: so it
is made beside the run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from threading import Thread

from app.config.run import AppConfig
from app.preflight.not_promised import not_promised
from app.preflight.plan_words import adversary_rows, plan_rows
from app.preflight.run_plan import PlanError, plan_run

log = logging.getLogger("flwr.tacet")


def plan_text(config: AppConfig) -> str:
    """Return the words on a run as JSON: ``rows``, ``adversaries``, ``not_promised``.

    Raises
    ------
    PlanError
        As ``plan_run``.
    """
    plan = plan_run(config)
    words = {
        "rows": plan_rows(plan),
        "adversaries": adversary_rows(plan),
        "not_promised": not_promised(config),
    }
    return json.dumps(words, indent=2) + "\n"


def begin_plan(config: AppConfig, write: Callable[[bytes], None]) -> Thread:
    """Begin to make the words on a run, and give them to ``write`` when they are there.

    A plan that cannot be made, or written, is told in the log and changes nothing of the run.
    """

    def make() -> None:
        try:
            write(plan_text(config).encode())
        except (PlanError, OSError) as error:
            log.warning("plan.json is not written: %s", error)
        except Exception:
            # The run goes on: it needs no plan on paper.
            log.warning("plan.json is not written", exc_info=True)

    thread = Thread(target=make, name="plan", daemon=True)
    thread.start()
    return thread
