"""Embedding on a cluster: the texts and keys of the local step, and a model that each machine finds."""

from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest
import torch

from feature_repo.item_text import TEXT_COLUMNS, item_text
from jobs import text_encoder
from jobs.embed_on_spark import bring, described, encoded, encoder, found
from jobs.text_encoder import TextEncoder, device_here, fingerprint

pytestmark = pytest.mark.gcp


def test_texts_and_keys_are_those_of_the_local_step():
    """What pandas has for a missing value is none; equal texts have equal keys, as in the local cache."""
    rows = [
        {"item_id": "1", "title": "Green Tea", "category_1": "GROCERY", "brand": None, "size": np.nan},
        {"item_id": "2", "title": "GREEN TEA", "category_1": "Grocery"},
        {"item_id": "3", "title": "Crème 日本茶", "category_1": None},
    ]
    frame = pd.DataFrame(rows, columns=["item_id", "event_timestamp", *TEXT_COLUMNS])
    (told,) = described(iter([frame]))
    known = [{name: value for name, value in row.items() if isinstance(value, str)} for row in rows]
    assert told["text"].tolist() == [item_text(row) for row in known]
    assert told["text_key"].tolist() == [
        blake2b(text.encode(), digest_size=16).digest() for text in told["text"]
    ]


def test_a_model_in_the_lake_is_brought_to_each_machine(spark, tmp_path):
    """Driver and workers find the same files; one that is named by a folder is left where it is."""
    model = tmp_path / "models" / "my-bert"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    brought = bring(spark, f"file://{model}/")
    assert fingerprint(found(brought)) == fingerprint(model)
    assert found(brought) != model

    def of_worker(frames):
        for frame in frames:
            yield frame.assign(print=[fingerprint(found(brought))] * len(frame))

    (row,) = spark.range(1).mapInPandas(of_worker, "id long, print string").collect()
    assert row["print"] == fingerprint(model)
    assert (bring(spark, str(model)), found(str(model))) == (str(model), model)
    assert bring(spark, None) is None


def test_a_worker_loads_its_model_once_in_float32(monkeypatch):
    """Whatever the CPU has, and for however many frames; vectors go with the keys of their texts."""
    loads = []

    class Lengths:
        def encode(self, texts):
            return np.array([[len(text)] for text in texts], np.float32)

    def load(_, **options):
        loads.append(options)
        return Lengths()

    monkeypatch.setattr(text_encoder, "load_encoder", load)
    encoder.cache_clear()
    frames = [pd.DataFrame({"text": ["a", "bb"] * 700, "text_key": [b"1", b"2"] * 700}) for _ in range(2)]
    told = pd.concat(encoded(iter(frames), model=None, gpu=True))
    encoder.cache_clear()
    assert loads == [{"threads": 1, "bfloat16": False, "device": "cpu"}]
    assert {key: vector.tolist() for key, vector in zip(told["text_key"], told["vector"], strict=True)} == {
        b"1": [1.0],
        b"2": [2.0],
    }
    assert len(told) == 2_800


def test_a_gpu_is_used_where_it_is_wanted_and_there(monkeypatch):
    """Elsewhere the CPU is."""
    for there, wanted, device in ((True, True, "cuda"), (True, False, "cpu"), (False, True, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_here(gpu=wanted) == device


def test_tokens_go_to_the_models_device():
    """The meta device stands in for a GPU: it refuses what lies on another device."""
    seen = []

    class Tokenizer:
        model_max_length = 8

        def __call__(self, texts, **_):
            return {"input_ids": [[1, 2]] * len(texts), "attention_mask": [[1, 1]] * len(texts)}

        def pad(self, rows, **_):
            from transformers import BatchEncoding

            return BatchEncoding({name: torch.tensor(values) for name, values in rows.items()})

    class Model:
        class config:  # noqa: N801 - as transformers has it
            hidden_size = 3

        def __call__(self, **batch):
            seen.extend(tensor.device.type for tensor in batch.values())
            raise RuntimeError("far enough")

    with pytest.raises(RuntimeError, match="far enough"):
        TextEncoder(Tokenizer(), Model(), 1, device="meta").encode(["tea"])
    assert seen == ["meta", "meta"]
