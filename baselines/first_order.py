"""First-order fine-tuning of a Hugging Face checkpoint on a prepared task: the ceiling for zeroth-order accuracies.

What MeZO's authors run for it (arXiv 2305.17333; princeton-nlp/MeZO, large_models/finetune.sh, which leaves the rest to
transformers' Trainer): AdamW with betas 0.9 and 0.999, batch 8, 5 epochs, a learning rate that falls linearly to 0, no
weight decay, gradients clipped to norm 1, the model's dropout on, an evaluation each epoch, the weights with the lowest
dev loss kept. Examples, prompts, losses and scores are those of `zo2 train` and `zo2 eval`, from the same files. Ours:
float32 throughout (theirs is mixed with float16), and the order of the batches. --steps 0 evaluates the checkpoint as it is.

    python baselines/first_order.py --model opt-1.3b --task sst2 --lr 1e-5 --steps 625 --eval-every 125

Needs torch and transformers (tried: 4.57).
"""

import argparse
import dataclasses
import itertools
import math
import pathlib
import sys
from collections.abc import Iterator

import measure

try:
    import torch
except ImportError:  # run() says what to do
    torch = None

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scripts"))

MAX_GRADIENT_NORM = 1.0
EVALUATION_SEQUENCES = 32  # of a batch


class DivergedError(Exception):
    """The loss is not finite: after which step."""


@dataclasses.dataclass
class Evaluation:
    """right, n: of the examples' candidates; n is 0 where the task has none."""
    loss: float
    right: int = 0
    n: int = 0

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}" + (f", accuracy {self.accuracy:.4f} ({self.right} of {self.n})" if self.n else "")


def label_scores(model, sequences):
    """(sums [n], counts [n]): of each sequence's labels the sum of their log-probabilities, and how many they are."""
    device = model.device
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)  # right-padded
    mask = torch.zeros_like(ids)
    rows, columns, targets = [], [], []
    for row, sequence in enumerate(sequences):
        ids[row, :len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, :len(sequence.ids)] = 1
        for position in range(max(1, sequence.label_begin), sequence.label_end):
            rows.append(row)
            columns.append(position - 1)  # where it is predicted
            targets.append(sequence.ids[position])
    hidden = model.base_model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).last_hidden_state
    # The head is applied to the labels' positions only: logits of all of them would be most of the memory.
    logits = model.get_output_embeddings()(hidden[rows, columns])
    scores = -torch.nn.functional.cross_entropy(logits.float(), torch.tensor(targets, device=device), reduction="none")
    owners = torch.tensor(rows, device=device)
    return (torch.zeros(len(sequences), device=device).index_add(0, owners, scores),
            torch.bincount(owners, minlength=len(sequences)))


def candidate_losses(means, examples) -> list:
    """Of each example the cross-entropy with its candidates' mean log-probabilities (means [candidates of all]) as logits."""
    parts = means.split([len(example.sequences) for example in examples])
    return [torch.nn.functional.cross_entropy(part, torch.tensor(example.right[0], device=means.device))
            for part, example in zip(parts, examples, strict=True)]


def batch_loss(model, examples, objective: str):
    """What a step lowers, as src/runtime has it: lm, the mean over the right candidates' tokens; candidates, over examples."""
    if objective == "lm":
        sums, counts = label_scores(model, [example.sequences[example.right[0]] for example in examples])
        return -sums.sum() / counts.sum()
    sums, counts = label_scores(model, [sequence for example in examples for sequence in example.sequences])
    return torch.stack(candidate_losses(sums / counts, examples)).mean()


def evaluate(model, examples, *, candidates: bool, objective: str) -> Evaluation:
    """As src/task/evaluation.h: an example is right when a right candidate has the highest mean log-probability."""
    model.eval()
    wanted = [sequence for example in examples
              for sequence in (example.sequences if candidates else [example.sequences[example.right[0]]])]
    sums, counts = torch.empty(len(wanted), dtype=torch.double), torch.empty(len(wanted), dtype=torch.long)
    by_length = sorted(range(len(wanted)), key=lambda i: len(wanted[i].ids))
    with torch.inference_mode():
        for begin in range(0, len(wanted), EVALUATION_SEQUENCES):
            batch = by_length[begin:begin + EVALUATION_SEQUENCES]
            found, labels = label_scores(model, [wanted[i] for i in batch])
            sums[batch], counts[batch] = found.double().cpu(), labels.cpu()
    if not candidates:
        return Evaluation(-(sums.sum() / counts.sum()).item())
    means = sums / counts
    sizes = [len(example.sequences) for example in examples]
    right = sum(part.argmax().item() in example.right
                for part, example in zip(means.split(sizes), examples, strict=True))
    if objective == "candidates":
        loss = torch.stack(candidate_losses(means, examples)).mean()
    else:
        begins = itertools.accumulate(sizes, initial=0)
        firsts = [begin + example.right[0] for begin, example in zip(begins, examples)]
        loss = -sums[firsts].sum() / counts[firsts].sum()
    return Evaluation(loss.item(), right, len(examples))


