"""The policy file: what a node's owner allows. No run config can loosen it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable
from dataclasses import MISSING, dataclass, fields
from math import inf, isfinite
from pathlib import Path
from typing import Any

import yaml

from app.node.permissions import objection
from privacy.ledger.budget import Budget
from privacy.unit import Unit

NONE = "none"
#: The values of ``privacy``, as in ``conf/privacy``.
OPTIONS = (
    NONE,
    *(f"{u}_{place}" for u in Unit for place in ("local", "distributed", "central")),
)


class PolicyError(ValueError):
    """A wrong policy file, or a request that it forbids. One line with the mend."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The floors and the cap of one node, for one data set.

    Attributes
    ----------
    dataset : str
        The name under which the ledger keeps what was spent. Data sets with records of the
        same persons have one name.
    privacy : tuple of str
        The options of ``privacy`` that a run may take.
    min_survivors : int
        T of a run is at least this; above 1, no server sees a contribution by itself that is
        not noisy by itself. At least 1.
    min_colluding : int
        c of a run is at least this. From 0, under ``min_survivors``.
    unit : Unit or None
        Whose presence is hidden. Given unless only ``none`` is allowed, as are the next two.
    max_epsilon : float or None
        The cap on all runs together.
    delta : float or None
        The delta of the cap.
    min_noise_multiplier : float
        A run's noise is at least this many clip norms.
    data_path : Path or None
        Where the records lie; relative to the policy's own folder.
    require_identities : bool
        Masks are only agreed with peers of the node's own peers file, and shares given only for
        the one view of an attempt that the others have signed.
    allow_sparse_graph : bool
        Whether a run may have clients mask with some others only.
    allow_classical_keys : bool
        Whether keys may be agreed with X25519 alone, which a quantum computer opens one day.
    max_cohort_changes : int or None
        The attempts of a run in which this node helps to open a sum whose participants differ
        from those of another one by so few that the difference shows less than a sum may; None
        for any number.
    tasks : tuple of str or None
        The tasks that a run may take; None for any.
    exact : tuple of str
        The workloads (values of ``algorithm``) whose sums a run may have without privacy:
        whoever chooses what such a sum asks can single out a record. None unless given.
    exact_overrides : tuple of str
        What such a run may say of the task beside this node's own copy of ``conf/task``, as in
        ``overrides``.
    min_records : int
        Such a run is refused where this node has fewer records to sum over.
    max_parameter_share : float
        Such a run may fit this many parameters for each of this node's records.
    max_levels : int
        No column of such a run may have more categories.
    max_bins : int
        No column of numbers may be counted in more bins by such a run than this, unless this
        node's own copy of the task gives its edges: in narrow bins records are alone.
    min_at_risk : int
        Sums of one time, which ``cox`` with one common baseline hazard opens, are of as many
        records.
    min_effective_records : float
        Where fewer records than these carry what is asked, this node adds zeros.
    publish_budget : bool
        Whether each contribution's reply says what is left of the cap.
    publish_gain_epsilon : float or None
        Epsilon of the noised gain that the last reply of a run says, once for each run and
        charged; None for no gain.
    bundles : tuple of str or None
        SHA-256 digests of the app bundles that were approved; None for any.
    model_signers : tuple of str or None
        Whose signature lets a run begin with a model: names of the peers file, or public keys
        in 64 hexadecimal digits. Empty for nobody's: only the untrained model of the task.
        None for any model. See ``app.node.model_origin``.
    """

    dataset: str
    privacy: tuple[str, ...]
    min_survivors: int
    min_colluding: int
    unit: Unit | None = None
    max_epsilon: float | None = None
    delta: float | None = None
    min_noise_multiplier: float = 0.0
    data_path: Path | None = None
    require_identities: bool = True
    allow_sparse_graph: bool = False
    allow_classical_keys: bool = False
    max_cohort_changes: int | None = None
    tasks: tuple[str, ...] | None = None
    exact: tuple[str, ...] = ()
    exact_overrides: tuple[str, ...] = ()
    min_records: int = 50
    max_parameter_share: float = 0.33
    max_levels: int = 40
    max_bins: int = 256
    min_at_risk: int = 3
    min_effective_records: float = 10.0
    publish_budget: bool = False
    publish_gain_epsilon: float | None = None
    bundles: tuple[str, ...] | None = None
    model_signers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.min_colluding >= self.min_survivors:
            raise PolicyError(
                f"min_colluding={self.min_colluding}: must be under"
                f" min_survivors={self.min_survivors}, for those who collude know each other"
            )
        private = [option for option in self.privacy if option != NONE]
        for name in ("unit", "max_epsilon", "delta"):
            if private and getattr(self, name) is None:
                raise PolicyError(f"{name} is missing: privacy allows {private[0]}, so give it")
        other = [o for o in private if self.unit and not o.startswith(f"{self.unit}_")]
        if other:
            raise PolicyError(
                f"privacy={other[0]}: unit={self.unit}, and a ledger is for one unit; list"
                " options of that unit"
            )
        if (self.max_epsilon is None) != (self.delta is None):
            raise PolicyError(
                f"max_epsilon={self.max_epsilon}, delta={self.delta}: give both or neither"
            )
        self._check_published()

    def _check_published(self) -> None:
        gain = self.publish_gain_epsilon
        if self.publish_budget and self.max_epsilon is None:
            raise PolicyError(
                "publish_budget=true: no cap is given; give max_epsilon and delta"
            )
        for name in ("unit", "max_epsilon"):
            if gain is not None and getattr(self, name) is None:
                raise PolicyError(
                    f"publish_gain_epsilon={gain:g}: it is charged to the cap, so give {name}"
                )
        if gain is not None and self.max_epsilon is not None and gain > self.max_epsilon:
            raise PolicyError(
                f"publish_gain_epsilon={gain:g}: over max_epsilon={self.max_epsilon:g}, so"
                " nothing would ever be published; lower it"
            )

    @property
    def budget(self) -> Budget | None:
        """The cap on epsilon and delta, as the ledger takes it."""
        if self.max_epsilon is None or self.delta is None:
            return None
        return Budget(self.max_epsilon, self.delta)


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises
    ------
    PolicyError
        If it is not one, or others than its owner may write it.
    """
    values = _read_yaml(path)
    if not isinstance(values, dict):
        raise PolicyError(f"{path}: must be a YAML mapping, e.g. 'min_survivors: 3'")
    try:
        _require_known([str(key) for key in values])
        read = {str(key): _READERS[key](key, value) for key, value in values.items()}
        if read.get("data_path"):
            read["data_path"] = path.parent / Path(read["data_path"]).expanduser()
        return Policy(**read)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def _read_yaml(path: Path) -> Any:
    try:
        if found := objection(path):
            raise PolicyError(found)
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - safe
    except OSError as error:
        raise PolicyError(f"policy-file={path}: {error.strerror}") from None
    except PolicyError:
        raise
    # A date that is none is a plain ValueError.
    except (ValueError, yaml.YAMLError) as error:
        raise PolicyError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses a repeated key, of which YAML would take the last."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} stands there twice")
        return super().construct_mapping(node, deep)


