"""The schemas of the group ``tracking``: where the server logs a run beside its folder.

Nodes are sent these keys with all others and make nothing of them.
"""

from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import urlsplit

from tasks.schema import require

_SCHEMES = ("http", "https", "sqlite")
# What MLflow takes for the name of an experiment.
_LONGEST_NAME = 500


@dataclass
class TrackingConfig:
    """The part that every option has: nothing."""


@dataclass
class NoTrackingConfig(TrackingConfig):
    """Log to the run folder alone."""


@dataclass
class MLflowConfig(TrackingConfig):
    """Log to MLflow as well.

    Attributes
    ----------
    uri : str
        An MLflow server, or ``sqlite:////absolute/path.db``; empty for the server's own
        ``MLFLOW_TRACKING_URI``, and without one for ``~/.tacet/mlflow.db``. Never with a
        password: every node is sent the run config.
    experiment : str
        The experiment that the run belongs to; made if there is none.
    registered_model : str
        The name in the model registry that gets a new version; empty for ``tacet-<task>``.
    """

    uri: str = ""
    experiment: str = "tacet"
    registered_model: str = ""

    def __post_init__(self) -> None:
        if self.uri:
            check_uri("tracking.uri", self.uri)
        require(
            0 < len(self.experiment.strip()) <= _LONGEST_NAME,
            f"tracking.experiment={self.experiment!r}: must be a name of 1 to {_LONGEST_NAME}"
            " characters",
        )
        name = self.registered_model
        require(
            not set(name) & {"/", ":"} and name == name.strip(),
            f"tracking.registered_model={name!r}: a name in MLflow's registry has no '/', no"
            " ':' and no space around it; take another, e.g. tacet-heart",
        )


def check_uri(key: str, uri: str) -> None:
    """Refuse an address that MLflow would not be found at, or that holds a secret.

    Parameters
    ----------
    key : str
        Where it was given, for the message.
    uri : str
        The address.

    Raises
    ------
    ValueError
        Naming the key, the value and the mend. A value with a password is not repeated.
    """
    try:
        parts = urlsplit(uri)
        # Looked at for its own refusal.
        _ = parts.port
    except ValueError as error:
        raise ValueError(
            f"{key}: is no address ({error}); e.g. http://127.0.0.1:5000"
        ) from None
    require(
        "@" not in parts.netloc,
        f"{key}: has a user or a password in it, and every node is sent the run config; take"
        " them out and give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or"
        " MLFLOW_TRACKING_TOKEN, in the environment of the SuperLink",
    )
    require(
        not parts.query and not parts.fragment,
        f"{key}: has a '?' or '#', behind which secrets are written, and every node is sent the"
        " run config; give the address alone, and MLFLOW_TRACKING_TOKEN in the environment of"
        " the SuperLink",
    )
    require(
        parts.scheme in _SCHEMES,
        f"{key}={uri!r}: must begin with http://, https:// or sqlite:////; for another store"
        " start `mlflow server --backend-store-uri ...` and give its address",
    )
    if parts.scheme == "sqlite":
        path = parts.path.removeprefix("/")
        require(
            not parts.netloc and PurePath(path).is_absolute(),
            f"{key}={uri!r} is no absolute path, but the SuperLink runs elsewhere; write"
            " sqlite:////path/to/mlflow.db, with four slashes",
        )
    else:
        require(
            bool(parts.hostname), f"{key}={uri!r}: names no host; e.g. http://127.0.0.1:5000"
        )


#: option -> dataclass
TRACKING: dict[str, type] = {"none": NoTrackingConfig, "mlflow": MLflowConfig}
