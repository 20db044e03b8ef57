"""Flower's records of states, queries and contributions, with checks of all that is read."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from numpy.typing import NDArray

from strategies.codec.arrays import BadArrayError, read_array, read_vector, write_array
from strategies.codec.codec import Codec, Encoded, form_of
from strategies.codec.last_sum import BadLastSumError, LastSum
from strategies.secagg.crypto.prg import Vector, word_dtype
from workloads.values import EVAL_PREFIX, NUM_EXAMPLES, Arrays, Contribution, Query, State

#: Records and keys of the messages. Upper case: the wire names.
ARRAYS = "arrays"
CONFIG = "config"
UPDATE = "update"
SUMS = "sums"
LAST_SUM = "last-sum"
MODEL_ENTRY = "model-entry"
ROUND = "server-round"
_HEADER, _QUERY = "state-header", "query-values"

#: No honest count or sum is larger.
_LARGEST_SUM = 1e15


class MalformedReplyError(ValueError):
    """A reply does not have the agreed form, or holds a value that is not finite."""


class MalformedRequestError(ValueError):
    """A request does not have the agreed form."""


def to_record(contribution: Contribution) -> RecordDict:
    """Return the content of the reply that carries a contribution in clear, as float32.

    Its sums travel in one array, in the order of their sorted names: curves have thousands of
    bins, and Flower checks each entry of its other records by itself.
    """
    update = write_array(contribution.update.astype(np.float32, copy=False))
    key, order = _agreed_order(tuple(contribution.sums))
    return RecordDict(
        {
            UPDATE: ArrayRecord({UPDATE: update}),
            SUMS: ArrayRecord({key: write_array(contribution.numbers[order])}),
        }
    )


def fits_in_clear(contribution: Contribution) -> bool:
    """Whether every number is finite, and every sum one that ``from_record`` takes."""
    is_finite = bool(np.isfinite(contribution.update).all())
    # NaN is below nothing.
    return is_finite and bool((np.abs(contribution.numbers) < _LARGEST_SUM).all())


@lru_cache(maxsize=16)
def _agreed_order(names: tuple[str, ...]) -> tuple[str, NDArray[np.intp]]:
    """Return the key of an array of sums, and where in the names each of its places comes from.

    Sorted once for all contributions of a run: all have the same thousands of names.
    """
    places = sorted(range(len(names)), key=lambda place: names[place])
    order = np.array(places, np.intp)
    order.flags.writeable = False
    return sums_key(tuple(names[place] for place in places)), order


def from_record(record: RecordDict, num_parameters: int, names: Sequence[str]) -> Contribution:
    """Read a contribution from a reply, trusting nothing.

    Parameters
    ----------
    record : RecordDict
        The content of the reply.
    num_parameters : int
        Length that the update must have.
    names : sequence of str
        The sums that must be there, no more and no fewer.

    Raises
    ------
    MalformedReplyError
        If anything is missing, too much, of another type, or not finite.
    """
    names = tuple(names)
    key, order = _agreed_order(names)
    try:
        arrays = record.array_records
        update = read_vector(arrays[UPDATE][UPDATE], "float32", num_parameters)
        if [*arrays[SUMS]] != [key]:
            raise MalformedReplyError(
                f"{len(arrays[SUMS])} arrays of sums, or with other names than the"
                f" {len(order)} agreed"
            )
        values = read_vector(arrays[SUMS][key], "float64", len(order))
    except (KeyError, BadArrayError) as error:
        raise MalformedReplyError(f"{type(error).__name__}: {error}") from None
    if not np.isfinite(update).all():
        raise MalformedReplyError("update is not finite")
    # NaN is below nothing.
    if len(wrong := np.flatnonzero(~(np.abs(values) < _LARGEST_SUM))):
        name = names[order[wrong[0]]]
        raise MalformedReplyError(f"{name} is not a number below {_LARGEST_SUM:.0e}")
    sums = np.empty_like(values)
    sums[order] = values
    found = dict(zip(names, sums.tolist(), strict=True))
    for name, least in ((NUM_EXAMPLES, 1.0), (EVAL_PREFIX + NUM_EXAMPLES, 0.0)):
        if found.get(name, least) < least:
            raise MalformedReplyError(f"{name} is under {least:g}")
    return Contribution(update, found)


def sums_key(names: tuple[str, ...]) -> str:
    """Return the key of an array of sums, which tells what they are sums of."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def to_arrays(parameters: Arrays) -> ArrayRecord:
    """Return the parameters as Flower's record."""
    # Arithmetic makes a numpy scalar of an array without a dimension.
    arrays = {name: write_array(np.asarray(values)) for name, values in parameters.items()}
    return ArrayRecord(arrays)


def to_parameters(arrays: ArrayRecord) -> Arrays:
    """Return the parameters of Flower's record, by name."""
    return {name: array.numpy() for name, array in arrays.items()}


