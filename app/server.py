"""Flower's ServerApp: compose the configuration, build, run the rounds, leave a run folder."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.exit import add_exit_handler
from flwr.superlink.grid import InMemoryGrid

from app.builders.run import (
    RunFacts,
    build_cohort_rng,
    build_settings,
    build_strategy,
)
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_given, option_of, to_yaml
from app.config.run import AppConfig
from app.node.settings import check_simulation_only
from app.preflight.plan_file import begin_plan
from app.results.events import EventsObserver
from app.results.html.gather import PLAN_FILE
from app.results.html.observer import PageObserver
from app.results.log_observer import RunLogObserver
from app.results.model_file import ModelFileError, write_whole
from app.results.observers import FolderObserver, LogObserver
from app.results.report import ReportObserver
from app.results.run_folder import (
    RunFolder,
    RunFolderError,
    folder_path,
    recorded_learning_rate,
)
from app.results.same_meaning import check_base
from app.results.starting_model import Start, start_of
from app.results.tracking import tracking_of
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.checkpoint import Checkpoint
from strategies.rounds.loop import RoundLoop
from strategies.rounds.observer import Observer, Outcome
from strategies.rounds.report import RoundReport
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid
from workloads.base import Workload
from workloads.values import State, StateRefusedError

log = logging.getLogger("flwr.tacet")

#: Errors whose message says all that a user needs.
_USER_ERRORS = (ConfigError, RunFolderError, ModelFileError, RunStoppedError)

# Messages to simulated nodes that are under way at a time: see ``PollingGrid``.
_LEAST_WINDOW, _MESSAGES_OF_A_WORKER = 32, 8

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federated training."""
    _hide_tracebacks_of_user_errors()
    config = load_given(context.run_config)
    # A simulation's grid lives in this process; a deployment's speaks HTTP.
    simulated, exits = isinstance(grid, InMemoryGrid), add_exit_handler
    polling = PollingGrid(grid, window=_window() if simulated else None)
    run(polling, config, context.run_id, simulated, at_exit=exits, draws_page=True)


def _window() -> int:
    """Return how many messages keep the workers of a simulation busy while the server looks.

    Flower has one for each CPU at most.
    """
    return max(_LEAST_WINDOW, _MESSAGES_OF_A_WORKER * (os.cpu_count() or 1))


def run(
    grid: PollingGrid,
    config: AppConfig,
    run_id: int,
    simulated: bool,
    observers: Sequence[Observer] = (),
    *,
    task_has_records: bool = True,
    at_exit: Callable[[Callable[[], None]], object] | None = None,
    draws_page: bool = False,
) -> Outcome:
    """Train, leaving a run folder.

    Parameters
    ----------
    grid : PollingGrid
        Reaches the clients.
    config : AppConfig
        The configuration of the run.
    run_id : int
        Flower's id of the run.
    simulated : bool
        Whether the clients are.
    observers : sequence of Observer
        Told of the rounds after the folder and the log.
    task_has_records : bool
        Whether the nodes hold the task's records, which must go round, or others in their
        place.
    at_exit : callable, optional
        Takes what is to be called when Flower ends this process: it does so when somebody
        stops the run, and no exception tells of that in a simulation.
    draws_page : bool
        Whether the folder gets a ``report.html``, which takes a second of drawing.

    Raises
    ------
    ConfigError, RunFolderError, ModelFileError
        Before any client is contacted.
    RunStoppedError
        If the rounds cannot go on; what was done is kept and can be resumed.
    """
    if not simulated:
        check_simulation_only(config)
    tracking = tracking_of(config)
    num_simulated = _num_simulated(grid, config) if simulated else None
    if num_simulated is not None:
        _check_number(config, num_simulated)
        if task_has_records:
            _check_population(config, num_simulated)
    check_base(config)
    workload = _workload(config)
    state = _initial_state(config, workload)
    if simulated:
        _check_device(config, workload)
    start = start_of(config, workload, state)
    if start is not None:
        state = start.state
    length = workload.length(state)
    rate = recorded_learning_rate(Path(config.resume_from)) if config.resume_from else None
    strategy = _strategy(config, RunFacts(run_id, num_simulated, workload, length, rate))
    strategy.model_entry = start.record.entry if start is not None else None
    settings, cohort_rng = build_settings(config, simulated), build_cohort_rng(config)
    folder, checkpoint = _open_folder(config, run_id, start)
    with folder:
        _check_checkpoint(checkpoint, config, workload)
        if at_exit is not None:
            # The last is called first.
            for stop in (*([tracking.stop] if tracking else []), folder.stop):
                at_exit(stop)
            log.info("Ctrl-C ends this log, not the run: that is `flwr stop %d`", run_id)
        folder.note_learning_rate(strategy.workload.setup.learning_rate)
        log.info("run folder: %s", folder.path)
        log.info("configuration:\n%s", to_yaml(config))
        # The folder first: a round that the log shows can be resumed from.
        own = (
            FolderObserver(folder),
            ReportObserver(workload, folder.path),
            EventsObserver(folder.path),
            LogObserver(config.num_rounds, folder.path),
            # It hashes what those above have written.
            RunLogObserver(
                folder.path,
                config,
                run_id,
                strategy.coding.plan,
                checkpoint,
                strategy.note_log_head,
                start.record.to_log() if start is not None else None,
            ),
        )
        page = (_page_observer(folder.path, config),) if draws_page else ()
        last = () if tracking is None else (tracking,)
        if tracking is not None:
            tracking.begin(folder.path, run_id, _done(checkpoint) or ())
        loop = RoundLoop(strategy, grid, settings, cohort_rng, (*own, *observers, *page, *last))
        return loop.run(state, checkpoint)


