"""Choose the survivors of an attempt: who can stand in one sum, and whose masks must go."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from strategies.secagg.messages import EncryptedInput, MaskedInput
from strategies.secagg.server.recovery import Members


@dataclass(frozen=True)
class Survivors:
    """U3, and the dropouts with whom somebody in it masked; both ascending."""

    survivors: tuple[int, ...]
    needed: tuple[int, ...]


def choose_survivors(
    members: Members,
    cohort: Iterable[int],
    inputs: Mapping[int, MaskedInput | EncryptedInput],
    sitting_out: frozenset[int],
) -> Survivors:
    """Return the largest survivor set whose sum the shares that are held can open.

    A dropout's mask seed takes t shares, and those who did not mask with it hold none. Where
    fewer than t masked with it, they sit out too: nobody else's input has its masks then.
    """
    survivors = set(inputs) - sitting_out
    while True:
        met = {
            gone: members.met_with(gone, survivors, inputs) for gone in set(cohort) - survivors
        }
        stuck = {
            node
            for holders in met.values()
            if len(holders) < members.threshold
            for node in holders
        }
        if not stuck:
            needed = sorted(gone for gone, holders in met.items() if holders)
            return Survivors(tuple(sorted(survivors)), tuple(needed))
        survivors -= stuck
