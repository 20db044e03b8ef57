"""The bundle that runs on this node, and whether the node's owner approved it.

The guard (``app.approval.guard``) looks at a bundle's hash before anything of it is imported,
and tells the code which bundle it is by an environment variable.
"""

from __future__ import annotations

import os
import re

from app.node.policy import Policy, PolicyError

#: Set by the guard, in the process that runs the bundle: its SHA-256 as 64 hexadecimal digits.
RUNNING = "TACET_BUNDLE"
#: In the adverts of nodes without a guard, and of simulated ones.
NO_BUNDLE = bytes(32)


def running_bundle(simulated: bool) -> bytes:
    """Return the SHA-256 of the bundle that this process runs from.

    Parameters
    ----------
    simulated : bool
        Whether the node is; a simulation has no guard.

    Returns
    -------
    bytes
        32 bytes, all 0 if the guard did not start this process.

    Raises
    ------
    PolicyError
        If the environment variable holds something else.
    """
    told = os.environ.get(RUNNING, "")
    if simulated or not told:
        return NO_BUNDLE
    if not re.fullmatch("[0-9a-f]{64}", told):
        raise PolicyError(f"{RUNNING}: not a SHA-256; only the guard sets it, so unset it")
    return bytes.fromhex(told)


def approved_bundles(policy: Policy | None, simulated: bool) -> frozenset[bytes] | None:
    """Return the bundles that peers may run; None for any.

    Raises
    ------
    PolicyError
        If the policy lists bundles and what runs here is none of them.
    """
    running = running_bundle(simulated)
    if simulated or policy is None or policy.bundles is None:
        return None
    approved = frozenset(bytes.fromhex(bundle) for bundle in policy.bundles)
    if running == NO_BUNDLE:
        raise PolicyError(
            "this node's policy lists bundles, but no guard looked at the one that runs; start"
            " the node with `tacet supernode` in place of `flower-supernode`"
        )
    if running not in approved:
        raise PolicyError(
            f"this node's policy does not list the bundle that runs, {running.hex()}; review it"
            " and add it to bundles"
        )
    return approved
