"""Keys, signatures and hashes: what each is bound to, and kept apart from."""

from tests.mutants.mutation import Mutation

_KEYS = "strategies/secagg/crypto/keys.py"
_IDENTITY = "strategies/secagg/crypto/identity.py"
_BINDING = "strategies/secagg/binding.py"
_FIELDS = "strategies/secagg/fields.py"
_WIRE = "strategies/secagg/wire.py"
_HERE = "tests/strategies/secagg/"
_PRIMITIVES = (f"{_HERE}test_primitives.py",)
_VIEWS = (f"{_HERE}test_one_view.py",)
_REFUSALS = (f"{_HERE}test_refusals.py",)
_VECTORS = (f"{_HERE}test_vectors.py",)

MUTATIONS = (
    Mutation(
        "hashes-of-both-shares-are-one-kind",
        _KEYS,
        'v2/hash-of-mask-share"',
        'v2/hash-of-self-mask-share"',
        _PRIMITIVES,
    ),
    Mutation(
        "a-view-is-signed-as-an-input-is",
        _KEYS,
        'v2/sign-view"',
        'v2/sign-masked-input"',
        _PRIMITIVES,
    ),
    Mutation(
        "one-key-has-two-forms",
        _KEYS,
        '"little") < _P25519\n',
        '"little") >= 0\n',
        _PRIMITIVES,
    ),
    Mutation(
        "contexts-have-no-lengths",
        _KEYS,
        "parts += _pack_length(len(part)), part",
        "parts.append(part)",
        _PRIMITIVES,
    ),
    Mutation(
        "share-keys-are-the-same-both-ways",
        _KEYS,
        "frame_pair(PAIR_BYTES, sender, receiver)",
        "frame_pair(PAIR_BYTES, *sorted((sender, receiver)))",
        _PRIMITIVES,
    ),
    Mutation(
        "share-keys-are-for-any-roster",
        _KEYS,
        "_of_shares(roster) + frame_pair(",
        '_of_shares(b"") + frame_pair(',
        _PRIMITIVES,
    ),
    Mutation(
        "unreduced-low-order-keys-pass", _KEYS, " % 2**255 in _LOW", " in _LOW", _PRIMITIVES
    ),
    Mutation(
        "hashes-of-shares-are-for-any-roster",
        _KEYS,
        "frame = bind(use, roster),",
        "frame = bind(use),",
        _VECTORS,
    ),
    Mutation(
        "a-dealer-hashes-its-shares-for-any-roster",
        _KEYS,
        "_of_self_share(roster)",
        '_of_self_share(b"")',
        _VECTORS,
    ),
    Mutation(
        "sealed-shares-are-for-any-pair",
        _KEYS,
        "frame_pair_and(PAIR_BYTES, *pair, len(part))",
        "frame_pair_and(PAIR_BYTES, 0, 0, len(part))",
        _PRIMITIVES,
    ),
    Mutation(
        "sealed-shares-are-for-any-roster",
        _KEYS,
        "return _of_shares(roster) + frame_pair_and(",
        'return _of_shares(b"") + frame_pair_and(',
        _PRIMITIVES,
    ),
    Mutation(
        "any-signature-is-good",
        _IDENTITY,
        "except (InvalidSignature, ValueError):\n        return False",
        "except (InvalidSignature, ValueError):\n        return True",
        _PRIMITIVES,
    ),
    Mutation(
        "an-input-does-not-say-whom-it-rejects",
        _IDENTITY,
        "binding, NODES.write(rejected), payload_hash",
        "binding, payload_hash",
        _VIEWS,
    ),
    Mutation(
        "a-view-does-not-say-its-survivors",
        _IDENTITY,
        "roster, binding, NODES.write(survivors))",
        "roster, binding)",
        _VIEWS,
    ),
    Mutation(
        "a-view-does-not-say-its-plan",
        _IDENTITY,
        "roster, binding, NODES.write(survivors))",
        "roster, NODES.write(survivors))",
        _VIEWS,
    ),
    Mutation(
        "an-advert-does-not-sign-its-code",
        _IDENTITY,
        "bind(Use.SIGN_ADVERT, advert.body)",
        "bind(Use.SIGN_ADVERT, replace(advert, bundle=bytes(32)).body)",
        (f"{_HERE}test_named_liars.py", f"{_HERE}test_malicious_clients.py"),
    ),
    Mutation(
        "masks-are-for-any-cohort",
        _BINDING,
        "roster + NODES.write(cohort) + self.model",
        "roster + self.model",
        _REFUSALS,
    ),
    Mutation(
        "masks-are-for-any-noise",
        _BINDING,
        "self.noise_scale, *numbers",
        "0.0, *numbers",
        _REFUSALS,
    ),
    Mutation(
        "masks-are-for-any-configuration",
        _BINDING,
        "self.model + self.config + self.codec",
        "self.model + self.codec",
        _REFUSALS,
    ),
    Mutation(
        "masks-are-for-any-thresholds",
        _BINDING,
        "noise_scale, *numbers",
        "noise_scale, 0, 0, 0",
        _VECTORS,
    ),
    Mutation(
        "a-roster-hash-leaves-the-thresholds-out",
        _BINDING,
        "adverts_hash(roster.adverts) + shape",
        "adverts_hash(roster.adverts)",
        _VECTORS,
    ),
    Mutation(
        "one-signer-counts-twice",
        _FIELDS,
        "all(map(operator.lt, nodes, islice(nodes, 1, None)))",
        "all(map(operator.le, nodes, islice(nodes, 1, None)))",
        (f"{_HERE}test_wire.py",),
    ),
    Mutation(
        "a-blob-may-be-longer-than-its-limit",
        _FIELDS,
        "        if value > limit:\n",
        "        if value < 0:\n",
        (f"{_HERE}test_wire.py",),
    ),
    Mutation(
        "bytes-may-be-left-over", _WIRE, "        r.finish()\n", "", (f"{_HERE}test_wire.py",)
    ),
)
