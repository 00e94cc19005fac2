"""MeZO on plain Hugging Face transformers, all weights on the device.

The algorithm of arXiv 2305.17333 as its released code has it (princeton-nlp/MeZO, large_models/trainer.py): perturbed
and updated in place in the weights' dtype, a direction drawn anew from the step's seed each of the four times that it
is needed. In-place arithmetic where the released code makes new tensors, so that it is no slower and no larger.

    python baselines/mezo_hf.py --model opt-1.3b --untied --batch 1 --seq 2048

Needs torch and transformers (tried: 4.51).
"""

import random
import sys

import measure


class Mezo:
    """MeZO-SGD over named parameters."""

    def __init__(self, named_parameters, *, eps: float, lr: float, weight_decay: float, seed: int):
        self.torch = measure.require("torch", "pip install torch")
        self.parameters = list(named_parameters)
        self.eps, self.lr, self.weight_decay = eps, lr, weight_decay
        self.seeds = random.Random(seed)
        self.generator = self.torch.Generator(device=self.parameters[0][1].device)

    def directions(self, seed: int):
        """(name, parameter, direction) one after another: the same for the same seed."""
        self.generator.manual_seed(seed)
        for name, parameter in self.parameters:
            yield name, parameter, self.torch.empty_like(parameter).normal_(generator=self.generator)

    def perturb(self, seed: int, scale: float) -> None:
        for _, parameter, direction in self.directions(seed):
            parameter.add_(direction, alpha=scale * self.eps)

    def update(self, seed: int, gradient: float) -> None:
        """Biases and norms do not decay."""
        for name, parameter, direction in self.directions(seed):
            if not any(part in name for part in ("bias", "layer_norm", "layernorm")):
                parameter.mul_(1 - self.lr * self.weight_decay)
            parameter.add_(direction, alpha=-self.lr * gradient)

    def step(self, loss_of) -> tuple[float, float]:
        """One step on the data of loss_of(): (mean of the two losses, projected gradient)."""
        with self.torch.inference_mode():
            seed = self.seeds.randrange(10**9)
            self.perturb(seed, 1)
            plus = loss_of()
            self.perturb(seed, -2)
            minus = loss_of()
            self.perturb(seed, 1)
            gradient = ((plus - minus) / (2 * self.eps)).item()
            self.update(seed, gradient)
        return (plus.item() + minus.item()) / 2, gradient


def load_model(options, device: str):
    """An OPT in eval mode on the device, its random weights drawn there."""
    import torch

    config = measure.opt_config(options)
    from transformers import OPTForCausalLM

    if options.checkpoint:
        dtype = getattr(torch, measure.DTYPES[options.dtype])
        return OPTForCausalLM.from_pretrained(options.checkpoint, torch_dtype=dtype).to(device).eval()
    torch.manual_seed(options.seed)
    with measure.default_dtype(options.dtype), torch.device(device):
        return OPTForCausalLM(config).eval()


def run(options) -> dict:
    device, synchronise = options.device, measure.open_device(options.device)
    model = load_model(options, device)
    # named_parameters names a tied table once.
    mezo = Mezo(model.named_parameters(), eps=options.eps, lr=options.lr, weight_decay=options.weight_decay,
                seed=options.seed)
    tokens = measure.Tokens(options, model.config.vocab_size, device)

    def step():
        batch = tokens.next()
        return mezo.step(lambda: model(input_ids=batch, labels=batch, use_cache=False).loss)

    metrics = measure.run_steps(step, options, synchronise)
    metrics["parameters"] = sum(parameter.numel() for _, parameter in mezo.parameters)
    return metrics | measure.allocator_metrics(device)


def parse(arguments: list[str] | None = None):
    parser = measure.make_parser(__doc__.splitlines()[0])
    parser.add_argument("--eps", type=float, default=1e-3, help="size of the perturbation")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    return measure.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(measure.main(run, parse()))
