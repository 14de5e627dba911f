"""A real server of the System One wire: transformers serve, with a small random LLaVA.

It wants an interpreter of its own, since torch takes more than a gigabyte:

    python -m venv serve && serve/bin/pip install torch==2.13.0 'transformers[serving]' pillow
    TRANSFORMERS_PYTHON=serve/bin/python pytest -m slow tests/annotate/test_transformers_serve.py
"""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate

PAIRS = 8
PATIENCE_S = 500

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of the server and the model's name, which is its folder."""
    if not (python := os.environ.get("TRANSFORMERS_PYTHON")):
        pytest.skip("TRANSFORMERS_PYTHON does not name a python with torch and transformers")
    folder = tmp_path_factory.mktemp("serve")
    model, cache, port = folder / "llava", folder / "cache", _free_port()
    (cache / "hub").mkdir(parents=True)
    env = os.environ | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).with_name("tiny_llava.py")
    subprocess.run([python, script, model], check=True, env=env)
    command = [Path(python).with_name("transformers"), "serve", model]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"], env=env
    ) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/health", server)
            yield f"http://127.0.0.1:{port}/v1", str(model)
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _wait(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer in {PATIENCE_S} s")


def test_auto_finds_system_one_and_the_pictures_are_seen(noise_store, served):
    url, model = served
    config = AnnotatorConfig(
        kind="vlm", base_url=url, model=model, prompt="generic", orders="both", concurrency=2
    )
    summary = annotate(noise_store, build_annotator(config), config)
    assert (summary.asked, summary.failed, summary.wire) == (2 * PAIRS, 0, "systemone")
    assert summary.labelled > 0  # of the others it says, at random, that it cannot tell
    # No decisions, no field of images, and one question without pictures, which is shorter.
    assert summary.requests == 2 * PAIRS + 3
    answers = noise_store.answers()
    assert np.all(answers.tokens > 100)
    np.testing.assert_allclose(answers.probabilities.sum(1), 1.0, atol=1e-4)
    # It looks at the pictures, each pair's and each order's.
    assert len(np.unique(answers.probabilities.round(6), axis=0)) == 2 * PAIRS
