"""DeepSpeed ZeRO-Infinity: first-order training with weights and optimizer state in host memory, one GPU.

    python baselines/deepspeed_zero_infinity.py --model opt-1.3b --untied --batch 1 --seq 2048 [--zero KEY=VALUE]...

ZeRO stage 3 with parameters and AdamW's state offloaded to page-locked host memory (arXiv 2104.07857) and activations
recomputed in the backward pass, as one would fine-tune a model that does not fit. It takes gradients, so losses are no
rival's; speed and memory are. Needs deepspeed, accelerate, transformers and a compiler for DeepSpeed's CPU Adam.
"""

import argparse
import json
import os
import socket
import sys

import measure


def zero_setting(text: str) -> tuple[str, object]:
    """KEY=VALUE with a JSON value, e.g. stage3_max_live_parameters=100000000."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {text}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{key}: expected a JSON value, found {value}") from error


def deepspeed_config(options) -> dict:
    """What deepspeed.initialize takes (https://www.deepspeed.ai/docs/config-json)."""
    config = {
        "train_micro_batch_size_per_gpu": options.batch,
        "gradient_accumulation_steps": 1,
        "steps_per_print": options.steps + 1,  # never
        "optimizer": {"type": "AdamW", "params": {"lr": options.lr, "weight_decay": options.weight_decay}},
        "zero_optimization": {
            "stage": 3,
            "offload_param": {"device": "cpu", "pin_memory": True},
            "offload_optimizer": {"device": "cpu", "pin_memory": True},
            "overlap_comm": True,
            "contiguous_gradients": True,
        } | dict(options.zero),
    }
    if options.dtype != "fp32":
        config[options.dtype] = {"enabled": True}
    return config


def single_process_environment() -> None:
    """What a launcher would set for one process; a launcher's own settings stay."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": port}.items():
        os.environ.setdefault(name, str(value))


def run(options) -> dict:
    deepspeed = measure.require("deepspeed", "pip install deepspeed accelerate")
    measure.require("accelerate", "pip install accelerate")
    import torch

    synchronise = measure.open_device(options.device)
    single_process_environment()
    deepspeed.init_distributed()
    config = deepspeed_config(options)
    model_config = measure.opt_config(options)
    from transformers import AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    # While this object lives, transformers makes a model's weights partitioned and in host memory from the start.
    partitioned = HfDeepSpeedConfig(config)
    torch.manual_seed(options.seed)
    dtype = getattr(torch, measure.DTYPES[options.dtype])
    model = (AutoModelForCausalLM.from_pretrained(options.checkpoint, torch_dtype=dtype) if options.checkpoint
             else AutoModelForCausalLM.from_config(model_config, torch_dtype=dtype))
    if not options.keep_activations:
        model.gradient_checkpointing_enable()
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
    engine.train()
    tokens = measure.Tokens(options, model_config.vocab_size, options.device)

    def step():
        batch = tokens.next()
        loss = engine(input_ids=batch, labels=batch, use_cache=False).loss
        engine.backward(loss)
        engine.step()
        return None, None  # its loss is not the mean of two perturbed ones, and its gradient is no projection

    metrics = measure.run_steps(step, options, synchronise)
    # A partitioned parameter is empty here; DeepSpeed keeps its size beside it.
    metrics["parameters"] = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())
    del partitioned
    return metrics | measure.allocator_metrics(options.device)


def parse(arguments: list[str] | None = None):
    parser = measure.make_parser(__doc__.splitlines()[0])
    parser.add_argument("--zero", type=zero_setting, action="append", default=[], metavar="KEY=VALUE",
                        help="of zero_optimization, over what this script sets; may be given often")
    parser.add_argument("--device", default="cuda", help="cuda; cpu where DeepSpeed's accelerator is the CPU")
    parser.add_argument("--keep-activations", action="store_true", help="do not recompute activations")
    return measure.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(measure.main(run, parse()))
