"""What ``make_leakage.py`` cannot read off the message types: who reads what, and why."""

from strategies.refusals import Reason
from strategies.secagg.messages import (
    Advert,
    AdvertReply,
    AdvertRequest,
    ConfirmReply,
    ConfirmRequest,
    EncryptedInput,
    KeyReply,
    KeyRoster,
    KeyRow,
    MaskedInput,
    Refusal,
    Roster,
    ShareRequest,
    ShareRow,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.reasons import RefusalReason as R
from strategies.secagg.wire import Wire

#: Who reads a message, the network aside (TLS is Flower's).
READERS: dict[type[Wire], str] = {
    AdvertRequest: "the node asked",
    Advert: "the server; in the roster, every member of the attempt",
    AdvertReply: "the server, which passes advert and keys on: see Roster and ShareRequest",
    Roster: "every member of the attempt",
    KeyRoster: "every member of the attempt",
    ShareRequest: "the node asked; each ML-KEM key, its owner's neighbours",
    ShareRow: "the server, sealed; opened, the one neighbour that it is for",
    KeyRow: "the server, sealed; opened, the one member that it is for",
    SharesUpload: "the server; each row the one neighbour it names",
    TrainRequest: "the node asked",
    MaskedInput: "the server; its payload's hash and its signature, every survivor",
    EncryptedInput: "the server; the hash of it and its signature, every survivor",
    ConfirmRequest: "every survivor",
    ConfirmReply: "the server; in the unmask request, every survivor",
    UnmaskRequest: "every survivor",
    UnmaskReply: "the server",
    KeyReply: "the server",
    Refusal: "the server; it travels as Flower's error reply, see below",
}

#: When a client answers with each reason.
REFUSALS: dict[R, str] = {
    R.MALFORMED: "the bytes are not the canonical encoding of the message that belongs there",
    R.INTERNAL: "anything unforeseen, the node's file included; details in its own log",
    R.UNKNOWN_ATTEMPT: "another run, or an attempt that this node knows nothing of",
    R.WRONG_STAGE: "a stage out of order, or a second message of the same kind meanwhile",
    R.REPEATED: "this stage of this attempt is done: an old message again",
    R.TERMS_CHANGED: "t, T, c or the graph's numbers differ from the run's first contact",
    R.BAD_SIGNATURE: "an advert is not signed by the identity that it names",
    R.UNKNOWN_IDENTITY: "an advert's identity is not in this node's peers file",
    R.BUNDLE_NOT_APPROVED: "an advert names code that this node has not approved",
    R.OWN_ADVERT_WRONG: "the roster does not show this node's own advert as it was sent",
    R.DUPLICATE_KEY: "a key, a commitment or an identity stands in the roster twice",
    R.BAD_KEY: "a public key of low order, with which everyone agrees on zero, or ML-KEM keys"
    " that are not those of this node's neighbours",
    R.WRONG_ADVERT: "an advert of another attempt, or out of order",
    R.ROSTER_TOO_SMALL: "the roster has fewer than T or c + 2 members",
    R.BAD_THRESHOLD: "threshold, degree or entries of a polynomial are not those that the"
    " parameters give",
    R.COHORT_TOO_SMALL: "U2 has fewer than T members",
    R.NOT_IN_COHORT: "U2 names somebody who is not in the roster",
    R.SHARES_TOO_FEW: "too few of the shares sent to this node decrypt",
    R.PLAN_MISMATCH: "the server's mask binding is not of the model and configuration it sent",
    R.MODEL_REPEATED: "this node has helped to open a sum over this very model in this run",
    R.SURVIVORS_TOO_FEW: "U3 has fewer than T members, or too few neighbours",
    R.SURVIVORS_NOT_IN_COHORT: "U3 or the dropouts name somebody who is not in U2",
    R.SURVIVOR_NOT_MASKED: "U3 names a neighbour whose share did not decrypt",
    R.BOTH_SHARES: "a node stands among survivors and dropouts",
    R.VIEW_NOT_SIGNED: "too few signatures show that the others have this node's view",
    R.VIEW_BROKEN: "a signature is false, or for another view than this node's",
    R.BAD_INPUT: "this node's own contribution does not have the agreed integer type, or is"
    " masked where a key was dealt",
    R.ATTEMPT_CLOSED: "this attempt ended here: refused, expired, or replaced",
    R.SHARES_UNEXPECTED: "shares of nodes that are no neighbours in U2",
    R.LEFT_OUT: "U2 or U3 lacks this node, which shared or masked",
    R.RUN_OVER: "nothing has happened in this run for 30 days, and its records are compacted",
    R.LEDGER_ROLLED_BACK: "the others show a head of this node's ledger that its file lacks",
    R.COHORT_CHANGED: "U2 or U3 differs by few nodes from another sum, once too often",
}

#: The refusals that are not the protocol's, and what they tell.
APP_REFUSALS: dict[Reason, str] = {
    Reason.DATA_REFUSED: "the node's own files or settings do not fit; one bit about the node",
    Reason.TOO_FEW_RECORDS: "exact sums without noise only: whether the node has as many"
    " records as its policy's min_records, or as many for each parameter; one bit about it",
    Reason.CONFIG_REFUSED: "the run config is wrong; public",
    Reason.MALFORMED_REQUEST: "a record is missing; depends on the server's message only",
    Reason.MODEL_REFUSED: "the model does not fit the task; public",
    Reason.STATE_UNEXPLAINED: "exact sums under a policy only: the state does not follow from"
    " the last sum; depends on the server's messages only",
    Reason.STATE_NOT_HELD: "`rounds.synchronisation=incremental` only: the node does not hold"
    " the model that a delta is to; depends on the server's messages and on lost files only",
    Reason.MODEL_OF_UNKNOWN_ORIGIN: "under a policy with model_signers only: nobody on the list"
    " has signed the model; depends on the server's message only",
    Reason.TRAINING_DIVERGED: "`aggregation=plain` only; under masks it is counted in the sum",
    Reason.POLICY_REFUSED: "the node's owner does not allow what the run asks; reads no record",
    Reason.BUDGET_EXHAUSTED: "the node's cap is reached: depends on what was charged only",
    Reason.LEDGER_REFUSED: "the node's ledger cannot be used; no record decides that",
    Reason.INTERNAL_ERROR: "anything else failed; one bit, the details stay in the node's log",
    Reason.NO_ANSWER: "written by the server itself",
    Reason.MALFORMED_REPLY: "written by the server itself",
    Reason.FLOWER_ERROR: "written by the server itself, for an error that Flower made",
    Reason.IN_DISPUTE: "written by the server itself, of two nodes of which one lies",
    Reason.PROTOCOL_BROKEN: "written by the server itself, of a node that is shown to lie",
}

#: Records of Flower's messages: (record, key, direction, why it is safe).
RECORDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "`arrays`",
        "the model's own names",
        "to the client",
        "the public model; of `gan` its discriminator",
    ),
    (
        "`delta`",
        "the model's own names",
        "to the client",
        "`rounds.synchronisation=incremental` only: what the public model differs by from one"
        " that the node was sent",
    ),
    (
        "`config`",
        "`held`, `due`, `delta-steps`",
        "to the client",
        "public: from which model to which, by their hashes, and the steps of each array",
    ),
    ("`config`", "`server-round`", "to the client", "public: the round's number"),
    ("`config`", "`state-header`", "to the client", "public: what the state has beside arrays"),
    ("`config`", "`query-values`", "to the client", "public: what the round asks"),
    (
        "`config`",
        "`model-entry`",
        "to the client",
        "public: what a registry says of the model that the run began with",
    ),
    ("`config`", "`clip-norm`", "to the client", "public: the adaptive clip norm"),
    (
        "`config`",
        "`ranges`",
        "to the client",
        "with `aggregation.codec.value_bits` only: the ranges of values, from the last sum's"
        " mean squares, which the server has opened",
    ),
    (
        "`config`",
        "`total-weight`",
        "to the client",
        "without privacy only: the records behind the last sum, which the server is shown; c"
        " that collude see the number of the others",
    ),
    ("`last-sum`", "`asked`", "to the client", "public: hash of the state before"),
    (
        "`last-sum`",
        "`total`",
        "to the client",
        "the sum over all that the server has opened; c that collude see that of the others",
    ),
    ("`last-sum`", "`scalars`", "to the client", "public: the sums beside it"),
    (
        "`published`",
        "`epsilon_left`, `delta`",
        "to the server",
        "only if the policy says `publish_budget`: what is left of the node's cap; depends on"
        " what was charged, in other runs about these data too, and on no record",
    ),
    (
        "`published`",
        "`gain_accuracy` or `gain_loss`, `gain_noise`",
        "to the server",
        "only if the policy says `publish_gain_epsilon`, once for each run: noised and charged"
        " to the node's cap before it leaves",
    ),
    ("`secagg`", "`bytes`", "both ways", "one protocol message, all fields of it above"),
)

#: Flower's own metadata: field -> what a reply's value tells. We set none of it but the ttl.
METADATA: dict[str, str] = {
    "run_id": "public",
    "message_id": "hash of the message; nothing beyond it",
    "src_node_id": "public: Flower's name of the node",
    "dst_node_id": "public",
    "src_task_id": "which process of the node answered",
    "dst_task_id": "public",
    "reply_to_message_id": "public",
    "group_id": "public",
    "created_at": "**a time**: when the reply was made, so how long the training took",
    "delivered_at": "**a time**: when the message was handed over",
    "ttl": "public: the trip's deadline",
    "message_type": "public: which trip",
}
