"""What a node checks before it acts: protocol, section 5, and rules (i) to (iv) of one view."""

from tests.mutants.mutation import Mutation

_FILE = "strategies/secagg/client/checks.py"
_GRAPH = "strategies/secagg/graph.py"
_HERE = "tests/strategies/secagg/"
_ROSTERS = (f"{_HERE}test_refused_rosters.py",)
_REFUSALS = (f"{_HERE}test_refusals.py",)
_VIEWS = (f"{_HERE}test_one_view.py",)
_SPARSE = (f"{_HERE}test_sparse_refusals.py",)
_NUMBERS = (f"{_HERE}test_graph.py",)


def _check(name: str, old: str, new: str, tests: tuple[str, ...]) -> Mutation:
    return Mutation(name, _FILE, old, new, tests)


def _graph(name: str, old: str, new: str) -> Mutation:
    return Mutation(name, _GRAPH, old, new, _NUMBERS)


def _degree(name: str, old: str, new: str) -> Mutation:
    return Mutation(name, "strategies/secagg/degree.py", old, new, (f"{_HERE}test_degree.py",))


def _roster(name: str, old: str, new: str) -> Mutation:
    return Mutation(name, "strategies/secagg/client/roster.py", old, new, _ROSTERS)


_OF_ROSTERS = (
    _roster("own-advert-may-be-another", "own_advert in roster.adverts", "own_advert"),
    _roster(
        "adverts-of-another-attempt-pass",
        "advert.attempt == attempt",
        "advert.attempt.run_id == attempt.run_id",
    ),
    _roster("a-node-twice-in-a-roster-passes", "a < b for a, b", "a <= b for a, b"),
    _roster(
        "any-key-passes",
        "require(not bad, RefusalReason.BAD_KEY",
        "require(True, RefusalReason.BAD_KEY",
    ),
    _roster(
        "any-share-key-passes",
        "hybrid=is_hybrid) for key in pair)",
        "hybrid=is_hybrid) for key in pair[:1])",
    ),
    _roster("equal-keys-pass", "len(set(keys)) == len(keys)", "keys"),
    _roster(
        "equal-commitments-pass",
        "for key in pair), advert.commitment))",
        "for key in pair),))",
    ),
    _roster("a-roster-of-one-under-the-floor-passes", "n >= floor", "n >= floor - 1"),
    _roster("the-server-tells-the-threshold", "told == due", "told[0] == due[0]"),
    _roster(
        "peers-may-run-other-code",
        "bundles <= trust.approved_bundles",
        "bundles & trust.approved_bundles",
    ),
    _roster("strangers-pass-in-a-roster", "all(name in id", "any(name in id"),
    _roster("one-organisation-is-two-nodes", "len(set(names)) == len(names)", "names"),
    _roster(
        "adverts-are-not-verified",
        "require(good, RefusalReason.BAD_SIGNATURE",
        "require(True, RefusalReason.BAD_SIGNATURE",
    ),
    _roster(
        "the-roster-of-a-request-is-of-another-attempt",
        "same = roster.attempt == request.attempt",
        "same = True",
    ),
    _roster(
        "a-share-key-of-the-servers-passes",
        "good = is_kem_key(peer.share_key, share_key)",
        "good = True",
    ),
    _roster(
        "a-mask-key-of-the-servers-passes",
        "good and is_kem_key(peer.mask_key, mask_key)",
        "good",
    ),
    _roster(
        "keys-that-nobody-needs-pass",
        "good and not mask_key",
        "good",
    ),
    _roster(
        "keys-of-strangers-pass",
        "len(shown) == len(peers) and",
        "",
    ),
    _roster(
        "a-neighbour-may-be-without-its-keys",
        " and all(peer.node_id in shown for peer in peers)",
        "",
    ),
)
_OF_COHORTS = (
    _check("u2-may-be-outside-u1", "set(cohort) <= set(members)", "cohort", _REFUSALS),
    _check("u2-may-leave-the-node-out", "require(node_id in cohort", "require(True", _REFUSALS),
    _check(
        "u2-of-one-under-the-floor-passes",
        "parameters.survivors(len(members))",
        "parameters.survivors(len(members)) - 1",
        _REFUSALS,
    ),
    _check(
        "a-model-is-opened-twice",
        "record.stage is Stage.REVEALED and record.model == model",
        "record.stage is Stage.CLOSED and record.model == model",
        (f"{_HERE}test_replays.py",),
    ),
)
_OF_SURVIVORS = (
    _check(
        "survivors-outside-u2-pass-at-confirm",
        "within = chosen <= set(secrets.cohort)",
        "within = True",
        _VIEWS,
    ),
    _check("u3-may-leave-the-node-out", "require(node_id in chosen", "require(True", _VIEWS),
    _check(
        "one-survivor-under-the-floor-passes-on-a-sparse-graph",
        "len(survivors) >= secrets.min_survivors",
        "len(survivors) >= secrets.min_survivors - 1",
        _SPARSE,
    ),
    _check(
        "one-neighbour-under-the-threshold-passes",
        "near >= secrets.floor",
        "near >= secrets.floor - 1",
        _SPARSE,
    ),
    _check(
        "survivors-need-not-be-masked-with", "chosen & set(secrets.rejected)", "()", _REFUSALS
    ),
    _check("both-shares-of-one-node", "require(not both,", "require(True,", _REFUSALS),
    _check(
        "dropouts-may-be-outside-u2",
        "within = survivors | dropouts <=",
        "within = survivors <=",
        _REFUSALS,
    ),
)
_OF_VIEWS = (
    _check(
        "a-node-unmasks-another-set-than-it-signed",
        "hash_nodes(request.survivors) == secrets.signed",
        "True",
        _VIEWS,
    ),
    _check(
        "who-signed-a-view-gives-shares-for-the-inputs",
        "stage is Stage.CONFIRMED",
        "request.views",
        _VIEWS,
    ),
    _check(
        "inputs-are-proof-though-somebody-dropped-out",
        "request.survivors == secrets.cohort and not request.dropouts",
        "True",
        _VIEWS,
    ),
    _check(
        "a-quorum-less-one-is-enough",
        "len(proofs) >= secrets.quorum",
        "len(proofs) >= secrets.quorum - 1",
        _VIEWS,
    ),
    _check(
        "signatures-of-a-view-are-not-verified",
        "require(good, RefusalReason.VIEW_BROKEN",
        "require(True, RefusalReason.VIEW_BROKEN",
        _VIEWS,
    ),
)
_OF_NUMBERS = (
    _graph("two-seeds-of-one-node-can-be-open", "if 2 * t <= m + c:", "if 2 * t < m + c:"),
    _graph("the-floor-may-be-under-the-threshold", "if minimum < t:", "if minimum < t - 1:"),
    _graph("two-quorums-may-be-apart", "// 2 + 1)", "// 2)"),
    _degree("a-sparse-graph-may-fall-apart", "PROBABILITY = 2.0**-40", "PROBABILITY = 1e-3"),
    _degree(
        "one-broken-place-in-two-is-looked-for",
        "comb(n, 2) * comb(gone, k)",
        "n * comb(gone, k)",
    ),
    _degree("colluders-hold-the-graph-together", "min(n, c + max(", "min(n, max("),
    _degree(
        "few-dropouts-are-taken-for-granted",
        "max(num_dropouts, n - min_survivors)",
        "num_dropouts",
    ),
    _degree("a-node-that-drops-out-needs-a-share-less", "k, k + 1 - t)", "k, k + 2 - t)"),
    _degree(
        "half-of-the-members-open-a-seed",
        "(num_members + max_colluding) // 2 + 1",
        "(num_members + max_colluding) // 2",
    ),
    _graph("the-ring-is-the-same-for-all-rosters", "derive(seed, Use", "derive(bytes(32), Use"),
)
MUTATIONS = (*_OF_ROSTERS, *_OF_COHORTS, *_OF_SURVIVORS, *_OF_VIEWS, *_OF_NUMBERS)
