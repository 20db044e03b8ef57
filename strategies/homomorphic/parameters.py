"""The numbers of the encryption, and what of a sum they have room for.

There is one profile. Security by the tables of Albrecht et al., Homomorphic Encryption Standard
(2018), for 128 bits and errors of deviation 3.2: with N = 8192 at most 218 bits of q against a
classical, 202 against a quantum computer. Keys and errors here have twice that deviation, as
the sums of keys and errors are seen: see ``docs/homomorphic.md``.
"""

from dataclasses import dataclass
from math import ceil, log, prod, sqrt

from strategies.secagg.fields import MAX_MEMBERS

NAME, VERSION = "tacet/kahe", 1
#: N: coefficients of a polynomial.
DEGREE = 8192
#: The seven largest primes below 2^27 that are 1 modulo 2N, so that there is an NTT.
PRIMES = (133857281, 133644289, 133611521, 133513217, 133251073, 132825089, 132759553)
#: q: what coefficients are taken modulo.
MODULUS = prod(PRIMES)
#: Bits of a residue on the wire.
PRIME_BITS = 27
#: Standard deviation of each entry of keys and errors.
SIGMA = 6.4
#: The most bits of q for 128 bits of security against a quantum computer, by N.
MOST_MODULUS_BITS = {1024: 25, 2048: 51, 4096: 101, 8192: 202}
#: The deviation that the tables are for.
TABLE_SIGMA = 3.2
#: Bits of one of the scalars, and of the room for a sum of them: the most nodes give 77.
SCALAR_BITS, SCALAR_SUM_BITS = 64, 80
#: Bits of a number below which it stays under masks, which are shorter than a ciphertext then.
FEWEST_BITS = 8
#: Bits of a number from which it stays under masks: such rings are for whole numbers.
FEWEST_WHOLE_BITS = 64
#: Residues of one prime come in groups of so many, which take whole bytes.
GROUP = 8

_FAILURE_BITS = 40  # an attempt of honest nodes fails by chance at most 2^-40


def largest_sum(num_coefficients: int, num_contributions: int) -> int:
    """Return B: no coefficient of a sum of keys or errors is larger, but for a chance of 2^-40.

    Discrete Gaussians are sub-Gaussian, and so is their sum: each coefficient is larger with a
    chance of at most 2 exp(-B^2 / (2 n sigma^2)).
    """
    spread = 2 * num_contributions * log(2 ** (_FAILURE_BITS + 1) * num_coefficients)
    return ceil(SIGMA * sqrt(spread))


@dataclass(frozen=True)
class Slots:
    """How many numbers a coefficient carries, and what their sum has room for.

    Attributes
    ----------
    num_values : int
        d: numbers of an update; none where only scalars are summed.
    modulus_bits : int
        b: bits of each, from 8 to 63.
    num_contributions : int
        n: the most that one sum may hold.
    num_slots : int
        k: numbers in a coefficient.
    largest_sum : int
        B: the largest coefficient of a sum of keys or errors.
    """

    num_values: int
    modulus_bits: int
    num_contributions: int
    num_slots: int
    largest_sum: int

    @staticmethod
    def of(num_values: int, modulus_bits: int, num_contributions: int) -> "Slots":
        """Return the fullest coefficients whose sum stays below q / 2.

        Raises
        ------
        ValueError
            Naming the values and the mend, where the numbers are none of this encryption's.
        """
        if not FEWEST_BITS <= modulus_bits < FEWEST_WHOLE_BITS:
            raise ValueError(
                f"modulus_bits={modulus_bits}: encrypted numbers have from 8 to 63 bits"
            )
        if not 1 <= num_contributions <= MAX_MEMBERS:
            raise ValueError(
                f"{num_contributions} contributions: a sum has from 1 to {MAX_MEMBERS}"
            )
        if num_values < 0:
            raise ValueError(f"num_values={num_values}: must be at least 0")
        for num_slots in range(MODULUS.bit_length() // modulus_bits, 0, -1):
            # Of the key, of the scalars at most, and of the numbers.
            count = 2 * DEGREE + grouped(-(-num_values // num_slots))
            most = largest_sum(count, num_contributions)
            if _fits(num_slots, modulus_bits, most):
                return Slots(num_values, modulus_bits, num_contributions, num_slots, most)
        raise AssertionError("one number of 63 bits fits among 10,000 contributions")

    @property
    def num_coefficients(self) -> int:
        """Return the coefficients that travel: those in use, in whole groups."""
        return grouped(-(-self.num_values // self.num_slots))

    @property
    def num_polynomials(self) -> int:
        """Return the polynomials of a ciphertext."""
        return -(-self.num_coefficients // DEGREE)

    def length(self, polynomial: int) -> int:
        """Return the coefficients of one polynomial that travel."""
        return min(DEGREE, self.num_coefficients - polynomial * DEGREE)

    @property
    def values_in_full(self) -> int:
        """Return the numbers that one whole polynomial carries."""
        return self.num_slots * DEGREE

    @property
    def num_bytes(self) -> int:
        """Return the bytes of a ciphertext."""
        return self.num_coefficients * len(PRIMES) * PRIME_BITS // 8

    @property
    def widest_bits(self) -> int:
        """Return the largest b with as many numbers in a coefficient, for the same bytes."""
        bits = self.modulus_bits
        while bits + 1 < FEWEST_WHOLE_BITS and _fits(
            self.num_slots, bits + 1, self.largest_sum
        ):
            bits += 1
        return bits


def grouped(num_coefficients: int) -> int:
    """Return so many coefficients in whole groups."""
    return -(-num_coefficients // GROUP) * GROUP


def _fits(num_slots: int, modulus_bits: int, most: int) -> bool:
    """Return whether |T E + M| stays below q / 2, for T = 2^(b k) and every |E| <= B.

    M is a sum of k signed numbers of b bits, each at its place, and can be a little more than
    T / 2 where all are at their lowest.
    """
    lowest = sum(1 << (modulus_bits * (s + 1) - 1) for s in range(num_slots))
    return 2 * ((most << (modulus_bits * num_slots)) + lowest) < MODULUS