def _page_observer(folder: Path, config: AppConfig) -> PageObserver:
    """Return the observer that draws the report; the words on the run are made meanwhile."""
    plan = begin_plan(config, lambda content: write_whole(folder / PLAN_FILE, content))
    return PageObserver(folder, plan)


def _open_folder(
    config: AppConfig, run_id: int, start: Start | None
) -> tuple[RunFolder, Checkpoint | None]:
    path = folder_path(config, run_id)
    if config.resume_from:
        return RunFolder.resume(path, config, run_id)
    record = start.record if start is not None else None
    return RunFolder.create(path, config, run_id, record), None


def _check_checkpoint(
    checkpoint: Checkpoint | None, config: AppConfig, workload: Workload
) -> None:
    """Refuse a state that every node would refuse: of another version's model, say."""
    if checkpoint is None or checkpoint.state is None:
        return
    try:
        workload.check(workload.asked(checkpoint.state))
    except StateRefusedError as error:
        raise ConfigError(
            f"resume-from={config.resume_from!r}: its checkpoint is of another model than this"
            f" version of Tacet makes of the configuration ({error}); go on with the version"
            " that wrote it, or begin a new run"
        ) from None


def _done(checkpoint: Checkpoint | None) -> Sequence[RoundReport] | None:
    return None if checkpoint is None else checkpoint.reports


def _num_simulated(grid: PollingGrid, config: AppConfig) -> int:
    rounds = config.rounds
    return len(grid.wait_until_settled(max(rounds.min_clients, rounds.min_replies)))


def _initial_state(config: AppConfig, workload: Workload) -> State:
    try:
        workload.rehearse()
        return workload.initial_state()
    # A model that is refused is a ValueError too.
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _workload(config: AppConfig) -> Workload:
    try:
        return build_workload(config)
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _check_device(config: AppConfig, workload: Workload) -> None:
    """Refuse a device that this machine, on which the simulated nodes are, lacks."""
    try:
        workload.device()
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _strategy(config: AppConfig, facts: RunFacts) -> RoundStrategy:
    try:
        return build_strategy(config, facts)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_number(config: AppConfig, num_nodes: int) -> None:
    """Refuse a simulation with too few nodes; in a deployment more may connect."""
    for key in ("min_clients", "min_replies"):
        least = getattr(config.rounds, key)
        if num_nodes < least:
            raise ConfigError(
                f"{num_nodes} simulated clients, rounds.{key}={least}:"
                f" start more, --federation-config 'num-supernodes={least}'"
            )


def _check_population(config: AppConfig, num_nodes: int) -> None:
    """Refuse a number of nodes over which the task's records cannot be spread."""
    try:
        build_task(config).check_population(num_nodes)
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _hide_tracebacks_of_user_errors() -> None:
    """Let Flower log a user's error as one line, without a traceback."""

    def shorten(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _USER_ERRORS):
            record.msg, record.args, record.exc_info = str(error), (), None
        return True

    logging.getLogger("flwr").addFilter(shorten)
