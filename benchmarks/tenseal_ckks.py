"""TenSEAL's CKKS on the same vectors: the encryption that other frameworks offer.

One key is in the hands of all clients, and each could open the others' ciphertexts. The
server adds, a client decrypts; approximate numbers, no dropouts to recover. Needs the package
``tenseal``, which Tacet does not install.
"""

import importlib
import statistics
from typing import Any

import numpy as np

from benchmarks.secagg_cases import CLIP_RANGE, Case, Clock, Measured

#: The smallest ring with 128 bits of security and room for a sum, and numbers of 40 bits.
DEGREE, MODULI, SCALE_BITS = 8192, [60, 40, 60], 40
_SLOTS = DEGREE // 2


def run(case: Case) -> Measured:
    """Encrypt, add and decrypt once; all work after the clients' counts as the server's."""
    ts: Any = importlib.import_module("tenseal")
    context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=MODULI)
    context.global_scale = 2**SCALE_BITS
    clocks, server = {i: Clock() for i in case.surviving}, Clock()
    totals: list[Any] = []
    num_bytes = 0
    for client in case.surviving:
        vector = np.clip(case.vector(client), -CLIP_RANGE, CLIP_RANGE).astype(np.float64)
        chunks = [vector[at : at + _SLOTS] for at in range(0, len(vector), _SLOTS)]
        with clocks[client].running():
            sent = [ts.ckks_vector(context, chunk).serialize() for chunk in chunks]
        num_bytes = sum(map(len, sent))
        with server.running():
            found = [ts.ckks_vector_from(context, data) for data in sent]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
    with server.running():
        opened = np.concatenate([total.decrypt() for total in totals])
    return Measured(
        client=statistics.median(clock.seconds for clock in clocks.values()),
        server=server.seconds,
        bytes_per_parameter=num_bytes / case.parameters,
        error=case.error(opened[: case.parameters]),
        # None is stated: it is what is found.
        error_bound=0.0,
        server_wall=server.wall,
    )
