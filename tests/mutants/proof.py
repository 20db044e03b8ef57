"""What `tacet verify` must notice, and which pinned keys must stay."""

from tests.mutants.mutation import Mutation

_VERIFY = "tests/app/results/test_verify.py"
_SIGNED = "tests/app/results/test_verify_signed.py"
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
        "if heads_that_differ([kept], grown):",
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
    Mutation(
        "a-sum-is-masked-whatever-log-was-shown",
        "strategies/secagg/binding.py",
        'tail = struct.pack(">dIII", self.noise_scale, *numbers) + log_head',
        'tail = struct.pack(">dIII", self.noise_scale, *numbers)',
        (
            "tests/strategies/secagg/test_malicious_server.py"
            "::test_another_log_under_the_same_binding_is_refused",
        ),
    ),
    Mutation(
        "a-node-forgets-which-log-it-signed",
        "strategies/secagg/client/role.py",
        "if reply.signature and request.log_head != NO_LOG_HEAD:",
        "if False:",
        (f"{_SIGNED}::test_a_coordinator_who_shows_participants_another_log_is_found_out",),
    ),
    Mutation(
        "signatures-over-another-log-verify",
        "app/results/verify_signed.py",
        "if head.size != len(roots) - 1 or heads_that_differ([head], roots):",
        "if head.size != len(roots) - 1:",
        (f"{_SIGNED}::test_signatures_that_are_kept_do_not_fit_another_history",),
    ),
    Mutation(
        "signatures-over-another-configuration-verify",
        "app/results/verify_signed.py",
        "if config and signed.binding.config != config:",
        "if config and not signed.binding.config:",
        (f"{_SIGNED}::test_signatures_that_are_kept_do_not_fit_another_history",),
    ),
    Mutation(
        "signatures-over-another-model-verify",
        "app/results/verify_signed.py",
        "if found != signed.binding.model:",
        "if not found:",
        (f"{_SIGNED}::test_signatures_that_are_kept_do_not_fit_another_history",),
    ),
    Mutation(
        "signatures-of-another-run-verify",
        "app/results/verify_signed.py",
        "if (str(signed.attempt.run_id), signed.attempt.round) != (run_id, server_round):",
        "if signed.attempt.round != server_round:",
        (f"{_SIGNED}::test_signatures_that_were_collected_in_another_run_are_not_of_this_one",),
    ),
    Mutation(
        "a-run-whose-signatures-were-taken-out-verifies",
        "app/results/verify_signed.py",
        "if keys and num_rounds and not num_signed:",
        "if False:",
        (f"{_SIGNED}::test_a_coordinator_who_makes_the_whole_folder_anew_is_found_out",),
    ),
    Mutation(
        "one-key-signs-for-two",
        "strategies/secagg/signed_sum.py",
        "if len(named) != len(self.survivors) or len(set(named)) != len(named):",
        "if len(named) != len(self.survivors):",
        (f"{_SIGNED}::test_one_key_does_not_sign_for_two",),
    ),
    Mutation(
        "a-signature-verifies-for-anybody",
        "strategies/secagg/signed_sum.py",
        "if who in peers and not verify(peers, who, signature, message):",
        "if False:",
        (f"{_SIGNED}::test_another_key_signs_for_nobody",),
    ),
)
