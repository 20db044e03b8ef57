"""Homomorphic aggregation: keys and errors, whose sums, and what is checked of them."""

from tests.mutants.mutation import Mutation

_PACKAGE = "strategies/homomorphic/"
_SCHEME = f"{_PACKAGE}scheme.py"
_SERVER = "strategies/secagg/server/role.py"
_CLIENT = "strategies/masked/client.py"
_HERE = "tests/strategies/homomorphic/"
_OF_SCHEME = (f"{_HERE}test_scheme.py",)
_PROTOCOL = (f"{_HERE}test_protocol.py",)
_RUNS = (f"{_HERE}test_runs.py",)

MUTATIONS = (
    Mutation(
        "keys-are-ternary",
        _SCHEME,
        "key = sample(DEGREE, Keystream(random_bytes(SEED_BYTES)))",
        "key = np.sign(sample(DEGREE, Keystream(random_bytes(SEED_BYTES))))",
        _OF_SCHEME,
    ),
    Mutation(
        "errors-are-zero",
        _SCHEME,
        "errors = sample(slots.length(number), errors_of)",
        "errors = 0 * sample(slots.length(number), errors_of)",
        _OF_SCHEME,
    ),
    Mutation(
        "a-key-comes-from-the-self-mask-seed",
        _CLIENT,
        "encryption.encrypt(update, opened.binding)",
        "encryption.encrypt(update, opened.binding,"
        " lambda size: opened.secrets.self_seed[:size])",
        _RUNS,
    ),
    Mutation(
        "public-polynomials-come-from-a-field-of-the-server",
        _CLIENT,
        "encryption.encrypt(update, opened.binding)",
        "encryption.encrypt(update, opened.request.log_head)",
        _RUNS,
    ),
    Mutation(
        "public-polynomials-serve-every-attempt",
        f"{_PACKAGE}public.py",
        "hashlib.sha256(_DOMAIN + plan)",
        "hashlib.sha256(_DOMAIN)",
        _OF_SCHEME,
    ),
    Mutation(
        "ciphertexts-are-added-before-complaints",
        _SERVER,
        "found = (_ciphertext(message) for message in inputs.values())",
        "found = (_ciphertext(message) for message in self._inputs.values())",
        _PROTOCOL,
    ),
    Mutation(
        "a-ciphertext-is-not-signed",
        "strategies/secagg/messages.py",
        "digest.update(self.ciphertext)",
        "pass",
        _PROTOCOL,
    ),
    Mutation(
        "any-bytes-are-a-ciphertext",
        _SERVER,
        "if is_ciphertext and not is_ciphertext(_ciphertext(message)):",
        "if False:",
        _PROTOCOL,
    ),
    Mutation(
        "residues-are-not-looked-at",
        f"{_PACKAGE}packing.py",
        "int(value) < prime for value, prime",
        "True for value, prime",
        _OF_SCHEME,
    ),
    Mutation(
        "the-spread-of-errors-is-not-looked-at",
        _SCHEME,
        "self._require_spread(squares, len(ciphertexts))",
        "pass",
        (*_OF_SCHEME, *_PROTOCOL),
    ),
    Mutation(
        "errors-may-be-as-large-as-they-like",
        _SCHEME,
        '_require_small("a sum of errors", errors, slots.largest_sum)',
        "pass",
        _OF_SCHEME,
    ),
    Mutation(
        "a-coefficient-holds-twice-what-fits",
        f"{_PACKAGE}parameters.py",
        "return 2 * ((most",
        "return 1 * ((most",
        (f"{_HERE}test_parameters.py",),
    ),
    Mutation(
        "samples-are-5-percent-too-narrow",
        f"{_PACKAGE}sampler.py",
        'Decimal("81.92")',
        'Decimal("73.93")',
        (f"{_HERE}test_sampler.py",),
    ),
    Mutation(
        "bits-that-do-not-decide-do",
        f"{_PACKAGE}sampler.py",
        "for at in np.flatnonzero(found == BOUNDARY).tolist():",
        "for at in list[int]():",
        (f"{_HERE}test_sampler.py",),
    ),
    Mutation(
        "masks-are-for-any-encryption",
        "strategies/masked/encryption.py",
        "return replace(binding, codec=encryption.bound_to(binding.codec))",
        "return binding",
        _RUNS,
    ),
    Mutation(
        "a-deployment-opens-keys-without-one-view",
        f"{_PACKAGE}config.py",
        "self.identities or num_simulated is not None",
        "True",
        _RUNS,
    ),
)
