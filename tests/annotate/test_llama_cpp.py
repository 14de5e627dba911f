"""A real server: llama.cpp with a vision model, small and random, that the test writes itself."""

import dataclasses

import numpy as np
import pytest
import tiny_gguf

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.quality import quality
from sensei.annotate.run import annotate

PAIRS = 8

xllamacpp = pytest.importorskip("xllamacpp", reason="no wheel of xllamacpp for this platform")


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    """The address of a llama.cpp server with one thread, up while the module's tests run."""
    params = xllamacpp.CommonParams()
    model, projector = tiny_gguf.write(tmp_path_factory.mktemp("model"))
    params.model.path, params.mmproj.path = str(model), str(projector)
    params.model_alias = {"tiny"}
    params.hostnames, params.ui, params.warmup = ["127.0.0.1"], False, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_ctx, params.n_parallel, params.verbosity = tiny_gguf.CONTEXT, 1, 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def configure(base_url: str, wire: str) -> AnnotatorConfig:
    return AnnotatorConfig(
        kind="vlm", base_url=base_url, prompt="generic", wire=wire, orders="both", concurrency=2
    )


def test_auto_finds_log_probabilities_and_the_order_is_measured(noise_store, base_url):
    config = configure(base_url, "auto")
    summary = annotate(noise_store, build_annotator(config), config)
    assert (summary.asked, summary.labelled, summary.wire) == (2 * PAIRS, 2 * PAIRS, "logprobs")
    # A route that is not there and two pictures' fields that are not implemented, each asked once.
    assert summary.requests == 2 * PAIRS + 3
    answers, labels = noise_store.answers(), noise_store.labels()
    assert np.all(answers.tokens > 100) and np.all(answers.latency_s > 0)
    assert len(np.unique(answers.p_second)) > PAIRS  # it looks at the pictures
    swapped = answers.shown == "swapped"
    one, other = answers.p_second[~swapped], answers.p_second[swapped]
    np.testing.assert_allclose(labels.y, (one + 1 - other) / 2, atol=1e-6)
    turned = (one > 0.5) == (other > 0.5)  # the same place, thus another picture
    measured = quality(noise_store).order_inconsistency
    assert measured is not None and measured.n == PAIRS
    assert measured.value == np.mean(turned)


def test_the_same_question_has_the_same_answer_over_json(noise_store, base_url):
    config = dataclasses.replace(configure(base_url, "json"), repeats=2)
    annotate(noise_store, build_annotator(config), config)
    agreement = quality(noise_store).self_agreement
    assert agreement is not None and agreement.share.value == 1.0
    assert set(noise_store.answers().wire) == {"json"}
