"""A hole for each rule of one view that is off, and how to switch the rule off in the code."""

from collections.abc import Callable

import strategies.secagg.client.checks as checks
import strategies.secagg.client.masking_step as masking_step
import strategies.secagg.client.role as role
from strategies.secagg.client.transitions import Stage
from strategies.secagg.reasons import RefusalReason
from tests.strategies.secagg.one_view_search import Rule

#: A hole for each rule that is off: honest nodes, honest threshold, honest floor, and whether
#: it is a sum of which few gave shares, or one under the floor.
HOLES = {
    Rule.INSIDE: (3, 2, 2, False),
    Rule.MASKED: (3, 2, 2, False),
    Rule.FLOOR: (3, 2, 3, False),
    Rule.HELD: (3, 2, 2, False),
    Rule.SIGNED: (5, 3, 3, False),
    Rule.CONFIRMED: (5, 3, 3, False),
    Rule.SHOWN: (3, 2, 2, True),
    Rule.WHOLE: (3, 2, 2, True),
}


def without(*switched_off: str) -> Callable:
    """Return what switches off every check whose reason or detail begins so."""
    honest = checks.require

    def loose(holds, reason, detail=""):
        if not detail.startswith(switched_off) and not reason.name.startswith(switched_off):
            honest(holds, reason, detail)

    def switch(patched):
        for module in (checks, masking_step, role):
            patched.setattr(module, "require", loose)

    return switch


def only_masked_inputs(patched) -> None:
    """Take q masked inputs under a plan as the proof of any U3 in it."""

    def check(request, secrets, stage, identity):
        assert stage is Stage.MASKED
        checks.require(
            len(list(checks._inputs(request, secrets))) >= secrets.quorum,
            RefusalReason.VIEW_NOT_SIGNED,
        )

    patched.setattr(checks, "check_one_view", check)


def nothing_where_whole(patched) -> None:
    honest = checks.check_one_view

    def check(request, secrets, stage, identity):
        if stage is Stage.MASKED and request.survivors == secrets.cohort:
            return
        honest(request, secrets, stage, identity)

    patched.setattr(checks, "check_one_view", check)


def rejecting_inputs_count(patched) -> None:
    def check(request, secrets, stage, identity):
        if stage is Stage.MASKED:
            assert request.survivors == secrets.cohort
            assert len(request.inputs) >= secrets.quorum
        else:
            honest(request, secrets, stage, identity)

    honest = checks.check_one_view
    patched.setattr(checks, "check_one_view", check)


SWITCH_OFF: dict[Rule, Callable] = {
    Rule.INSIDE: without("LEFT_OUT", "signed by"),
    Rule.MASKED: without("SURVIVOR_NOT_MASKED", "1 neighbours"),
    Rule.FLOOR: without("SURVIVORS_TOO_FEW"),
    Rule.HELD: without("SHARES_TOO_FEW"),
    Rule.SIGNED: lambda patched: patched.setattr(checks, "check_one_view", lambda *_: None),
    Rule.CONFIRMED: only_masked_inputs,
    Rule.SHOWN: nothing_where_whole,
    Rule.WHOLE: rejecting_inputs_count,
}

#: With these off an input counts as a proof, whomever it rejects.
REJECTING_INPUTS_COUNT = {Rule.SIGNED, Rule.CONFIRMED, Rule.SHOWN, Rule.WHOLE}