def batches(examples: list, size: int, seed: int) -> Iterator[list]:
    """A fresh order each epoch; the last, short batch of an epoch is kept."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(examples), generator=generator).tolist()
        for begin in range(0, len(order), size):
            yield [examples[i] for i in order[begin:begin + size]]


def train(model, examples, options, evaluate_dev) -> dict:
    """Trains and leaves the model with the weights that were selected; returns metrics."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    decline = (lambda step: 1 - step / options.steps) if options.schedule == "linear" else (lambda step: 1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, decline)
    best_loss, best_weights = math.inf, None
    metrics = {"steps": options.steps, "selected_step": options.steps}
    source = batches(examples, options.batch, options.seed)
    for step in range(1, options.steps + 1):
        model.train()
        loss = batch_loss(model, next(source), options.objective)
        if not math.isfinite(loss.item()):
            raise DivergedError(f"step {step}: the loss is {loss.item()}")
        metrics.setdefault("loss_first", loss.item())
        metrics["loss_last"] = loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if evaluate_dev is None or not (step == options.steps or step % options.eval_every == 0):
            continue
        found = evaluate_dev()
        print(f"step {step}: training loss {loss.item():.4f}; dev {found}", file=sys.stderr, flush=True)
        if options.select == "dev_loss" and found.loss < best_loss:
            best_loss, metrics["selected_step"] = found.loss, step
            best_weights = {name: value.to("cpu", copy=True) for name, value in model.state_dict().items()}
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return metrics


def open_task(folder: pathlib.Path, objective: str, splits: list[str]):
    """The prepared task. Raises MissingError where it is none, or has no such split or objective."""
    prepared = measure.require("task_data.prepared", "pip install tokenizers Jinja2 PyYAML")
    try:
        task = prepared.open_task(folder)
    except (prepared.InputError, OSError) as error:
        raise measure.MissingError(str(error)) from error
    for split in splits:
        if split not in task.splits:
            raise measure.MissingError(f"{folder} has no split {split}, only {', '.join(task.splits)}: prepare it with one")
    if objective == "candidates" and task.manifest["kind"] != "candidates":
        raise measure.MissingError(f"task {task.manifest['task']} has no candidates: its objective is lm")
    return task


def load_model(folder: pathlib.Path, task, device: str):
    """The checkpoint in float32. Raises MissingError where the task does not fit it."""
    transformers = measure.require("transformers", "pip install 'transformers==4.57.*'")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).float().to(device)
    longest = max(claims["longest"] for claims in task.manifest["splits"].values())
    positions, vocabulary = model.config.max_position_embeddings, task.manifest["tokenizer"]["vocab_size"]
    if longest > positions:
        raise measure.MissingError(f"the longest sequence of the task has {longest} tokens, {folder} has {positions} "
                                   f"positions: prepare the task with --max-length {positions}")
    if vocabulary > model.config.vocab_size:
        raise measure.MissingError(f"the task's tokenizer has {vocabulary} entries, {folder} has "
                                   f"{model.config.vocab_size}: prepare the task with the model's tokenizer")
    return model


def run(options) -> dict:
    measure.require("torch", "pip install torch")
    measure.require("transformers", "pip install 'transformers==4.57.*'")
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    measure.open_device(options.device)
    evaluated = options.steps > 0 and options.eval_every > 0
    splits = ["eval"] + ["train"] * (options.steps > 0) + ["dev"] * evaluated
    task = open_task(options.task, options.objective, splits)
    torch.manual_seed(options.seed)  # dropout
    model = load_model(options.model, task, options.device)

    def evaluation_of(split: str) -> Evaluation:
        return evaluate(model, task.splits[split], candidates=task.manifest["kind"] == "candidates",
                        objective=options.objective)

    metrics = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    if options.steps > 0:
        try:
            metrics |= train(model, task.splits["train"], options, (lambda: evaluation_of("dev")) if evaluated else None)
        except DivergedError as error:
            return metrics | {"state": "diverged", "error": str(error)}
    found = evaluation_of("eval")
    print(f"eval {found}", file=sys.stderr, flush=True)
    metrics["test_loss"] = found.loss
    if found.n > 0:
        metrics |= {"test_accuracy": found.accuracy, "test_examples": found.n,
                    "test_accuracy_error": math.sqrt(found.accuracy * (1 - found.accuracy) / found.n)}
    return metrics | measure.allocator_metrics(options.device)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a Hugging Face folder")
    parser.add_argument("--task", type=pathlib.Path, required=True, help="a folder that scripts/prepare_task.py wrote")
    parser.add_argument("--objective", choices=["candidates", "lm"], default="candidates",
                        help="the loss: cross-entropy over candidates, or of the right one's tokens")
    parser.add_argument("--batch", type=measure.at_least(1), default=8, help="examples a step")
    parser.add_argument("--steps", type=measure.at_least(0), default=625, help="0: evaluate only; 625: 5 epochs of 1,000")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--schedule", choices=["linear", "constant"], default="linear")
    parser.add_argument("--eval-every", type=measure.at_least(0), default=0, help="steps between evaluations on dev")
    parser.add_argument("--select", choices=["dev_loss", "last"], default="dev_loss", help="weights that the run ends with")
    parser.add_argument("--seed", type=int, default=42, help="of the order and dropout")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N or cpu")
    options = parser.parse_args(arguments)
    if options.select == "dev_loss" and options.steps > 0 and options.eval_every == 0:
        parser.error("--select dev_loss needs evaluations: give --eval-every, or --select last")
    if not (options.model / "config.json").exists():
        parser.error(f"{options.model} is no Hugging Face folder: it has no config.json")
    return options


if __name__ == "__main__":
    sys.exit(measure.main(run, parse()))
