"""The cost of secure aggregation, compared with Flower's SecAgg+ on the same vectors.

python -m benchmarks.secagg --against flower
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import flower_secagg, tacet_secagg, tenseal_ckks
from benchmarks.report import machine_line, positive, table, write_json
from benchmarks.secagg_cases import (
    CLIP_RANGE,
    MODULUS_BITS,
    WORD_BYTES,
    Case,
    Measured,
    median,
)
from benchmarks.secagg_floors import Rates, measure_rates

_EPILOG = f"""\
Everything runs in one process, one party after the other, without transport; the clients
that drop out do so after the key shares and before their masked input. Both sides clip to
+-{CLIP_RANGE:g} and mask modulo 2^{MODULUS_BITS}: Flower's defaults (2^22 steps), and ours (as
many steps as the sum of all clients has room for). Flower's threshold is floor(2n/3), ours
floor(2n/3) + 1. Flower's client is its real mod, its server the stages of its workflow.

Times are CPU times, so that what else runs disturbs them least; but for the server's wall,
in which threads count once. It takes as many as `OMP_NUM_THREADS` says, or else processors.

client ms  all stages of one client, from received bytes to the bytes of its reply: adverts,
           sharing, opening shares, encoding, masking, unmasking; median of the survivors
server ms  all work of the server in one attempt, the sum decoded
floor      generating (AES-128-CTR) and adding the masks that must be and, for Tacet's masked
           rows, X25519 and ML-KEM-768 for each secret, at rates measured in this run with one
           thread; x floor is how many times above it we are
signed     the floor and, where everybody signs, the signatures: Ed25519 for each message that
           is signed or verified, SHA-256 of the masked inputs; x signed is as x floor
open       of the server's CPU time what comes after the last reply
bytes      of the encoded reply with the masked input, a parameter
error      largest error of the sum against float64; bound is what the fixed point allows
key kB     what a client sends and receives in a steady round beside model and update, a peer
runs       attempts, of which the median is shown; one where an attempt is slow
peak       most memory in vectors of {WORD_BYTES} bytes a parameter, in a pass of its own: the
           client's from encoded vector to reply, both included; the server's of taking the
           masked inputs one after the other and opening their sum, without what it keeps on
           the disk; decoding is that of the sum as integers and as float64 together