def model_request(
    state: State,
    query: Query,
    config: ConfigRecord,
    last_sum: LastSum | None = None,
    model_entry: str | None = None,
) -> RecordDict:
    """Return the content of a message that asks a node about a state.

    Parameters
    ----------
    state, query : State, Query
        What is asked about, and what is asked.
    config : ConfigRecord
        What goes with it beside the round.
    last_sum : LastSum, optional
        The sum that the state was made from, where nodes work that out again.
    model_entry : str, optional
        What a registry says of the model that the run began with; empty for nothing.
    """
    told = {_HEADER: state.header, _QUERY: query.values}
    values = {key: json.dumps(dict(given)) for key, given in told.items() if given}
    asked = ConfigRecord({**config, **values, ROUND: query.server_round})
    if model_entry is not None:
        asked[MODEL_ENTRY] = model_entry
    content = RecordDict({ARRAYS: to_arrays(state.arrays), CONFIG: asked})
    if last_sum is not None:
        content[LAST_SUM] = to_arrays(last_sum.to_arrays())
    return content


def model_messages(
    content: Callable[[int], RecordDict], nodes: Iterable[int], *, training: bool
) -> list[Message]:
    """Return one message for each node with its content, in the order of the nodes."""
    kind = message_kind(training=training)
    return [Message(content(node), dst_node_id=node, message_type=kind) for node in nodes]


def message_kind(*, training: bool) -> str:
    """Return Flower's type of the messages that ask to train, or only to score."""
    return MessageType.TRAIN if training else MessageType.EVALUATE


def read_request(content: RecordDict) -> tuple[State, Query]:
    """Read state and query from a request, trusting nothing.

    Raises
    ------
    MalformedRequestError
        If it has no arrays, no round or no JSON where there should be.
    """
    try:
        arrays = content.array_records[ARRAYS]
        told = content.config_records[CONFIG]
        number = told[ROUND]
        if type(number) is not int or number < 0:
            raise MalformedRequestError(f"{ROUND}={number!r}")
        header, values = (_json_of(told.get(key)) for key in (_HEADER, _QUERY))
        state = {name: read_array(array) for name, array in arrays.items()}
        return State(state, header), Query(number, values)
    except MalformedRequestError:
        raise
    # Flower's arrays hold whatever bytes the server sent, and fail in many ways.
    except Exception as error:
        raise MalformedRequestError(f"{type(error).__name__}: {error}") from error


def read_last_sum(content: RecordDict) -> LastSum | None:
    """Read the sum that a state was made from, trusting nothing; None if none is there.

    Raises
    ------
    MalformedRequestError
        If what is there is none.
    """
    if LAST_SUM not in content.array_records:
        return None
    try:
        arrays = content.array_records[LAST_SUM]
        return LastSum.of_arrays({name: read_array(array) for name, array in arrays.items()})
    except (BadArrayError, BadLastSumError) as error:
        raise MalformedRequestError(str(error)) from None


def read_model_entry(content: RecordDict) -> str | None:
    """Read what came on the model that the run began with; None if it began with its own.

    Raises
    ------
    MalformedRequestError
        If it is no text.
    """
    config = content.config_records.get(CONFIG)
    found = None if config is None else config.get(MODEL_ENTRY)
    if found is not None and not isinstance(found, str):
        raise MalformedRequestError(f"{MODEL_ENTRY} is no text")
    return found


def _json_of(text: Any) -> dict[str, Any]:
    values: Any = json.loads(text) if text is not None else {}
    if not isinstance(values, dict):
        raise MalformedRequestError("a header must be a JSON object")
    return cast(dict[str, Any], values)


def encoded_record(vector: Vector, scalars: NDArray[np.uint64]) -> RecordDict:
    """Return the content of the reply that carries an encoded contribution."""
    return RecordDict(
        {
            UPDATE: ArrayRecord({UPDATE: write_array(vector)}),
            SUMS: ArrayRecord({SUMS: write_array(scalars)}),
        }
    )


def read_encoded(record: RecordDict, codec: Codec, num_values: int) -> Encoded:
    """Read an encoded contribution from a reply, trusting nothing.

    Parameters
    ----------
    record : RecordDict
        The content of the reply.
    codec : Codec
        The codec that the nodes used.
    num_values : int
        Length of the vector before encoding; 0 when only evaluating.

    Raises
    ------
    MalformedReplyError
        If it does not have the codec's form.
    """
    # Nodes that encode in the clear know of no others.
    bits, length, num_scalars = form_of(codec, num_values, 1)
    try:
        arrays = record.array_records
        vector = read_vector(arrays[UPDATE][UPDATE], word_dtype(bits).str, length)
        scalars = read_vector(arrays[SUMS][SUMS], "<u8", num_scalars)
    except (KeyError, BadArrayError) as error:
        raise MalformedReplyError(f"{type(error).__name__}: {error}") from None
    return vector, scalars
