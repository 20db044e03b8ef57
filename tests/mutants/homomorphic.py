"""Homomorphic aggregation: keys and errors, whose sums, and what is checked of them."""

from tests.mutants.mutation import Mutation

_PACKAGE = "strategies/homomorphic/"
_SCHEME = f"{_PACKAGE}scheme.py"
_SERVER = "strategies/secagg/server/key_role.py"
_ROLE = "strategies/secagg/client/role.py"
_CLIENT = "strategies/masked/client.py"
_PACKED = "strategies/secagg/crypto/packed.py"
_HERE = "tests/strategies/homomorphic/"
_OF_SCHEME = (f"{_HERE}test_scheme.py",)
_PROTOCOL = (f"{_HERE}test_protocol.py",)
_ATTACKS = (f"{_HERE}test_attacks.py",)
_RUNS = (f"{_HERE}test_runs.py",)
_OF_PACKED = ("tests/strategies/secagg/test_packed.py",)
_SEARCH = (f"{_HERE}test_key_search.py",)

MUTATIONS = (
    Mutation(
        "keys-are-dealt-by-the-bits-of-all-who-were-drawn",
        "strategies/masked/attempt.py",
        "form = self._form(least, training=training)",
        "form = self._form(num_members, training=training)",
        _RUNS,
    ),
    Mutation(
        "keys-are-ternary",
        _SCHEME,
        "return sample(DEGREE, Keystream(random_bytes(SEED_BYTES)))",
        "return np.sign(sample(DEGREE, Keystream(random_bytes(SEED_BYTES))))",
        _OF_SCHEME,
    ),
    Mutation(
        "errors-are-zero",
        _SCHEME,
        "errors = sample(slots.length(at), errors_of)",
        "errors = 0 * sample(slots.length(at), errors_of)",
        _OF_SCHEME,
    ),
    Mutation(
        "errors-of-scalars-are-zero",
        _SCHEME,
        "errors = sample(self._scalar_length, errors_of)",
        "errors = 0 * sample(self._scalar_length, errors_of)",
        _OF_SCHEME,
    ),
    Mutation(
        "a-key-comes-from-the-self-mask-seed",
        _ROLE,
        "key = self._draw_key(self._me.random_bytes).tobytes()",
        "key = self._draw_key(lambda size: own.self_seed[:size]).tobytes()",
        (*_ATTACKS, *_RUNS),
    ),
    Mutation(
        "one-key-serves-every-attempt",
        _ROLE,
        "key = self._draw_key(self._me.random_bytes).tobytes()",
        "key = self._draw_key(bytes).tobytes()",
        _PROTOCOL,
    ),
    Mutation(
        "public-polynomials-come-from-a-field-of-the-server",
        _CLIENT,
        "encryption.encrypt(opened.key, (update, sums), opened.binding)",
        "encryption.encrypt(opened.key, (update, sums), opened.request.log_head)",
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
        "self.ciphertexts.take_out(node)",
        "pass",
        _PROTOCOL,
    ),
    Mutation(
        "a-ciphertext-is-not-signed",
        "strategies/secagg/messages.py",
        "return hashlib.sha256(self.ciphertext).digest()",
        "return hashlib.sha256().digest()",
        _PROTOCOL,
    ),
    Mutation(
        "any-bytes-are-a-ciphertext",
        _SERVER,
        "if total is None or not total.add(sender, ciphertext):",
        "if total is None or (total.add(sender, ciphertext) and False):",
        _PROTOCOL,
    ),
    Mutation(
        "as-many-entries-a-polynomial-as-one-view-allows",
        "strategies/secagg/graph.py",
        "most = 2 * whole.threshold - num_members - self.max_colluding",
        "most = whole.threshold - self.max_colluding",
        _SEARCH,
    ),
    Mutation(
        "the-server-says-how-many-entries-a-polynomial-has",
        "strategies/secagg/client/roster.py",
        "due = (shape.num_neighbors, shape.threshold, shape.num_packed)",
        "due = (shape.num_neighbors, shape.threshold, told[2])",
        _PROTOCOL,
    ),
    Mutation(
        "what-is-dealt-is-no-part-of-a-roster",
        "strategies/secagg/binding.py",
        'shape, domain = shape + struct.pack(">H", roster.num_packed), _KEY_ROSTER_DOMAIN',
        "domain = _KEY_ROSTER_DOMAIN",
        _PROTOCOL,
    ),
    Mutation(
        "inputs-are-masked-by-zeros-where-a-key-was-dealt",
        _ROLE,
        'require(opened.key is None, RefusalReason.BAD_INPUT, "a mask where a key was dealt")',
        "pass",
        _PROTOCOL,
    ),
    Mutation(
        "an-answer-is-over-all-whose-shares-are-held",
        _ROLE,
        "[share for node, share in held if node in survivors]",
        "[share for _, share in held]",
        _PROTOCOL,
    ),
    Mutation(
        "a-node-with-seeds-only-answers-a-roster-of-keys",
        _ROLE,
        "is_key = self._draw_key is not None and is_message(KeyRoster, data)",
        "is_key = is_message(KeyRoster, data)",
        _PROTOCOL,
    ),
    Mutation(
        "shares-of-a-key-are-no-field-elements",
        _SERVER,
        "if not is_share(reply.share, self.packing):",
        "if False:",
        _PROTOCOL,
    ),
    Mutation(
        "a-dealt-share-may-have-any-length",
        _PACKED,
        "if len(data) != packing.share_bytes:",
        "if False:",
        (*_OF_PACKED, *_PROTOCOL),
    ),
    Mutation(
        "what-is-dealt-is-taken-as-it-comes",
        "strategies/secagg/client/opening.py",
        "if text is None or not packed.is_share(text[:-HEADS_BYTES], packing):",
        "if text is None:",
        _PROTOCOL,
    ),
    Mutation(
        "a-dealt-share-may-be-no-field-element",
        _PACKED,
        'int(np.frombuffer(data, "<u4").max()) < PRIME',
        "True",
        (*_OF_PACKED, *_PROTOCOL),
    ),
    Mutation(
        "an-honest-holder-is-called-a-liar-for-a-misfit",
        _SERVER,
        "        self._forget()\n        self.phase = Phase.DONE",
        "        for node in found.misfits:\n"
        '            self._disputes.prove(node, "its share fits no others")\n'
        "        self._forget()\n        self.phase = Phase.DONE",
        _PROTOCOL,
    ),
    Mutation(
        "polynomials-of-keys-are-not-random",
        _PACKED,
        "drawn = _uniform(known * count, random_bytes)",
        "drawn = np.zeros(known * count, np.uint64)",
        _OF_PACKED,
    ),
    Mutation(
        "a-key-has-a-drawn-value-too-few",
        _PACKED,
        "packing.num_polynomials, packing.threshold - packing.num_packed",
        "packing.num_polynomials, packing.threshold - packing.num_packed - 1",
        _OF_PACKED,
    ),
    Mutation(
        "drawn-values-are-not-uniform",
        _PACKED,
        "found = np.concatenate([found, words[words < _P]])",
        "found = np.concatenate([found, words % _P])",
        _OF_PACKED,
    ),
    Mutation(
        "answers-are-not-held-against-each-other",
        _PACKED,
        "    if not _fits(points, table, threshold):",
        "    if False:",
        _OF_PACKED,
    ),
    Mutation(
        "residues-are-not-looked-at",
        f"{_PACKAGE}packing.py",
        "value < prime for value, prime",
        "True for value, prime",
        _OF_SCHEME,
    ),
    Mutation(
        "the-spread-of-errors-is-not-looked-at",
        _SCHEME,
        "self._require_spread(squares + more, total.count)",
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
        "errors-of-scalars-may-be-as-large-as-they-like",
        _SCHEME,
        "if largest > self.slots.largest_sum:",
        "if False:",
        _OF_SCHEME,
    ),
    Mutation(
        "what-is-no-ciphertext-stays-in-the-sum",
        f"{_PACKAGE}encrypted_sum.py",
        "self._undo(parts[: done + 1])",
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
