"""Hybrid key agreement: both parts are needed, and whoever sends a false one is named."""

from tests.mutants.mutation import Mutation

_CRYPTO = "strategies/secagg/crypto/"
_HERE = "tests/strategies/secagg/"
_PRIMITIVES = (f"{_HERE}test_primitives.py",)
_LIARS = (f"{_HERE}test_named_liars.py", f"{_HERE}test_malicious_clients.py")

MUTATIONS = (
    Mutation(
        "masks-need-no-ml-kem",
        f"{_CRYPTO}masking.py",
        "pair.agree(met.public) + met.secret",
        "pair.agree(met.public)",
        _PRIMITIVES,
    ),
    Mutation(
        "masks-need-no-x25519",
        f"{_CRYPTO}masking.py",
        "pair.agree(met.public) + met.secret",
        "met.secret or pair.agree(met.public)",
        _PRIMITIVES,
    ),
    Mutation(
        "masks-are-for-any-part-of-a-row",
        f"{_CRYPTO}keys.py",
        "frame(32, part_hash, PAIR_BYTES, low, high)",
        "frame(32, bytes(32), PAIR_BYTES, low, high)",
        _PRIMITIVES,
    ),
    Mutation(
        "shares-need-no-ml-kem",
        f"{_CRYPTO}keys.py",
        "expand(secret, _of_shares(",
        "expand(secret[:32], _of_shares(",
        _PRIMITIVES,
    ),
    Mutation(
        "shares-need-no-x25519",
        f"{_CRYPTO}keys.py",
        "expand(secret, _of_shares(",
        "expand(secret[-32:], _of_shares(",
        (f"{_HERE}test_share_rows.py",),
    ),
    Mutation(
        "a-key-of-another-form-passes",
        f"{_CRYPTO}keys.py",
        "if len(public_key) != due or is_low",
        "if is_low",
        _PRIMITIVES,
    ),
    Mutation(
        "ml-kem-keys-are-not-checked",
        f"{_CRYPTO}keys.py",
        "        _kem_key(kem_key)\n    except",
        "        bytes(kem_key)\n    except",
        (*_PRIMITIVES, f"{_HERE}test_hostile_keys.py"),
    ),
    Mutation(
        "an-ml-kem-key-needs-no-hash",
        f"{_CRYPTO}keys.py",
        "if _hash_kem_key(kem_key) != public_key[X25519_BYTES:]:",
        "if not kem_key:",
        _PRIMITIVES,
    ),
    Mutation(
        "the-server-passes-any-ml-kem-key-on",
        "strategies/secagg/server/key_exchange.py",
        "good = good and all(map(is_kem_key, pair, kem_pair))",
        "",
        (f"{_HERE}test_malicious_clients.py",),
    ),
    Mutation(
        "all-pairs-of-a-node-have-one-secret",
        f"{_CRYPTO}hybrid.py",
        "_of_secret(roster) + frame_pair(PAIR_BYTES, *ends)",
        "_of_secret(roster)",
        _PRIMITIVES,
    ),
    Mutation(
        "a-row-is-for-any-part",
        f"{_CRYPTO}hybrid.py",
        "hashlib.sha256(part).digest()",
        "hashlib.sha256().digest()",
        _LIARS,
    ),
    Mutation(
        "a-false-secret-of-a-pair-passes",
        f"{_CRYPTO}hybrid.py",
        "part[-_HASH_BYTES:] == _commit(secret, roster, ends)",
        "bool(part)",
        _PRIMITIVES,
    ),
    Mutation(
        "the-server-takes-a-false-secret-of-a-pair",
        "strategies/secagg/server/recovery.py",
        "secret if is_pair_secret(secret, part, members.roster, ends) else None",
        "secret",
        _LIARS,
    ),
    Mutation(
        "the-key-agreement-may-change-in-a-run",
        "strategies/secagg/graph.py",
        "            self.is_hybrid,\n",
        "            True,\n",
        (f"{_HERE}test_refused_rosters.py",),
    ),
    Mutation(
        "nodes-of-a-deployment-agree-as-simulated-ones",
        "strategies/masked/config.py",
        "return num_simulated is None\n",
        "return False\n",
        ("tests/runs/test_key_agreement.py",),
    ),
)
