"""How records are read: each alone, and none with a say in what becomes of another."""

from tests.mutants.mutation import Mutation

_CSV = "tests/tasks/csv/test_by_line.py"
_TEXT = "tests/tasks/csv/test_text.py"
_LINES = ("tests/tasks/test_lines.py",)
_IMAGES = "tests/tasks/test_images.py"
_SUM = "privacy/bounding/bounded_sum.py"
_GRADIENTS = "tasks/training/record_gradients.py"
_TERMS = "tests/tasks/training/test_record_gradients.py"
_POLICIES = "tests/tasks/reinforcement"
_REHEARSAL = "tests/tasks/training/test_rehearsal.py"

MUTATIONS = (
    Mutation(
        "an-open-quote-swallows-the-record-after-it",
        "tasks/csv/encoding.py",
        "    if by_line:\n",
        "    if not config:\n",
        (f"{_CSV}::test_a_line_break_in_quotes_makes_two_lines_that_do_not_fit",),
    ),
    Mutation(
        "a-row-that-does-not-fit-refuses-a-private-run",
        "tasks/csv/encoding.py",
        '("" if by_line else summary.refusal)',
        "summary.refusal",
        (f"{_CSV}::test_a_stray_quote_takes_its_own_row_alone",),
    ),
    Mutation(
        "a-column-that-nobody-has-named-is-passed-over",
        "tasks/csv/header.py",
        "    if not is_new:\n",
        "    if not names:\n",
        ("tests/tasks/csv/test_refusals.py",),
    ),
    Mutation(
        "a-record-without-a-label-is-trained-on",
        "tasks/csv/encoder.py",
        "target is None and self._needs_label",
        "target is None and not self._needs_label",
        ("tests/tasks/csv/test_encoding.py",),
    ),
    Mutation(
        "a-file-of-predictions-is-written-over-another",
        "app/results/new_file.py",
        "            os.link(name, output)\n",
        "            os.replace(name, output)\n",
        ("tests/app/results/test_new_file.py",),
    ),
    Mutation(
        "nobody-is-told-that-no-record-fits",
        "tasks/csv/task.py",
        '        _LOGGER.warning("%s", warning)\n',
        '        _LOGGER.debug("%s", warning)\n',
        (f"{_CSV}::test_all_that_does_not_fit_is_said_loudly_in_the_nodes_own_log",),
    ),
    Mutation(
        "a-byte-that-is-not-utf8-fails-the-file",
        "tasks/lines.py",
        'errors="surrogateescape"',
        'errors="strict"',
        _LINES,
    ),
    Mutation(
        "a-long-note-weighs-more",
        "tasks/csv/hashing.py",
        "np.array([sign / norm for _, sign in found], np.float32)",
        "np.array([sign for _, sign in found], np.float32)",
        (f"{_TEXT}::test_every_text_has_a_norm_of_one_however_long_it_is",),
    ),
    Mutation(
        "a-note-has-no-end",
        "tasks/csv/hashing.py",
        "set(_grams(words[: column.max_words], column))",
        "set(_grams(words, column))",
        (f"{_TEXT}::test_only_so_many_words_and_characters_are_looked_at",),
    ),
    Mutation(
        "a-letter-may-have-marks-without-end",
        "tasks/csv/hashing.py",
        "if num_marks <= _MOST_MARKS:",
        "if num_marks >= 0:",
        (f"{_TEXT}::test_marks_without_end_hold_no_node_up",),
    ),
    Mutation(
        "a-line-may-be-of-any-length",
        "tasks/lines.py",
        "stream.readline(LONGEST_LINE + 1)",
        "stream.readline()",
        _LINES,
    ),
    Mutation(
        "no-equal-record-is-trained-on",
        "tasks/heart_split.py",
        "digest not in seen and _is_held_out(digest)",
        "_is_held_out(digest)",
        ("tests/tasks/test_heart.py::test_of_equal_records_one_is_held_out",),
    ),
    Mutation(
        "features-of-an-image-are-scaled-by-those-of-others",
        "tasks/scattering.py",
        "    return found\n\n\ndef _normalised",
        "    return found / np.abs(found).max()\n\n\ndef _normalised",
        ("tests/tasks/test_scattering.py::test_features_depend_on_their_image_alone",),
    ),
    Mutation(
        "a-round-that-sums-inputs-steps-with-them",
        "workloads/gradient_sum.py",
        "        return not state.arrays[self.task.centre].any()",
        "        return bool(state.arrays[self.task.centre].any())",
        ("tests/workloads/test_centre.py",),
    ),
    Mutation(
        "noise-moves-the-centre",
        "workloads/gradient_sum.py",
        "            moved[span] = 0\n",
        "            moved[span] *= 1\n",
        ("tests/workloads/test_centre.py",),
    ),
    Mutation(
        "noise-of-clients-moves-the-centre",
        "workloads/model_update.py",
        "            mean[span] = 0\n",
        "            mean[span] *= 1\n",
        ("tests/workloads/test_centre.py",),
    ),
    Mutation(
        "a-nodes-own-noise-moves-the-centre",
        "tasks/training/dp_sgd.py",
        "            centre.grad = None\n",
        "            centre.grad *= 1\n",
        ("tests/workloads/test_centre.py",),
    ),
    Mutation(
        "one-node-puts-the-centre-anywhere",
        "workloads/gradient_sum.py",
        "            mean /= max(1.0, float(np.linalg.norm(mean)))\n",
        "            mean /= 1.0\n",
        ("tests/workloads/test_centre.py",),
    ),
    Mutation(
        "an-image-that-does-not-fit-refuses-a-private-run",
        "tasks/images/task.py",
        "misfits and not self.is_private:\n            raise DataError",
        "misfits:\n            raise DataError",
        (f"{_IMAGES}::test_what_does_not_fit_is_named_and_refuses_no_private_run",),
    ),
    Mutation(
        "a-link-among-images-is-followed",
        "tasks/images/reading.py",
        "    if one.is_symlink():\n",
        "    if not one:\n",
        (f"{_IMAGES}::test_what_does_not_fit_is_named_and_refuses_no_private_run",),
    ),
    Mutation(
        "an-endless-link-refuses-a-private-run",
        "tasks/images/reading.py",
        "one.is_symlink() and os.path.isdir(one.path):",
        "one.is_symlink() and one.is_dir():",
        (f"{_IMAGES}::test_what_does_not_fit_is_named_and_refuses_no_private_run",),
    ),
    Mutation(
        "an-image-of-any-size-is-decoded",
        "tasks/images/reading.py",
        "image.width * image.height > config.max_pixels",
        "image.width * image.height < 0",
        (f"{_IMAGES}::test_what_does_not_fit_is_named_and_refuses_no_private_run",),
    ),
    Mutation(
        "a-character-is-in-two-records",
        "tasks/shakespeare.py",
        "            targets[:, -1] = NO_TARGET\n",
        "            targets[:, -1] += 0\n",
        ("tests/tasks/test_shakespeare.py",),
    ),
    Mutation(
        "a-term-is-added-unmeasured",
        _SUM,
        "    return square * (1 + (len(steps) + 8) * 2.0**-52) <= FINENESS**2",
        "    return square < 2.0**1000",
        ("tests/privacy/bounding/test_bounded_sum.py",),
    ),
    Mutation(
        "opacus-does-not-clip",
        _GRADIENTS,
        "        self._opacus.clip_and_accumulate()\n        found: Any = flat.summed_grad\n",
        "        found: Any = flat.grad_sample[0]\n",
        (f"{_TERMS}::test_sum_is_autograds_for_numbers",),
    ),
    Mutation(
        "a-record-that-fails-takes-the-others-with-it",
        _GRADIENTS,
        "vector = np.zeros(one.size)",
        "raise",
        (f"{_TERMS}::test_a_record_that_fails_counts_as_zero_and_takes_no_other_with_it",),
    ),
    Mutation(
        "dropout-drops-the-same-for-all",
        _GRADIENTS,
        "seed_torch(int(rng.integers(2**63)))",
        "seed_torch(1)",
        (f"{_TERMS}::test_dropout_drops_anew_for_each_record_and_by_the_given_generator",),
    ),
    Mutation(
        "a-slice-for-a-copy",
        "tasks/records.py",
        "            yield one\n",
        "            yield self.take(np.array([index]))\n",
        (f"{_TERMS}::test_each_record_is_copied_into_the_same_memory",),
    ),
    Mutation(
        "losses-may-couple-records",
        "tasks/training/rehearsal.py",
        "        _require_own_losses(one, records)\n",
        "",
        (_REHEARSAL,),
    ),
    Mutation(
        "a-model-may-keep-what-it-saw",
        "tasks/training/rehearsal.py",
        "if not torch.equal(_gradient(one, next(_apart(records))), first):",
        "if not first.numel():",
        (_REHEARSAL,),
    ),
    Mutation(
        "the-rehearsal-comes-after-the-charge",
        "app/round/contribute.py",
        "    request.workload.rehearse(records)\n",
        "",
        (
            "tests/runs/private/test_ledger.py::test_what_cannot_be_trained_is_refused_uncharged",
        ),
    ),
    Mutation(
        "an-environment-counts-as-records",
        "tasks/reinforcement/task.py",
        "        if unit is Unit.EXAMPLE:\n",
        "        if unit is not Unit.EXAMPLE and unit is not Unit.CLIENT:\n",
        (f"{_POLICIES}/test_policy_task.py::test_there_is_no_record_to_protect",),
    ),
    Mutation(
        "a-return-is-no-share",
        "tasks/reinforcement/task.py",
        "torch.from_numpy((found - least) / (most - least))",
        "torch.from_numpy(found)",
        (
            f"{_POLICIES}/test_policy_task.py"
            "::test_a_policys_score_is_the_mean_return_of_the_likeliest_actions",
        ),
    ),
    Mutation(
        "a-physics-may-be-anything",
        "tasks/reinforcement/physics.py",
        "        if not least <= value <= most:\n",
        "        if value < 0:\n",
        (f"{_POLICIES}/test_physics.py",),
    ),
    Mutation(
        "frozen-parameters-are-exchanged",
        "tasks/training/personal.py",
        "for name, p in model.named_parameters() if p.requires_grad}",
        "for name, p in model.named_parameters()}",
        ("tests/tasks/training/test_dp_sgd.py::test_frozen_parameters_are_not_exchanged",),
    ),
)
