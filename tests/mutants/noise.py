"""Noise, bounds and their accounts: what a sum reveals of one unit."""

from tests.mutants.mutation import Mutation

_STAGES = "strategies/codec/private_stages.py"
_CODEC = "strategies/codec/private_codec.py"
_PLAN = "privacy/plan/plan.py"
_TERMS = "privacy/plan/terms.py"
_NOISE = "tests/runs/private/test_noise.py"
_ENCODING = "tests/runs/private/test_encoding.py"
_CONTINUOUS = "privacy/accounting/domination.py"
_DOMINATED = ("tests/privacy/accounting/test_domination.py",)
_CENTRAL = ("tests/app/preflight/test_epsilon_oracle.py::test_example_central",)
_SAMPLERS = ("tests/privacy/noise/test_samplers.py",)
_KEPT = "tests/runs/private/test_kept.py"
_MOVES = f"{_KEPT}::test_one_unit_moves_what_is_kept_by_no_more_than_is_accounted_for"
_KEPT_NOISE = f"{_KEPT}::test_the_noise_of_what_is_kept_is_that_of_the_plan"
_PLANS = "tests/app/preflight/test_run_plan.py"
_COLLUDERS = f"{_PLANS}::test_every_number_of_colluders_below_t_has_its_epsilon"
_SEEN = f"{_PLANS}::test_who_sees_each_contribution_sees_another_in_its_place_and_who_was_drawn"

