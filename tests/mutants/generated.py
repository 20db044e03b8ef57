"""A GAN: what of it nodes are sent, and that the generator has released sums alone."""

from tests.mutants.mutation import Mutation

_GAN = "workloads/gan.py"
_GAME = "tasks/training/adversarial.py"
_TESTS = "tests/workloads/test_gan.py"
_SERVED = "tests/runs/private/test_served_states.py"

MUTATIONS = (
    Mutation(
        "a-record-of-a-gan-counts-twice-its-bound",
        _GAN,
        "return self._nodes.bounded(state, query, records, rng, privacy)",
        "return self._nodes.bounded(\n"
        "            state, query, records, rng,\n"
        '            type(privacy)(**{**vars(privacy), "clip_norm": 2 * privacy.clip_norm}),\n'
        "        )",
        (f"{_TESTS}::test_no_record_moves_the_sum_by_more_than_the_bound",),
    ),
    Mutation(
        "nodes-are-sent-the-generator-too",
        _GAN,
        "return State(parted(_DISCRIMINATOR, state.arrays)[0])",
        "return state",
        (f"{_TESTS}::test_nodes_are_sent_the_discriminator_alone",),
    ),
    Mutation(
        "the-generator-is-trained-with-records",
        _GAN,
        "        game.play(real, setup.algorithm.generator_steps, rng)\n",
        "        from tasks.base import DataSource\n"
        "        real = real + self.task.load(DataSource()).train.inputs.mean()\n"
        "        game.play(real, setup.algorithm.generator_steps, rng)\n",
        (f"{_TESTS}::test_the_server_needs_no_record",),
    ),
    Mutation(
        "a-gan-divides-by-how-many-answered",
        _GAN,
        "real = aggregate.total / setup.expected_batch_size",
        "real = aggregate.total / aggregate.weight",
        (f"{_TESTS}::test_how_many_answered_does_not_move_a_private_step",),
    ),
    Mutation(
        "the-servers-steps-of-a-gan-do-not-repeat",
        _GAN,
        "rng = np.random.default_rng([self.task.seed, server_round])",
        "rng = np.random.default_rng()",
        (
            f"{_TESTS}::test_the_server_needs_no_record",
            f"{_TESTS}::test_a_resumed_run_ends_where_another_does",
        ),
    ),
    Mutation(
        "what-an-optimiser-of-a-gan-remembers-is-not-kept",
        _GAN,
        "arrays |= {moments + name: player.moments[place] for name, player in players}",
        "arrays |= {moments + name: 0 * player.moments[place] for name, player in players}",
        (f"{_TESTS}::test_a_resumed_run_ends_where_another_does",),
    ),
    Mutation(
        "made-up-images-pull-harder-than-records",
        _GAME,
        "        if self.clip_norm is not None:\n",
        "        if self.clip_norm is None:\n",
        (f"{_TESTS}::test_made_up_images_pull_no_harder_than_records",),
    ),
    Mutation(
        "a-state-that-is-endless-as-it-is-loaded-is-paid-for",
        "workloads/model.py",
        "loaded = array.astype(self.loads_as, copy=False)",
        "loaded = array",
        (f"{_SERVED}::test_what_is_no_discriminator_is_refused_and_costs_nothing",),
    ),
    Mutation(
        "a-discriminator-may-come-with-more",
        _GAN,
        "        if state.header:\n",
        "        if False:\n",
        (f"{_SERVED}::test_what_is_no_discriminator_is_refused_and_costs_nothing",),
    ),
)
