"""What `tacet verify` must notice, and which pinned keys must stay."""

from tests.mutants.mutation import Mutation

_VERIFY = "tests/app/results/test_verify.py"
_GONE = f"{_VERIFY}::test_every_single_byte_that_is_changed_is_found_and_named"
_KEPT = f"{_VERIFY}::test_a_head_that_was_kept_is_grown_from"
_EPSILON = f"{_VERIFY}::test_an_epsilon_that_the_releases_do_not_come_to_is_found"
_PINNED = "tests/app/cli/test_cli.py::test_a_pinned_key_is_never_replaced"

MUTATIONS = (
    Mutation(
        "a-file-that-was-changed-verifies",
        "app/results/verify.py",
        "if found[name] != wanted[name]:",
        "if len(found[name]) != len(wanted[name]):",
        (_GONE,),
    ),
    Mutation(
        "a-round-whose-line-was-changed-verifies",
        "app/results/verify.py",
        'if hash_of_bytes(line) != entry.get("line"):',
        'if not entry.get("line"):',
        (f"{_VERIFY}::test_a_round_of_a_run_that_goes_on_is_held_to_its_entry",),
    ),
    Mutation(
        "a-log-verifies-with-any-head",
        "app/results/verify.py",
        "if _read(folder, HEAD) != head.to_bytes():",
        "if not _read(folder, HEAD):",
        (_GONE,),
    ),
    Mutation(
        "a-log-that-did-not-grow-verifies",
        "app/results/verify.py",
        "if root([leaf_hash(entry) for entry in entries[: kept.size]]).hex() != kept.root:",
        "if len(kept.root) != 64:",
        (_KEPT,),
    ),
    Mutation(
        "an-epsilon-of-other-releases-verifies",
        "app/results/verify.py",
        "if not isclose(found, told, rel_tol=1e-6):",
        "if not isclose(found, told, rel_tol=0.5):",
        (_EPSILON,),
    ),
    Mutation(
        "a-leaf-hashes-as-a-node",
        "app/results/merkle.py",
        'return sha256(b"\\x00" + entry).digest()',
        'return sha256(b"\\x01" + entry).digest()',
        ("tests/app/results/test_merkle.py",),
    ),
    Mutation(
        "a-pinned-key-is-replaced",
        "app/node/identity.py",
        "if known.get(name, key) != key:",
        "if len(known.get(name, key)) != len(key):",
        (_PINNED,),
    ),
)
