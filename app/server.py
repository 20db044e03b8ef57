"""Flower's ServerApp: compose the configuration, build, run the rounds, leave a run folder."""

import logging

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.superlink.grid import InMemoryGrid

from app.builders.run import (
    RunFacts,
    build_cohort_rng,
    build_settings,
    build_strategy,
)
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config, option_of, to_yaml
from app.config.run import AppConfig
from app.node.settings import check_simulation_only
from app.results.model_file import ModelFileError
from app.results.run_folder import Checkpoint, RunFolder, RunFolderError, folder_path
from strategies.rounds.averaging import IterateAverage
from strategies.rounds.loop import Outcome, RoundLoop
from strategies.rounds.optimizer_state import export_state, restore_state
from strategies.rounds.records import to_arrays, to_parameters
from strategies.rounds.report import RoundReport, describe, describe_privacy
from strategies.rounds.strategy import RoundStrategy, RunStoppedError
from strategies.rounds.transport import PollingGrid
from workloads.base import State, Workload

log = logging.getLogger("flwr.tacet")

#: Errors whose message says all that a user needs.
_USER_ERRORS = (ConfigError, RunFolderError, ModelFileError, RunStoppedError)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federated training."""
    _hide_tracebacks_of_user_errors()
    config = load_config(context.run_config)
    # A simulation's grid lives in this process; a deployment's speaks HTTP.
    run(PollingGrid(grid), config, context.run_id, isinstance(grid, InMemoryGrid))


def run(grid: PollingGrid, config: AppConfig, run_id: int, simulated: bool) -> Outcome:
    """Train, leaving a run folder.

    Raises
    ------
    ConfigError, RunFolderError, ModelFileError
        Before any client is contacted.
    RunStoppedError
        If the rounds cannot go on; what was done is kept and can be resumed.
    """
    if not simulated:
        check_simulation_only(config)
    num_simulated = _num_simulated(grid, config) if simulated else None
    if num_simulated is not None:
        _check_population(config, num_simulated)
    workload = _workload(config)
    arrays = _initial_arrays(config, workload)
    length = workload.length(State(to_parameters(arrays)))
    strategy = _strategy(config, RunFacts(run_id, num_simulated, workload, length))
    path = folder_path(config, run_id)
    checkpoint = None
    if config.resume_from:
        folder, checkpoint = RunFolder.resume(path, config)
    else:
        folder = RunFolder.create(path, config)
    with folder:
        log.info("run folder: %s", folder.path)
        log.info("configuration:\n%s", to_yaml(config))
        try:
            average = IterateAverage(config.average_from)
            if checkpoint:
                _restore(checkpoint, strategy, average, list(arrays.keys()))
                arrays = checkpoint.arrays
            loop = _loop(grid, config, simulated, strategy, folder, average)
            outcome = loop.run(arrays, checkpoint.reports if checkpoint else ())
        except BaseException as error:
            folder.fail(f"{type(error).__name__}: {error}")
            raise
        folder.finish(outcome)
    log.info("last model: %s", describe(outcome.metrics) or "not scored")
    if outcome.privacy:
        log.info("the run has spent: %s", describe_privacy(outcome.privacy))
    log.info("done: %d rounds; everything is in %s", outcome.num_rounds, folder.path)
    return outcome


def _restore(
    checkpoint: Checkpoint,
    strategy: RoundStrategy,
    average: IterateAverage,
    names: list[str],
) -> None:
    """Give everything that changes from round to round the state of the last one."""
    num_rounds = len(checkpoint.reports)
    state = average.restore(checkpoint.optimizer_state, num_rounds)
    restore_state(strategy.inner, state, names)
    strategy.coding.restore(checkpoint.privacy)
    log.info("resumed after round %d", num_rounds)


def _loop(
    grid: PollingGrid,
    config: AppConfig,
    simulated: bool,
    strategy: RoundStrategy,
    folder: RunFolder,
    average: IterateAverage,
) -> RoundLoop:
    def keep(report: RoundReport, model: ArrayRecord) -> None:
        state = export_state(strategy.inner, list(model.keys())) | average.export()
        folder.write_round(report, model, state, average.published(model))

    cohort_rng, settings = build_cohort_rng(config), build_settings(config, simulated)
    return RoundLoop(strategy, grid, settings, cohort_rng, keep, average)


def _num_simulated(grid: PollingGrid, config: AppConfig) -> int:
    rounds = config.rounds
    return len(grid.wait_until_settled(max(rounds.min_clients, rounds.min_replies)))


def _initial_arrays(config: AppConfig, workload: Workload) -> ArrayRecord:
    try:
        return to_arrays(workload.initial_state().arrays)
    # A model that is refused is a ValueError too.
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _workload(config: AppConfig) -> Workload:
    try:
        return build_workload(config)
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _strategy(config: AppConfig, facts: RunFacts) -> RoundStrategy:
    try:
        return build_strategy(config, facts)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_population(config: AppConfig, num_nodes: int) -> None:
    """Refuse a simulation that cannot work; in a deployment clients may still come."""
    for key in ("min_clients", "min_replies"):
        least = getattr(config.rounds, key)
        if num_nodes < least:
            raise ConfigError(
                f"{num_nodes} simulated clients, rounds.{key}={least}:"
                f" start more, --federation-config 'num-supernodes={least}'"
            )
    try:
        build_task(config).check_population(num_nodes)
    except ValueError as error:
        raise ConfigError(f"task={option_of(config, 'task')}: {error}") from None


def _hide_tracebacks_of_user_errors() -> None:
    """Let Flower log a user's error as one line instead of the way that led to it."""

    def shorten(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _USER_ERRORS):
            record.msg, record.args, record.exc_info = str(error), (), None
        return True

    logging.getLogger("flwr").addFilter(shorten)