exit status: 0; 1 if a required figure at {{required}} is missed."""

#: Measured for both.
COMPARED = ((10, 1_000_000, 0), (10, 1_000_000, 2), (50, 100_000, 5), (100, 100_000, 10))
#: Measured for Tacet only: Flower would need hours or more memory than there is.
ALONE = ((500, 100_000, 150), (20, 25_000_000, 2))
#: The rows: X25519 alone and nobody signs, as Flower's; and all that a deployment has.
CLASSICAL, SIGNED = "tacet, classical", "tacet, hybrid, signed"
#: The second of them with updates that are encrypted.
ENCRYPTED = "tacet, homomorphic, signed"
#: Where the required figures hold.
REQUIRED = Case.of(100, 100_000, 10)
MOST_TIMES_FLOOR = 1.5
HEADERS = (
    "system",
    "n, d, dropouts",
    "graph",
    "runs",
    "client ms",
    "floor",
    "x floor",
    "signed",
    "x signed",
    "server ms",
    "floor",
    "x floor",
    "signed",
    "x signed",
    "wall ms",
    "open ms",
    "bytes",
    "key kB",
    "error",
    "bound",
)
PEAK_HEADERS = ("n, d, dropouts", "client peak", "server peak", "decoding")

_SLOW_SECONDS = 20.0


@dataclass(frozen=True)
class Row:
    """One line of the table: a system, a case and what was measured."""

    system: str
    case: Case
    runs: int
    measured: Measured
    client_floor: float
    server_floor: float
    client_signatures: float = 0.0
    server_signatures: float = 0.0

    def figures(self) -> dict[str, object]:
        """Return everything, unrounded; times in seconds."""
        return asdict(self)

    def ratios(self) -> dict[str, float]:
        """Return how many times its floor each party takes."""
        return {
            "client": self.measured.client / self.client_floor,
            "server": self.measured.server / self.server_floor,
        }

    def signed_ratios(self) -> dict[str, float]:
        """Return how many times its floor with signatures each party takes, where it signs."""
        if not self.client_signatures:
            return {}
        client = self.client_floor + self.client_signatures
        server = self.server_floor + self.server_signatures
        return {
            "client": self.measured.client / client,
            "server": self.measured.server / server,
        }

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        case, found = self.case, self.measured
        is_sparse = case.is_sparse and self.system != ENCRYPTED
        graph = f"{case.num_neighbors} neighbours" if is_sparse else "complete"
        return [
            self.system,
            _named(case),
            graph,
            str(self.runs),
            *_times(found.client, self.client_floor, self.client_signatures),
            *_times(found.server, self.server_floor, self.server_signatures),
            f"{1e3 * found.server_wall:.1f}",
            f"{1e3 * found.opening:.1f}" if found.opening else "-",
            f"{found.bytes_per_parameter:.3f}",
            f"{found.key_bytes_per_peer / 1000:.2f}" if found.key_bytes_per_peer else "-",
            *(f"{value:.1e}" for value in (found.error, found.error_bound)),
        ]


@dataclass(frozen=True)
class Requirement:
    """A figure that must be reached.

    Attributes
    ----------
    name : str
    value, limit : float
    at_least : bool
        Whether the limit is the least, not the most.
    """

    name: str
    value: float
    limit: float
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether the figure is reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        verdict, side = "PASS" if self.holds else "FAIL", "least" if self.at_least else "most"
        return f"{verdict}  {self.name}: {self.value:.4g}, at {side} {self.limit:.4g}"


def measure(
    case: Case, rates: Rates, repeats: int, against: str | None, encrypted: bool = False
) -> list[Row]:
    """Return the rows of one case.

    Parameters
    ----------
    case : Case
    rates : Rates
        For the floors.
    repeats : int
        Attempts; slow ones are not repeated.
    against : str or None
        Run ``flower``'s SecAgg+ or ``tenseal``'s CKKS too.
    encrypted : bool
        Run aggregation=homomorphic too.
    """
    systems: dict[str, Callable[[], Measured]] = {
        CLASSICAL: lambda: tacet_secagg.run(case, hybrid=False, identities=False),
        SIGNED: lambda: tacet_secagg.run(case, hybrid=True, identities=True),
    }
    if encrypted:
        systems[ENCRYPTED] = lambda: tacet_secagg.run(
            case, hybrid=True, identities=True, encrypted=True
        )
    if against == "flower":
        systems["flower"] = lambda: flower_secagg.run(case)
    if against == "tenseal":
        systems["tenseal CKKS"] = lambda: tenseal_ckks.run(case)
    floors: dict[str, tuple[float, ...]] = {
        CLASSICAL: rates.floors(case, agreed=True),
        SIGNED: rates.floors(case, agreed=True, hybrid=True),
    }
    floors[SIGNED] += rates.signatures(case)
    masks = rates.floors(case, agreed=False)
    found: dict[str, list[Measured]] = {system: [] for system in systems}
    todo = set(systems)
    for number in range(repeats):
        # One after the other, as the machine is not equally fast all the time.
        for system in [one for one in systems if one in todo]:
            started = time.perf_counter()
            found[system].append(systems[system]())
            if time.perf_counter() - started > _SLOW_SECONDS:
                todo.remove(system)
            # The whole takes long.
            print(f"measured {system}: {_named(case)}, {number + 1}", file=sys.stderr)
    return [
        Row(system, case, len(runs), median(runs), *floors.get(system, masks))
        for system, runs in found.items()
    ]


def requirements(rows: Sequence[Row], peaks: tacet_secagg.Peaks) -> list[Requirement]:
    """Return the required figures, from the rows of the required case."""
    times = [
        (f"{row.system}: {party}, times its floor", value)
        for row in rows
        if row.system in (CLASSICAL, SIGNED)
        for party, value in row.ratios().items()
    ]
    times += [
        (f"{row.system}: {party}, times its floor with signatures", value)
        for row in rows
        for party, value in row.signed_ratios().items()
    ]
    found = {row.system: row.measured for row in rows}
    ours, signed = found[CLASSICAL], found[SIGNED]
    wire = 1.02 * MODULUS_BITS / 8
    result = [
        Requirement("bytes a parameter", ours.bytes_per_parameter, wire, at_least=False),
        Requirement("client's peak, vectors", peaks.client, 3, at_least=False),
        Requirement("server's peak, vectors", peaks.server, 3, at_least=False),
        *(Requirement(name, value, MOST_TIMES_FLOOR, at_least=False) for name, value in times),
    ]
    if flower := found.get("flower"):
        for name, one, least in ((CLASSICAL, ours, (60, 500)), (SIGNED, signed, (30, 400))):
            times = flower.client / one.client, flower.server / one.server
            result += [
                Requirement(
                    f"{name}: {party}, times faster than Flower's", value, limit, at_least=True
                )
                for party, value, limit in zip(("client", "server"), times, least, strict=True)
            ]
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.peaks:
        return _print_peaks(options)
    rates = measure_rates()
    rows: list[Row] = []
    peaks: dict[Case, tacet_secagg.Peaks] = {}
    required: list[Requirement] = []
    for numbers in options.cases:
        case, alone = Case.of(*numbers), numbers in ALONE
        against = None if alone else options.against
        encrypted = options.aggregation == "homomorphic"
        found = measure(case, rates, options.repeats, against, encrypted)
        rows += found
        if alone or case == REQUIRED:
            peaks[case] = tacet_secagg.measure_peaks(case)
        if case == REQUIRED:
            required = requirements(found, peaks[case])
    print(table(HEADERS, [row.cells() for row in rows]))
    if peaks:
        print("\n" + _peaks_table(peaks))
    if required:
        print(f"\nrequired at {_named(REQUIRED)}:")
        print("\n".join(map(str, required)))
    print(f"\n{rates.keystream / 1e9:.1f} GB/s AES-CTR, {rates.adding / 1e9:.1f} GB/s added")
    us = (1e6 * one for one in (rates.agreement, rates.sealing, rates.opening))
    print("{:.0f} us X25519, {:.0f} and {:.0f} us to seal and open by ML-KEM-768".format(*us))
    us = (1e6 * one for one in (rates.signing, rates.verifying))
    print("{:.0f} and {:.0f} us to sign and verify by Ed25519".format(*us), end=", ")
    print(f"{rates.hashing / 1e9:.1f} GB/s SHA-256")
    print(machine_line())
    if options.json:
        listed = _peaks_listed(peaks)
        figures = {"modulus_bits": MODULUS_BITS, "clip_range": CLIP_RANGE}
        figures |= {"rates": asdict(rates), "rows": [row.figures() for row in rows]}
        verdicts = [asdict(one) | {"holds": one.holds} for one in required]
        write_json(options.json, "secagg", figures | {"peaks": listed, "required": verdicts})
    return 0 if all(one.holds for one in required) else 1


def _print_peaks(options: argparse.Namespace) -> int:
    """Measure memory alone, print it, and return the exit status."""
    cases = [Case.of(*numbers) for numbers in options.cases]
    peaks = {case: tacet_secagg.measure_peaks(case) for case in cases}
    print(_peaks_table(peaks))
    print(machine_line())
    if options.json:
        write_json(options.json, "secagg_peaks", {"peaks": _peaks_listed(peaks)})
    return 0


def _peaks_table(peaks: Mapping[Case, tacet_secagg.Peaks]) -> str:
    cells = [
        [_named(case), *(f"{one:.2f}" for one in (found.client, found.server, found.decoding))]
        for case, found in peaks.items()
    ]
    return table(PEAK_HEADERS, cells)


def _peaks_listed(peaks: Mapping[Case, tacet_secagg.Peaks]) -> list[dict[str, Any]]:
    return [{"case": asdict(case), **asdict(found)} for case, found in peaks.items()]


def _named(case: Case) -> str:
    return f"{case.clients}, {case.parameters:,}, {case.dropouts}"


def _times(seconds: float, floor: float, signatures: float) -> list[str]:
    """Return the cells of one party; without signatures the last two are empty."""
    signed = floor + signatures
    cells = [f"{1e3 * signed:.1f}", f"{seconds / signed:.1f}"] if signatures else ["-", "-"]
    return [f"{1e3 * seconds:.1f}", f"{1e3 * floor:.1f}", f"{seconds / floor:.1f}", *cells]


def _numbers(text: str) -> tuple[int, int, int]:
    n, d, dropouts = map(int, text.split(","))
    if not 0 <= dropouts < n or n < 3 or d < 1:
        raise argparse.ArgumentTypeError("must be n,d,dropouts with n >= 3 and dropouts < n")
    return n, d, dropouts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.secagg",
        description="Measure what secure aggregation costs client, server and wire.",
        epilog=_EPILOG.format(required=_named(REQUIRED)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--aggregation", choices=["homomorphic"], help="run it too, beside secagg"
    )
    parser.add_argument(
        "--against",
        choices=["flower", "tenseal"],
        help="run Flower's SecAgg+ too, or TenSEAL's CKKS",
    )
    parser.add_argument(
        "--cases",
        type=_numbers,
        nargs="+",
        default=[*COMPARED, *ALONE],
        metavar="N,D,DROPOUTS",
        help="clients, parameters and dropouts; the default are the six of the project's page",
    )
    parser.add_argument(
        "--peaks", action="store_true", help="measure memory alone, one attempt a case"
    )
    parser.add_argument("--repeats", type=positive, default=5, help="attempts (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