def _require_known(keys: list[str]) -> None:
    for key in keys:
        if key not in _READERS:
            close = difflib.get_close_matches(key, _READERS, n=1)
            mend = f"did you mean {close[0]}?" if close else f"there are {', '.join(_READERS)}"
            raise PolicyError(f"{key}: no such setting; {mend}")
    for needed in fields(Policy):
        if needed.default is MISSING and needed.name not in keys:
            raise PolicyError(f"{needed.name} is missing: there is no default")


_Reader = Callable[[str, Any], Any]


def _text(key: str, value: Any) -> str:
    if not (isinstance(value, str) and value.strip() and value.isprintable()):
        raise PolicyError(f"{key}={value!r}: must be a line of text")
    return value


def _texts(*allowed: str) -> _Reader:
    def read(key: str, value: Any) -> tuple[str, ...]:
        if not (isinstance(value, list) and value):
            raise PolicyError(f"{key}={value!r}: must be a list of at least one, as [a, b]")
        entries = tuple(_text(key, entry) for entry in value)
        for entry in entries:
            if allowed and entry not in allowed:
                close = difflib.get_close_matches(entry, allowed, n=1)
                mend = f"did you mean {close[0]}?" if close else f"one of {', '.join(allowed)}"
                raise PolicyError(f"{key}: {entry!r} is no option; {mend}")
        return entries

    return read


def _digests(key: str, value: Any) -> tuple[str, ...]:
    entries = tuple(entry.lower() for entry in _texts()(key, value))
    for entry in entries:
        if not re.fullmatch("[0-9a-f]{64}", entry):
            raise PolicyError(f"{key}: {entry!r} must be a SHA-256, 64 hexadecimal digits")
    return entries


def _signers(key: str, value: Any) -> tuple[str, ...]:
    """Read names and keys; an empty list is a policy too, of runs that begin untrained."""
    if value == []:
        return ()
    entries = _texts()(key, value)
    is_key = [re.fullmatch("[0-9a-fA-F]{64}", entry) is not None for entry in entries]
    return tuple(e.lower() if k else e for e, k in zip(entries, is_key, strict=True))


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"{key}={value!r}: must be true or false")
    return value


def _whole(least: int) -> _Reader:
    def read(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise PolicyError(f"{key}={value!r}: must be a whole number, at least {least}")
        return value

    return read


def _number(what: str, is_good: Callable[[float], bool]) -> _Reader:
    def read(key: str, value: Any) -> float:
        try:
            # YAML takes 1e-5 for text: it wants a point in it.
            number = float(value) if isinstance(value, int | float | str) else inf
        except (ValueError, OverflowError):
            number = inf
        if isinstance(value, bool) or not (isfinite(number) and is_good(number)):
            raise PolicyError(f"{key}={value!r}: must be {what}")
        return number

    return read


def _unit(key: str, value: Any) -> Unit:
    try:
        return Unit(value)
    except ValueError:
        raise PolicyError(f"{key}={value!r}: must be {' or '.join(Unit)}") from None


_READERS: dict[str, _Reader] = {
    "dataset": _text,
    "privacy": _texts(*OPTIONS),
    "min_survivors": _whole(1),
    "min_colluding": _whole(0),
    "unit": _unit,
    "max_epsilon": _number("a finite number above 0", lambda x: x > 0),
    "delta": _number("a number between 0 and 1", lambda x: 0 < x < 1),
    "min_noise_multiplier": _number("a finite number, at least 0", lambda x: x >= 0),
    "data_path": _text,
    "require_identities": _flag,
    "allow_sparse_graph": _flag,
    "allow_classical_keys": _flag,
    "max_cohort_changes": _whole(0),
    "tasks": _texts(),
    "exact": _texts(),
    "exact_overrides": _texts(),
    "min_records": _whole(0),
    "max_parameter_share": _number("a finite number above 0", lambda x: x > 0),
    "max_levels": _whole(2),
    "max_bins": _whole(2),
    "min_at_risk": _whole(1),
    "min_effective_records": _number("a finite number, at least 0", lambda x: x >= 0),
    "publish_budget": _flag,
    "publish_gain_epsilon": _number("a number from 0.001 to 100", lambda x: 1e-3 <= x <= 100),
    "bundles": _digests,
    "model_signers": _signers,
}
