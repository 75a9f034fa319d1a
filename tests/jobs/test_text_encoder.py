"""The encoder: the vectors of a naive reading, one text at a time, whatever the batch and the precision."""

from pathlib import Path

import numpy as np
import pytest

from jobs import text_encoder
from jobs.text_encoder import ModelError, fingerprint, has_native_bfloat16, load_encoder, model_folder

TEXTS = [
    "kids cereal, cold, grocery, private, 14.5 oz",
    "tea",
    "unknown product",
    "crème brûlée, гречка 日本茶",
    "",
    "x" * 400,
    " ".join(f"word{n}" for n in range(300)),
    *(f"soft drink {n} pack, 12 oz" for n in range(13)),
]


@pytest.fixture(scope="module")
def naive() -> np.ndarray:
    """One text at a time through AutoModel in float32: mean over the tokens, then length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(model_folder())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    rows = []
    for text in TEXTS:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=128)
        with torch.no_grad():
            row = model(**tokens).last_hidden_state[0].mean(dim=0).numpy()
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def test_batches_equal_single_texts(naive: np.ndarray):
    """In float32 a batch of texts of mixed lengths gives the naive vectors to 1e-5, in the texts' order."""
    encoder = load_encoder(model_folder(), threads=2)
    assert encoder.precision == "float32"
    np.testing.assert_allclose(encoder.encode(TEXTS), naive, atol=1e-5)


def test_bfloat16_keeps_the_direction(naive: np.ndarray):
    """Half as many bits turn no vector by more than a cosine of .999; lengths stay 1."""
    encoder = load_encoder(model_folder(), threads=1, sample=TEXTS, bfloat16=True)
    vectors = encoder.encode(TEXTS)
    assert encoder.precision == "bfloat16"
    assert encoder.checked_cosine > 0.9995
    assert (vectors * naive).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_bfloat16_is_dropped_when_it_changes_the_vectors(monkeypatch: pytest.MonkeyPatch):
    """A model that bfloat16 does not suit is run in float32."""
    monkeypatch.setattr(text_encoder, "MIN_COSINE", 1.1)
    assert load_encoder(model_folder(), threads=1, sample=["tea"], bfloat16=True).precision == "float32"


def test_no_texts_give_no_vectors():
    """An empty list gives an empty matrix of the model's dimension."""
    assert load_encoder(model_folder(), threads=1).encode([]).shape == (0, 384)


def test_advance_hears_of_every_text():
    """What `advance` was told adds up to the number of texts."""
    heard: list[int] = []
    load_encoder(model_folder(), threads=2).encode(TEXTS * 4, heard.append)
    assert sum(heard) == 80
    assert len(heard) == 2  # batches of 64


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("flags : avx512f avx512_bf16 sse", True), ("flags : amx_bf16", True), ("flags : avx512f avx2", False)],
)
def test_bfloat16_needs_a_cpu_that_has_it(tmp_path: Path, flags: str, expected: bool):
    """Only native multiplication counts; a machine that lists no flags has none."""
    (tmp_path / "cpuinfo").write_text(flags)
    assert has_native_bfloat16(tmp_path / "cpuinfo") is expected
    assert not has_native_bfloat16(tmp_path / "absent")


@pytest.mark.parametrize("model", ["/no/such/folder", "./nowhere", "just-a-name", "a/b/c"])
def test_missing_folder_is_named(model: str):
    """A path that does not exist is an error which repeats it and says what to give."""
    with pytest.raises(ModelError, match=f"{model}.*give an existing folder or a Hugging Face"):
        model_folder(model)


def test_folder_without_a_model_is_named(tmp_path: Path):
    """A folder without config.json is no model."""
    with pytest.raises(ModelError, match=r"No config\.json in"):
        model_folder(str(tmp_path))


def test_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    """Without a network a model by name is an error that names the way around it."""
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=r"Cannot fetch the model 'owner/name'.*--model FOLDER"):
        model_folder("owner/name")


def test_model_by_name_is_fetched_once_and_read_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A Hugging Face name becomes the folder that the hub's client returns."""
    import huggingface_hub

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda _name, **_: str(tmp_path))
    assert model_folder("owner/name") == tmp_path


def test_unreadable_model_is_named(tmp_path: Path):
    """A folder whose config is no BERT is an error that names the folder."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="Cannot read the model in"):
        load_encoder(tmp_path, threads=1)


def test_fingerprint_follows_the_content(tmp_path: Path):
    """Equal files give equal fingerprints; another weight, tokenizer or recipe gives another one."""
    seen = []
    for config, weights in [("{}", b"1"), ("{}", b"1"), ("{}", b"2"), ('{"a": 1}', b"1")]:
        (tmp_path / "config.json").write_text(config)
        (tmp_path / "model.safetensors").write_bytes(weights)
        seen.append(fingerprint(tmp_path))
    (tmp_path / "README.md").write_text("not part of the model")
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert fingerprint(tmp_path) == seen[3]
