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
        "app/results/verify_epsilon.py",
        "if not isclose(found, told, rel_tol=_CLOSE):",
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
        "if signed.binding.config != config:",
        "if not signed.binding.config:",
        (f"{_SIGNED}::test_signatures_that_are_kept_do_not_fit_another_history",),
    ),
    Mutation(
        "signatures-over-another-model-verify",
        "app/results/verify_signed.py",
        "if found != signed.binding.model.hex():",
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
        "signatures-of-strangers-verify",
        "app/results/verify_signed.py",
        "if found.rounds and not known:",
        "if found.rounds and not signed:",
        (f"{_SIGNED}::test_signatures_of_strangers_show_nothing",),
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
    Mutation(
        "rounds-that-were-discarded-count",
        "app/results/verify_signed.py",
        'del self.rounds[entry["round"] :]',
        "pass",
        (f"{_SIGNED}::test_rounds_that_a_resume_discards_do_not_count",),
    ),
    Mutation(
        "a-participant-can-be-hidden",
        "strategies/secagg/signed_sum.py",
        "if (self.survivors != self.cohort) != bool(voted):",
        "if False:",
        (f"{_SIGNED}::test_nobody_is_left_out_of_a_sum_unsigned",),
    ),
    Mutation(
        "a-configuration-of-before-a-resume-is-any",
        "app/results/verify_signed.py",
        "values = dict(values) | _changeable(entry)",
        "return b''",
        (f"{_SIGNED}::test_a_run_that_went_on_after_its_end_verifies",),
    ),
    Mutation(
        "a-begin-can-name-another-configuration",
        "app/results/verify.py",
        "if name in begun and named[name] != begun[name]:",
        "if False:",
        (f"{_SIGNED}::test_a_configuration_that_the_log_never_named_is_no_excuse",),
    ),
    Mutation(
        "an-old-end-speaks-of-the-model-that-is-there",
        "app/results/verify_signed.py",
        "if kind == ENDED and not _goes_on(history[number:]):",
        "if kind == ENDED:",
        (f"{_SIGNED}::test_a_run_that_went_on_after_its_end_verifies",),
    ),
    Mutation(
        "an-end-need-not-name-a-file",
        "app/results/verify.py",
        "if name not in named:",
        "if False:",
        (
            f"{_VERIFY}::test_an_end_that_is_silent_on_a_file_is_none",
            "tests/app/models/test_registry.py::test_a_chain_that_was_cut_is_not_signed",
        ),
    ),
    Mutation(
        "a-summary-tells-another-epsilon",
        "app/results/verify_epsilon.py",
        "if not (is_more or isclose(number, logged, rel_tol=_CLOSE)):",
        "if False:",
        (f"{_VERIFY}::test_a_summary_tells_the_epsilon_of_the_log",),
    ),
    Mutation(
        "a-resumed-run-forgets-what-it-had-spent",
        "app/results/log_observer.py",
        "self._spent: Mapping[str, Any] = checkpoint.privacy if checkpoint else {}",
        "self._spent: Mapping[str, Any] = {}",
        (f"{_VERIFY}::test_a_run_that_fails_as_soon_as_it_is_resumed_has_spent_what_it_had",),
    ),
    Mutation(
        "a-node-that-has-signed-nothing-agrees",
        "app/results/verify.py",
        "if not heads:",
        "if False:",
        (f"{_SIGNED}::test_a_node_that_has_signed_nothing_is_not_agreement",),
    ),
    Mutation(
        "a-folder-writes-on-the-terminal",
        "app/cli/common.py",
        'return "".join(c if c.isprintable() else "?" for c in text)',
        "return text",
        (f"{_VERIFY}::test_a_hostile_folder_neither_hangs_nor_writes_on_the_terminal",),
    ),
)
