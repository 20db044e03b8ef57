"""The encryption in Python's integers, from its definition: no code of ours in it."""

import hashlib
from math import prod

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

N = 8192
PRIMES = (133857281, 133644289, 133611521, 133513217, 133251073, 132825089, 132759553)
Q = prod(PRIMES)
SLOT = 72  # bits for a coefficient of a product modulo a prime: 27 + 27 + 13, and room


def negacyclic(a: list[int], b: list[int], prime: int) -> list[int]:
    """Return a b modulo X^N + 1 and a prime, by one product of integers (Kronecker)."""
    joined = [sum_of([x % prime for x in values]) for values in (a, b)]
    data = (joined[0] * joined[1]).to_bytes(2 * N * SLOT // 8, "little")
    width = SLOT // 8
    found = [int.from_bytes(data[i * width : (i + 1) * width], "little") for i in range(2 * N)]
    return [(found[i] - found[i + N]) % prime for i in range(N)]


def sum_of(values: list[int]) -> int:
    return int.from_bytes(b"".join(v.to_bytes(SLOT // 8, "little") for v in values), "little")


def schoolbook(a: list[int], b: list[int], at: int) -> int:
    """Return one coefficient of a b modulo X^N + 1."""
    return sum(a[i] * (b[at - i] if i <= at else -b[at - i + N]) for i in range(N))


def public_points(plan: bytes, number: int) -> list[list[int]]:
    """Return a_j as the values that its stream of words gives, a row for each prime."""
    key = hashlib.sha256(b"tacet/kahe/v1/public" + plan).digest()[:16]
    block = int.from_bytes(number.to_bytes(8, "little") + bytes(8), "big")
    cipher = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()
    rows, words = [], []
    for prime in PRIMES:
        row = []
        while len(row) < N:
            if not words:
                data = cipher.update(block.to_bytes(16, "big"))
                block += 1
                words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, 16, 4)]
            value = words.pop(0) % 2**27
            if value < prime:
                row.append(value)
        rows.append(row)
    return rows


def root_of(prime: int) -> int:
    """Return the psi of a prime."""
    base = 2
    while pow(pow(base, (prime - 1) // (2 * N), prime), N, prime) != prime - 1:
        base += 1
    return pow(base, (prime - 1) // (2 * N), prime)


def point(prime: int, index: int) -> int:
    """Return where value `index` of a transform is taken."""
    turned = int(f"{index:013b}"[::-1], 2)
    return pow(root_of(prime), 2 * turned + 1, prime)


def value_at(coefficients: list[int], place: int, prime: int) -> int:
    found = 0
    for coefficient in reversed(coefficients):
        found = (found * place + coefficient) % prime
    return found


def joined(residues: list[int]) -> int:
    """Return the integer modulo q with these residues."""
    return (
        sum(r * (Q // p) * pow(Q // p, -1, p) for r, p in zip(residues, PRIMES, strict=True))
        % Q
    )


def packed(values: list[int]) -> bytes:
    """Return numbers of 27 bits, one after the other, the lowest bit first."""
    whole = sum(value << (27 * i) for i, value in enumerate(values))
    return whole.to_bytes(27 * len(values) // 8, "little")


def unpacked(data: bytes, count: int) -> list[int]:
    whole = int.from_bytes(data, "little")
    return [(whole >> (27 * i)) % 2**27 for i in range(count)]


def signed(word: int, bits: int) -> int:
    return word - (1 << bits) if word >> (bits - 1) else word


def plaintexts(words: list[int], bits: int, num_slots: int, length: int) -> list[int]:
    """Return the coefficients P of the numbers of a polynomial."""
    full = [signed(word, bits) for word in words] + [0] * (length * num_slots - len(words))
    return [
        sum(full[c * num_slots + s] << (bits * s) for s in range(num_slots))
        for c in range(length)
    ]


def opened(value: int, bits: int, num_slots: int) -> tuple[list[int], int]:
    """Return the words and the error of a coefficient, by signed digits."""
    value = value - Q if value > Q // 2 else value
    words = []
    for _ in range(num_slots):
        digit = signed(value % (1 << bits), bits)
        words.append(digit % (1 << bits))
        value = (value - digit) >> bits
    return words, value


def gaussian_bounds() -> list[int]:
    """Return 2^128 times the chance of at most x, x from -100, by integers of 400 bits."""
    one = 1 << 400
    base, term, k = one, one, 1  # exp(-1 / 81.92) by its series
    while term:
        term = term * 100 // (8192 * k)
        base += -term if k % 2 else term
        k += 1
    weights = []
    for x in range(101):
        weight, power, exponent = one, base, x * x
        while exponent:
            if exponent % 2:
                weight = weight * power >> 400
            power = power * power >> 400
            exponent //= 2
        weights.append(weight)
    every = weights[:0:-1] + weights
    total, below, found = sum(every), 0, []
    for weight in every:
        below += weight
        found.append((below << 129) // total + 1 >> 1)
    return found
