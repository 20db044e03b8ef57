"""Why a client refuses: the numbers that stand in its reply, and nothing else."""

from enum import IntEnum


class RefusalReason(IntEnum):
    """Why a client refuses; the only thing a refusal says."""

    MALFORMED = 1
    INTERNAL = 2
    UNKNOWN_ATTEMPT = 3
    WRONG_STAGE = 4
    REPEATED = 5
    TERMS_CHANGED = 6
    BAD_SIGNATURE = 7
    UNKNOWN_IDENTITY = 8
    BUNDLE_NOT_APPROVED = 9
    OWN_ADVERT_WRONG = 10
    DUPLICATE_KEY = 11
    BAD_KEY = 12
    WRONG_ADVERT = 13
    ROSTER_TOO_SMALL = 14
    BAD_THRESHOLD = 15
    COHORT_TOO_SMALL = 16
    NOT_IN_COHORT = 17
    SHARES_TOO_FEW = 18
    PLAN_MISMATCH = 19
    MODEL_REPEATED = 20
    SURVIVORS_TOO_FEW = 21
    SURVIVORS_NOT_IN_COHORT = 22
    SURVIVOR_NOT_MASKED = 24
    BOTH_SHARES = 25
    VIEW_NOT_SIGNED = 26
    VIEW_BROKEN = 27
    BAD_INPUT = 28
    ATTEMPT_CLOSED = 29
    SHARES_UNEXPECTED = 30
    LEFT_OUT = 31
    RUN_OVER = 32
    LEDGER_ROLLED_BACK = 33
    COHORT_CHANGED = 34