MUTATIONS = (
    Mutation(
        "a-node-adds-less-noise",
        _STAGES,
        "draw(terms.mechanism, plan.node_noise_scale,",
        "draw(terms.mechanism, 0.7 * plan.node_noise_scale,",
        (f"{_NOISE}::test_a_masked_sum_holds_a_share_of_every_survivor",),
    ),
    Mutation(
        "the-server-adds-less-noise",
        _STAGES,
        "scale = plan.noise_multiplier / plan.step * fine",
        "scale = 0.7 * plan.noise_multiplier / plan.step * fine",
        (f"{_NOISE}::test_the_server_adds_the_noise_once",),
    ),
    Mutation(
        "metrics-get-less-noise",
        "privacy/plan/plan.py",
        "return release.noise_scale / sqrt",
        "return 0.7 * release.noise_scale / sqrt",
        (f"{_NOISE}::test_metrics_have_noise_of_their_own",),
    ),
    Mutation(
        "the-gaussian-is-narrower",
        "privacy/noise/samplers.py",
        "sigma = float(standard_deviation)",
        "sigma = 0.95 * float(standard_deviation)",
        _SAMPLERS,
    ),
    Mutation(
        "zero-is-drawn-twice-as-often",
        "privacy/noise/gaussian.py",
        "kept = ~(negative & (x == 0))",
        "kept = x >= 0",
        _SAMPLERS,
    ),
    Mutation(
        "the-fine-part-of-the-noise-is-uniform",
        "privacy/noise/gaussian.py",
        "(x << 1) - fine, sigma",
        "fine * 0, sigma",
        _SAMPLERS,
    ),
    Mutation(
        "ties-go-to-whoever-the-table-says",
        "privacy/noise/half_gaussian.py",
        "for place in unsure[ties]:",
        "for place in unsure[:0]:",
        ("tests/privacy/noise/test_gaussian.py",),
    ),
    Mutation(
        "noise-comes-from-a-short-key",
        "privacy/noise/randomness.py",
        "os.urandom(_KEY_BYTES)",
        "os.urandom(4)",
        _SAMPLERS,
    ),
    Mutation(
        "the-cipher-has-fewer-rounds",
        "privacy/noise/randomness.py",
        "_ROUNDS = 20",
        "_ROUNDS = 8",
        _SAMPLERS,
    ),
    Mutation(
        "terms-are-longer-than-the-bound",
        "privacy/bounding/clipping.py",
        "limit = bound * (1 - (x",
        "limit = bound * (1.001 - (x",
        ("tests/privacy/bounding/test_clipping.py",),
    ),
    Mutation(
        "rounding-makes-terms-longer-than-the-bound",
        "privacy/bounding/rounding.py",
        "if _square_norm_bound(rounded) <= max_norm * max_norm:",
        "if _square_norm_bound(rounded) <= 4 * max_norm * max_norm:",
        ("tests/privacy/bounding/test_rounding.py",),
    ),
    Mutation(
        "a-sum-may-move-by-more-than-planned",
        _CODEC,
        "not moved <= most * _SLACK",
        "not moved <= 3 * most",
        (f"{_ENCODING}::test_a_private_codec_takes_bounded_sums_and_nothing_else",),
    ),
    Mutation(
        "the-server-does-not-reduce-noisy-sums",
        _STAGES,
        "to_signed((signed + whole).view(np.uint64), terms.modulus_bits)",
        "signed + whole",
        ("tests/runs/private/test_attacks.py::test_central_noise_is_added_modulo_the_modulus",),
    ),
    Mutation(
        "colluders-noise-counts",
        _TERMS,
        "return self.min_survivors - self.max_colluding",
        "return self.min_survivors",
        (f"{_NOISE}::test_the_fewest_survivors_with_colluders_still_keep_the_promise",),
    ),
    Mutation(
        "colluders-noise-counts-in-the-account",
        _PLAN,
        "num_shares = terms.min_survivors - known",
        "num_shares = terms.min_survivors",
        (_COLLUDERS,),
    ),
    Mutation(
        "a-replaced-contribution-moves-a-sum-once",
        _PLAN,
        "self.max_rounded_norm * (2 if self._is_replaced else 1)",
        "self.max_rounded_norm",
        (_SEEN,),
    ),
    Mutation(
        "an-account-forgets-what-rounding-adds",
        "privacy/bounding/sensitivity.py",
        "return _in_steps(norm, step, dimension) + math.sqrt(dimension)",
        "return _in_steps(norm, step, dimension)",
        (
            "tests/privacy/bounding/test_rounding.py",
            "tests/privacy/bounding/test_sensitivity.py",
        ),
    ),
    Mutation(
        "local-noise-is-taken-for-amplified",
        _PLAN,
        "hidden = sampled and terms.place is Place.CENTRAL",
        "hidden = sampled",
        (_SEEN,),
    ),
    Mutation(
        "noise-that-comes-with-the-coin-is-amplified",
        _PLAN,
        "hidden = sampled and terms.place is Place.CENTRAL",
        "hidden = sampled and terms.place is not Place.LOCAL",
        (f"{_PLANS}::test_client_sampling_does_not_amplify_where_the_drawn_add_the_noise",),
    ),
    Mutation(
        "integers-are-as-good-as-real-numbers",
        _CONTINUOUS,
        "math.sqrt(release.noise_scale**2 - MOVE_VARIANCE)",
        "math.sqrt(release.noise_scale**2)",
        _DOMINATED,
    ),
    Mutation(
        "real-numbers-move-to-integers-by-too-little",
        _CONTINUOUS,
        "MOVE_VARIANCE = 9 / 4",
        "MOVE_VARIANCE = 1.0",
        _DOMINATED,
    ),
    Mutation(
        "shares-of-any-size-make-a-gaussian",
        _CONTINUOUS,
        "if share_variance >= LEAST_SHARE_VARIANCE:",
        "if share_variance > 0:",
        _DOMINATED,
    ),
    Mutation(
        "the-transfer-to-integers-is-free",
        "privacy/accounting/epsilon.py",
        "bound) + cost",
        "bound)",
        _DOMINATED,
    ),
    Mutation(
        "sampling-amplifies-where-another-stands-in-the-place",
        "privacy/accounting/renyi.py",
        "if release.neighbours is Neighbours.REPLACE and release.sampling_rate != 1:",
        "if release.sampling_rate > 1:",
        ("tests/privacy/accounting/test_renyi.py::test_replacement_is_not_amplified",),
    ),
    Mutation(
        "the-sampling-rate-counts-twice",
        _PLAN,
        "            return terms.sampling_rate\n",
        "            return terms.sampling_rate**2\n",
        _CENTRAL,
    ),
    Mutation(
        "what-is-kept-is-stretched-before-the-noise",
        "strategies/codec/compression.py",
        "vector=passing.vector[self._kept(context)])",
        "vector=passing.vector[self._kept(context)] * self.scale)",
        (_MOVES,),
    ),
    Mutation(
        "what-is-kept-gets-less-noise",
        "privacy/plan/noise_grid.py",
        "return self.noise_multiplier / self.step / sqrt(terms.num_shares)",
        "return self.noise_multiplier / self.step / sqrt(terms.num_shares) / self.kept_scale",
        (_KEPT_NOISE,),
    ),
    Mutation(
        "each-node-keeps-entries-of-its-own",
        "strategies/codec/compression.py",
        "return kept_entries(context.seed, self.length, self.num_kept)",
        "return kept_entries(secure_generator().bytes(32), self.length, self.num_kept)",
        (f"{_KEPT}::test_the_sum_is_right_on_average_and_errs_by_what_the_plan_says",),
    ),
    Mutation(
        "an-account-forgets-what-float64-loses-in-what-is-left-out",
        _PLAN,
        "dithered_l2(1.0, self.step, d, self.padded_dimension)",
        "dithered_l2(1.0, self.step, d)",
        (f"{_KEPT}::test_a_kept_part_has_the_bounds_of_its_own_length_and_no_more_wraps",),
    ),
    Mutation(
        "local-steps-are-accounted-by-what-is-kept",
        "privacy/plan/noise_grid.py",
        "return self.num_kept if self.terms.is_summed else self.terms.dimension",
        "return self.num_kept",
        (f"{_KEPT}::test_what_is_private_before_it_is_summed_is_kept_in_part_like_all_else",),
    ),
    Mutation(
        "a-kept-sum-is-held-against-the-length-of-its-terms",
        _CODEC,
        "most = self.plan.kept_scale * kept",
        "most = kept",
        (f"{_KEPT}::test_an_honest_sum_of_what_is_kept_is_possible_and_a_longer_one_is_not",),
    ),
    Mutation(
        "a-fraction-is-no-part-of-the-codec",
        "app/builders/privacy.py",
        "        keep_fraction=aggregation.codec.keep_fraction,\n",
        "",
        (f"{_KEPT}::test_a_kept_part_has_the_bounds_of_its_own_length_and_no_more_wraps",),
    ),
    Mutation(
        "histograms-are-kept-in-part",
        "app/config/effects.py",
        "workload.has_model if is_private",
        "True if is_private",
        ("tests/app/config/test_idle_keys.py::test_what_another_key_switches_off_is_refused",),
    ),
    Mutation(
        "another-sampling-rate-is-told",
        "app/preflight/run_plan.py",
        '"sampling_rate": release.sampling_rate,',
        '"sampling_rate": release.sampling_rate / 2,',
        _CENTRAL,
    ),
)
