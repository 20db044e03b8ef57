"""What may not get to MLflow, and what MLflow may not do to a run."""

from tests.mutants.mutation import Mutation

_CONFIG = "tests/app/config/test_tracking.py"
_SECRET = f"{_CONFIG}::test_an_address_with_a_secret_is_refused_and_not_repeated"
_RUNS = "tests/app/results/test_tracking.py"
_MODEL = "tests/app/results/test_mlflow_model.py"

MUTATIONS = (
    Mutation(
        "an-address-with-a-password-goes-to-every-node",
        "app/config/tracking.py",
        '"@" not in parts.netloc,',
        'parts.netloc.count("@") < 2,',
        (_SECRET,),
    ),
    Mutation(
        "an-address-with-a-token-goes-to-every-node",
        "app/config/tracking.py",
        "not parts.query and not parts.fragment,",
        "not parts.fragment,",
        (_SECRET,),
    ),
    Mutation(
        "mlflow-tells-its-makers",
        "app/results/mlflow_run.py",
        'os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"',
        'os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "false")',
        (f"{_RUNS}::test_mlflow_tells_its_makers_nothing",),
    ),
    Mutation(
        "a-model-asks-for-a-package-of-strangers",
        "app/results/mlflow_model.py",
        '    "pandas",\n',
        '    "pandas",\n    "tacet",\n',
        (f"{_MODEL}::test_a_model_never_asks_for_the_package_of_that_name_on_pypi",),
    ),
    Mutation(
        "a-run-waits-for-mlflow",
        "app/results/tracking.py",
        "self._thread.join(seconds)",
        "self._thread.join()",
        (f"{_RUNS}::test_a_run_waits_a_bounded_time_for_mlflow",),
    ),
    Mutation(
        "what-mlflow-did-not-take-is-lost",
        "app/results/tracking.py",
        "                self._run.log(waiting)\n                waiting.clear()\n",
        "                now = list(waiting)\n                waiting.clear()\n"
        "                self._run.log(now)\n",
        (f"{_RUNS}::test_a_server_that_comes_back_is_told_everything",),
    ),
    Mutation(
        "a-class-with-a-slash-keeps-mlflow-from-all-curves",
        "app/results/tracking.py",
        "    if normpath(clean) == clean:\n",
        "    if clean:\n",
        (f"{_RUNS}::test_mlflow_takes_the_name_of_any_class",),
    ),
    Mutation(
        "curves-that-mlflow-refuses-leave-a-run-without-an-end",
        "app/results/tracking.py",
        "        # Whatever it would not take of the curves: files, model and end are other"
        " things.\n",
        "        if waiting:\n            return\n",
        (f"{_RUNS}::test_curves_that_mlflow_refuses_leave_the_rest_and_an_end",),
    ),
)
