import pytest

# What these modules assert is told in full, as in the tests themselves.
pytest.register_assert_rewrite("tests.e2e.clients", "tests.server_process", "tests.waiting")
