"""What a run may begin with, which models a node takes, and what a registry's entry covers."""

from tests.mutants.mutation import Mutation

_LINEAGE = "app/node/lineage.py"
_STARTING = "app/results/starting_model.py"
_MEANING = "app/results/same_meaning.py"
_TESTS = "tests/app/results/test_starting_model.py"
_BOUNDS = (f"{_TESTS}::test_columns_are_compared_with_their_bounds_and_order",)

_OF_INITIAL_MODELS = (
    Mutation(
        "an-initial-models-epsilon-is-not-added",
        _LINEAGE,
        "epsilon=sum(one.epsilon for one in known)",
        "epsilon=max(one.epsilon for one in known)",
        (f"{_TESTS}::test_epsilons_add",),
    ),
    Mutation(
        "an-initial-model-without-privacy-is-covered",
        _LINEAGE,
        "    if without:\n",
        "    if without == len(spent):\n",
        (f"{_TESTS}::test_a_model_without_privacy_is_warned_of",),
    ),
    Mutation(
        "an-initial-model-with-other-bounds-is-taken",
        _MEANING,
        "    if before != now:\n",
        "    if before.keys() != now.keys():\n",
        _BOUNDS,
    ),
    Mutation(
        "an-initial-model-with-columns-in-another-order-is-taken",
        _MEANING,
        'if key != "task" and [*mine] != [*others]:',
        'if key != "task" and {*mine} != {*others}:',
        _BOUNDS,
    ),
    Mutation(
        "a-model-that-has-changed-begins-a-resumed-run",
        _STARTING,
        "        if start.record != record:\n",
        "        if start.record.path != record.path:\n",
        (f"{_TESTS}::test_a_run_that_had_no_round_begins_with_the_same_model_or_not_at_all",),
    ),
    Mutation(
        "records-that-were-trained-on-score-the-next-run",
        _MEANING,
        "    if model.seed != config.seed:\n",
        "    if model.seed is None:\n",
        (f"{_TESTS}::test_a_model_of_another_task_is_refused",),
    ),
)

_ENTRY = "app/node/model_entry.py"
_REGISTRY = "app/models/registry.py"
_CHECK = "app/models/check.py"
_MODELS = "tests/app/models/test_registry.py"
_LIES = (f"{_MODELS}::test_a_signers_own_lies_are_held_against_the_log",)
_COPIES = (f"{_MODELS}::test_a_copy_under_another_name_or_version_is_none",)

_OF_REGISTRIES = (
    Mutation(
        "an-entry-of-any-signer-verifies",
        _ENTRY,
        "        if not signers:\n",
        "        if not keys:\n",
        (f"{_MODELS}::test_others_signatures_do_not_count",),
    ),
    Mutation(
        "an-entry-that-nobody-signed-verifies",
        _ENTRY,
        "        if not self.is_signed():\n",
        "        if not self.signature:\n",
        (f"{_MODELS}::test_a_signature_of_another_key_is_none",),
    ),
    Mutation(
        "an-entry-verifies-under-another-name",
        _REGISTRY,
        "if (signed.entry.name, signed.entry.version) != (name, version):",
        "if not signed.entry.version:",
        _COPIES,
    ),
    Mutation(
        "a-file-of-an-entry-that-was-changed-verifies",
        _CHECK,
        "        if not is_same:\n",
        "        if is_same is None:\n",
        (f"{_MODELS}::test_every_file_of_an_entry_is_covered",),
    ),
    Mutation(
        "an-entry-hides-what-its-run-began-with",
        _CHECK,
        "    if before != [one.to_dict() for one in entry.runs[1:]]:\n",
        "    if before is None:\n",
        _LIES,
    ),
    Mutation(
        "an-entry-understates-epsilon",
        _CHECK,
        "    _require_epsilon(released, entry)\n",
        "",
        _LIES,
    ),
    Mutation(
        "an-entry-is-read-through-a-link",
        _ENTRY,
        "if file.is_symlink() or not file.is_file():",
        "if not file.is_file():",
        (f"{_MODELS}::test_links_and_odd_names_are_not_followed",),
    ),
    Mutation(
        "a-run-begins-with-an-entry-that-was-changed",
        _STARTING,
        "    if not signed.is_signed():\n",
        "    if not signed.signature:\n",
        (f"{_MODELS}::test_a_run_begins_with_an_entry_whose_files_are_its_own",),
    ),
    Mutation(
        "a-run-begins-with-a-model-that-the-entry-does-not-name",
        _STARTING,
        "    if entry is not None and model.hash != entry.state:\n",
        "    if entry is not None and not model.hash:\n",
        (f"{_MODELS}::test_a_run_begins_with_an_entry_whose_files_are_its_own",),
    ),
)

_ORIGIN = "app/node/model_origin.py"
_RULE = "tests/app/node/test_model_origin.py"

