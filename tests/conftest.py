"""What all tests share: slow ones run only when asked for, and every test leaves kernels and threads as it
found them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import fastopt as fo
from fastopt._core import runtime

settings.register_profile(
    "fastopt", deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("fastopt")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" not in (config.getoption("-m") or ""):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


@pytest.fixture(autouse=True)
def _engine_as_it_was() -> Iterator[None]:
    isa, threads = runtime.isa(), fo.get_num_threads()
    yield
    runtime.use_isa(isa)
    fo.set_num_threads(threads)
