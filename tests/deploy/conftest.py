import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/deploy/" in str(item.path):
            item.add_marker(pytest.mark.deploy)
            item.add_marker(pytest.mark.timeout(1500))
