import pytest

from deploy.trial import Trial


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/deploy/" in str(item.path):
            item.add_marker(pytest.mark.deploy)
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def federation(tmp_path_factory):
    """Three nodes on this machine: TLS, node authentication, identities and guards."""
    with Trial(tmp_path_factory.mktemp("federation"), 3, max_epsilon=50) as federation:
        yield federation
