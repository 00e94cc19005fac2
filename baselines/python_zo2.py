"""Python ZO2 (github.com/liangyuwang/zo2), or the resident MeZO of the same code, from a clone that you name.

    git clone https://github.com/liangyuwang/zo2 CLONE
    python baselines/python_zo2.py --clone CLONE --model opt-1.3b --untied --batch 1 --seq 2048 [--method mezo]

Needs transformers 4.51 (the clone subclasses its OPT) and a GPU. The calls are those of the clone's
test/mezo_sgd/hf_opt/test_speed.py; the time is that of the whole window, where that script prints a time a step.
"""

import importlib
import pathlib
import subprocess
import sys

import measure

URL = "https://github.com/liangyuwang/zo2"
TRANSFORMERS = "4.51."


def open_clone(clone: pathlib.Path):
    """(configuration class, module of the resident model, module of the offloaded one) of the clone."""
    if not (clone / "zo2" / "config" / "mezo_sgd.py").exists():
        raise measure.MissingError(f"{clone} is no clone of Python ZO2: no zo2/config/mezo_sgd.py is there; "
                                   f"git clone {URL}")
    version = measure.require("transformers", f"pip install 'transformers=={TRANSFORMERS}*'").__version__
    if not version.startswith(TRANSFORMERS):
        raise measure.MissingError(f"Python ZO2 needs transformers {TRANSFORMERS}*, found {version}")
    sys.path.insert(0, str(clone.resolve()))
    advice = f"the clone may need more packages, see {clone / 'env.yml'} or its README"
    config = measure.require("zo2.config.mezo_sgd", advice).MeZOSGDConfig
    models = measure.require("zo2.model.huggingface.opt.mezo_sgd", advice).__name__
    return config, importlib.import_module(f"{models}.zo"), importlib.import_module(f"{models}.zo2")


def commit_of(clone: pathlib.Path) -> str:
    done = subprocess.run(["git", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def mean_loss(loss_plus: float, gradient: float, eps: float) -> float:
    """The clone returns the first loss only; the second follows from the gradient (loss+ - loss-) / (2 eps)."""
    return loss_plus - eps * gradient


def run(options) -> dict:
    import torch

    config_class, resident, offloaded = open_clone(options.clone)
    device, synchronise = options.device, measure.open_device(options.device)
    print(f"Python ZO2 at commit {commit_of(options.clone)}", file=sys.stderr)
    model_config = measure.opt_config(options)
    zo_config = config_class(lr=options.lr, weight_decay=options.weight_decay, eps=options.eps,
                             zo2=options.method == "zo2", offloading_device="cpu", working_device=device)
    model_class = (offloaded if zo_config.zo2 else resident).OPTForCausalLM
    torch.manual_seed(options.seed)
    dtype = getattr(torch, measure.DTYPES[options.dtype])
    with measure.default_dtype(options.dtype):
        model = (model_class.from_pretrained(options.checkpoint, torch_dtype=dtype) if options.checkpoint
                 else model_class(model_config))
    if not zo_config.zo2:
        model = model.to(device)
    model.zo_init(zo_config)
    model.zo_train()
    tokens = measure.Tokens(options, model_config.vocab_size, device)

    def step():
        batch = tokens.next()
        loss = float(model(input_ids=batch, labels=batch))
        gradient = float(model.opt.projected_grad)
        return mean_loss(loss, gradient, options.eps), gradient

    metrics = measure.run_steps(step, options, synchronise)
    metrics["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    return metrics | measure.allocator_metrics(device)


def parse(arguments: list[str] | None = None):
    parser = measure.make_parser(__doc__.splitlines()[0])
    parser.add_argument("--clone", type=pathlib.Path, required=True, help=f"a clone of {URL}")
    parser.add_argument("--method", choices=("zo2", "mezo"), default="zo2",
                        help="mezo: all weights on the device, the clone's own baseline")
    parser.add_argument("--eps", type=float, default=1e-3, help="size of the perturbation")
    parser.add_argument("--device", default="cuda:0", help="cuda or cuda:N")
    return measure.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(measure.main(run, parse()))