_OF_NODES = (
    Mutation(
        "a-model-that-nobody-signed-is-answered",
        _ORIGIN,
        "    if not told:\n        raise UnknownOriginError(",
        "    if not told:\n        return None\n        raise UnknownOriginError(",
        (f"{_RULE}::test_a_resumed_run_says_what_it_began_with",),
    ),
    Mutation(
        "an-entry-of-a-stranger-is-answered",
        _ORIGIN,
        "    signed.require_signed_by(keys)\n",
        "",
        (f"{_RULE}::test_an_entry_of_a_key_that_is_not_listed_gets_no_answer",),
    ),
    Mutation(
        "an-entry-of-another-model-is-answered",
        _ORIGIN,
        "        if asked != entry.state:\n",
        "        if len(asked) != len(entry.state):\n",
        (f"{_RULE}::test_an_entry_of_another_model_gets_no_answer",),
    ),
    Mutation(
        "a-model-in-place-of-the-untrained-one-is-answered",
        _ORIGIN,
        "    if not agree(workload.initial_state(), state):\n",
        "    if not state.arrays:\n",
        (f"{_RULE}::test_a_model_that_the_server_slips_in_gets_no_answer",),
    ),
    Mutation(
        "the-origin-of-a-model-is-not-asked-for",
        "app/round/request.py",
        "        require_known_origin(session, workload, state, query.server_round,"
        " model_entry)\n",
        "",
        (f"{_RULE}::test_a_model_that_nobody_signed_gets_no_answer",),
    ),
    Mutation(
        "a-servers-entry-is-signed-in-round-1-only",
        _ORIGIN,
        "        entry = _entry(policy, session.settings.peers_file, told)\n"
        "        if server_round == 1:\n",
        "        if server_round == 1:\n"
        "            entry = _entry(policy, session.settings.peers_file, told)\n",
        (f"{_RULE}::test_a_forged_entry_gets_no_answer_in_any_round",),
    ),
)

_ADAPTERS = "tests/tasks/training/test_adapters.py"

_OF_ADAPTERS = (
    Mutation(
        "any-base-of-adapters-is-taken",
        "tasks/training/adapters.py",
        "    if digest != config.sha256:\n",
        "    if len(digest) != len(config.sha256):\n",
        (f"{_ADAPTERS}::test_a_base_that_is_another_one_is_refused",),
    ),
    Mutation(
        "a-node-reads-a-base-where-the-server-says",
        "app/node/session.py",
        "        if self.settings.base_model is not None or not self.settings.simulated:\n",
        "        if self.settings.base_model is not None:\n",
        (f"{_ADAPTERS}::TestNode::test_a_deployed_node_reads_no_path_of_the_server",),
    ),
    Mutation(
        "all-matrices-of-an-adapter-are-averaged",
        "tasks/training/adapters.py",
        "nn.Parameter(rows, requires_grad=False)",
        "nn.Parameter(rows)",
        (f"{_ADAPTERS}::test_adapters_begin_as_the_base_and_little_is_exchanged",),
    ),
    Mutation(
        "rounding-decides-the-directions-of-adapters",
        "tasks/training/adapters.py",
        "_RANDOM_PART = 1e-3\n",
        "_RANDOM_PART = 0.0\n",
        (f"{_ADAPTERS}::TestDirections::test_rounding_does_not_move_them",),
    ),
    Mutation(
        "directions-of-adapters-of-any-sign",
        "tasks/training/adapters.py",
        "torch.where(triangle.diagonal() < 0, -1.0, 1.0)",
        "torch.where(triangle.diagonal() < 0, 1.0, 1.0)",
        (f"{_ADAPTERS}::TestDirections::test_their_signs_are_those_of_what_they_are_made_of",),
    ),
    Mutation(
        "adam-moves-adapters-by-the-rate-alone",
        "tasks/training/optimizer.py",
        "lr=length * self._config.learning_rate",
        "lr=self._config.learning_rate",
        (f"{_ADAPTERS}::test_a_rate_that_suits_the_model_suits_its_adapters",),
    ),
    Mutation(
        "adapters-of-other-directions-are-loaded",
        "app/results/model_file.py",
        'tensor.startswith("columns.")',
        'tensor.startswith("rows.")',
        (f"{_ADAPTERS}::test_a_model_of_older_adapters_is_refused",),
    ),
)

_BACKBONE = "tasks/images/backbone.py"
_IMAGES = "tests/tasks/test_backbone.py"

_OF_BACKBONES = (
    Mutation(
        "any-file-of-a-backbone-is-taken",
        _BACKBONE,
        "    if digest != config.sha256:\n",
        "    if len(digest) != len(config.sha256):\n",
        (f"{_IMAGES}::TestNode::test_a_copy_that_is_another_file_is_refused",),
    ),
    Mutation(
        "a-backbones-file-is-unpickled-before-it-is-known",
        _BACKBONE,
        "    _require_digest(file, _digest(file), config)\n",
        "    torch.load(file, weights_only=False)\n",
        (f"{_IMAGES}::TestFile::test_another_file_is_refused_before_it_is_unpickled",),
    ),
    Mutation(
        "code-in-a-backbones-file-is-run",
        _BACKBONE,
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
        (f"{_IMAGES}::TestFile::test_tensors_that_are_not_the_networks_are_refused",),
    ),
    Mutation(
        "a-node-reads-a-backbone-where-the-server-says",
        "app/node/session.py",
        "        if self.settings.base_model is not None or not self.settings.simulated:\n",
        "        if self.settings.base_model is not None:\n",
        (f"{_IMAGES}::TestNode::test_a_deployed_node_reads_no_path_of_the_server",),
    ),
    Mutation(
        "a-backbone-normalises-by-the-image",
        _BACKBONE,
        "Backbone(network.eval().requires_grad_(False))",
        "Backbone(network.train().requires_grad_(False))",
        (f"{_IMAGES}::TestFeatures::test_they_depend_on_their_image_alone",),
    ),
)

MUTATIONS = _OF_INITIAL_MODELS + _OF_REGISTRIES + _OF_NODES + _OF_ADAPTERS + _OF_BACKBONES
