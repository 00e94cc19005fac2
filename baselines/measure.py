"""What the baselines share: arguments, OPT's shapes, data, the timed window and the line that they print.

A baseline runs one configuration of another system and prints one line, `RESULT {json}`, whose members are "device" and
metrics of src/experiment/metrics.cpp. `zo2 run` reads it (src/experiment/external.h) and measures device memory.
Exit codes: 0 measured, 1 out of device memory (RESULT {"state": "oom"}), 2 bad usage or something is missing.
"""

import argparse
import contextlib
import importlib
import json
import math
import pathlib
import sys
import time

MARKER = "RESULT "
# (layers, heads, hidden size); the rest follows, as in src/model/config.cpp.
SHAPES = {"opt-125m": (12, 12, 768), "opt-350m": (24, 16, 1024), "opt-1.3b": (24, 32, 2048), "opt-2.7b": (32, 32, 2560),
          "opt-6.7b": (32, 32, 4096), "opt-13b": (40, 40, 5120), "opt-30b": (48, 56, 7168), "opt-66b": (64, 72, 9216),
          "opt-175b": (96, 96, 12288)}
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


class MissingError(Exception):
    """Something that the user has to bring is not there: what, and how to get it."""


def make_parser(description: str) -> argparse.ArgumentParser:
    """Arguments that all baselines take, named and defaulted as the keys of a manifest."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", choices=SHAPES, default="opt-125m", help="a published shape, random weights")
    parser.add_argument("--checkpoint", type=pathlib.Path, help="a Hugging Face folder of an OPT, instead of --model")
    parser.add_argument("--untied", action="store_true", help="a head of its own instead of the token table")
    parser.add_argument("--dtype", choices=DTYPES, default="fp16")
    parser.add_argument("--batch", type=at_least(1), default=1, help="sequences a step")
    parser.add_argument("--seq", type=at_least(1), default=2048, help="tokens a sequence")
    parser.add_argument("--steps", type=at_least(1), default=30, help="steps, warm-up included")
    parser.add_argument("--warmup", type=int, default=15, help="steps before the timed window")
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=42, help="of weights, tokens and directions")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    options = parser.parse_args(arguments)
    if not 0 <= options.warmup < options.steps:
        parser.error(f"--warmup must be at least 0 and less than --steps ({options.steps}), found {options.warmup}")
    if options.checkpoint and options.untied:
        parser.error("a checkpoint keeps the head that it has: --untied is for random weights")
    if options.checkpoint and not (options.checkpoint / "config.json").exists():
        parser.error(f"{options.checkpoint} is no Hugging Face folder: it has no config.json")
    return options


def at_least(least: int):
    """Reads a count of at least that, for argparse."""
    def count(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a count of at least {least}, found {text}")
        return value

    return count


def require(module: str, advice: str):
    """The module. Throws MissingError with the advice where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(f"{module} cannot be imported ({error}): {advice}") from error


def opt_config(options: argparse.Namespace):
    """The transformers configuration of --checkpoint, or of --model."""
    transformers = require("transformers", "pip install 'transformers==4.51.*'")
    if options.checkpoint:
        return transformers.OPTConfig.from_pretrained(options.checkpoint)
    layers, heads, hidden = SHAPES[options.model]
    small = {"word_embed_proj_dim": 512, "do_layer_norm_before": False} if options.model == "opt-350m" else {}
    return transformers.OPTConfig(num_hidden_layers=layers, num_attention_heads=heads, hidden_size=hidden,
                                  ffn_dim=4 * hidden, max_position_embeddings=max(2048, options.seq), dropout=0.0,
                                  tie_word_embeddings=not options.untied, **small)


class Tokens:
    """Random tokens, another batch each step: [batch, seq] on the device."""

    def __init__(self, options: argparse.Namespace, vocab_size: int, device: str):
        self.torch = require("torch", "pip install torch")
        self.generator = self.torch.Generator().manual_seed(options.seed)
        self.vocab_size, self.size, self.device = vocab_size, (options.batch, options.seq), device

    def next(self):
        return self.torch.randint(0, self.vocab_size, self.size, generator=self.generator).to(self.device)


def run_steps(step, options: argparse.Namespace, synchronise) -> dict:
    """Runs the steps and returns their metrics.

    `step()` returns (loss, projected gradient), either None where the method has no such thing; `synchronise()` waits
    for the device. The window after warm-up is synchronised at its two ends only.
    """
    losses, gradients = [], []
    for index in range(options.steps):
        if index == options.warmup:
            synchronise()
            begin = time.perf_counter()
        loss, gradient = step()
        losses.append(loss)
        gradients.append(gradient)
    synchronise()
    return window_metrics(options, time.perf_counter() - begin, losses, gradients)


def window_metrics(options: argparse.Namespace, seconds: float, losses: list, gradients: list) -> dict:
    """seconds: of the steps after warm-up."""
    steps = options.steps - options.warmup
    metrics = {"tokens_per_s": options.batch * options.seq * steps / seconds, "step_ms_mean": seconds / steps * 1e3,
               "window_steps": steps}
    if losses[0] is not None:
        metrics |= {"loss_first": losses[0], "loss_last": losses[-1]}
    if gradients[0] is not None:
        good = sum(math.isfinite(gradient) and gradient != 0 for gradient in gradients)
        metrics["gradient_nonzero_fraction"] = good / len(gradients)
    return metrics


def result_line(result: dict) -> str:
    """Floats read back to the same bits; non-finite ones are the strings "nan", "inf" and "-inf", as in records."""
    plain = {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
             for name, value in result.items()}
    return MARKER + json.dumps(plain, allow_nan=False)


def allocator_metrics(device: str) -> dict:
    """What LibTorch's caching allocator took; nothing on a CPU."""
    torch = require("torch", "pip install torch")
    if not device.startswith("cuda"):
        return {}
    return {"allocator_reserved_peak_bytes": torch.cuda.max_memory_reserved(),
            "allocator_allocated_peak_bytes": torch.cuda.max_memory_allocated()}


def main(measure, options: argparse.Namespace) -> int:
    """Prints what measure(options) returns, or why there is nothing to print."""
    try:
        torch = require("torch", "pip install torch")
        print(result_line(measure(options) | {"device": options.device.split(":")[0]}), flush=True)
        return 0
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.cuda.OutOfMemoryError as error:
        print(f"error: {error}", file=sys.stderr)
        print(result_line({"state": "oom"}), flush=True)
        return 1


def open_device(device: str):
    """The function that waits for the device. Throws MissingError for a GPU that is not there."""
    torch = require("torch", "pip install torch")
    if not device.startswith("cuda"):
        return lambda: None
    if not torch.cuda.is_available():
        raise MissingError(f"device {device}: torch {torch.__version__} sees no GPU")
    return torch.cuda.synchronize


@contextlib.contextmanager
def default_dtype(name: str):
    """New floating-point tensors have this dtype meanwhile."""
    torch = require("torch", "pip install torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, DTYPES[name]))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
