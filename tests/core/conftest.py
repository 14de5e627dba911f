"""One small agent for all tests of the core: drawing it is compiled once."""

from __future__ import annotations

import os

import equinox as eqx
import jax
import pytest
from small_agent import setup_of

from sensei.core.agent import Setup, TrainState, make_agent, make_state

# Compiling is most of the work here, so the compiler need not try hard. Read at JAX's first use.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.fixture(scope="session")
def setup() -> Setup:
    """SENSEI with a task channel too: the semantic, disagreement and task channels."""
    return setup_of("sensei")


@pytest.fixture(scope="session")
def state(setup: Setup) -> TrainState:
    """A fresh state of ``setup``. ``train_step`` consumes its state: give it a copy."""

    @eqx.filter_jit
    def make() -> TrainState:
        k_agent, k_train = jax.random.split(jax.random.key(0))
        return make_state(setup, make_agent(setup, key=k_agent), key=k_train)

    return make()
