"""How figures write numbers, sizes and keys of the configuration."""

KEYS = {"model.name": "model", "model.tie_embeddings": "tied head", "data.batch": "batch", "data.seq": "sequence",
        "method.name": "method", "method.writeback_every": "write-back every",
        "method.perturbations": "direction pairs", "method.micro_batches": "micro-batches", "engine.dtype": "dtype", "engine.gpu_memory": "GPU memory given",
        "engine.host": "host memory", "engine.host_weights": "host weights", "engine.noise_buffer": "direction",
        "engine.tile": "tile"}


def key(name: str) -> str:
    return KEYS.get(name, name.split(".", 1)[1].replace("_", " "))


def value(name: str, of) -> str:
    """A value of the configuration: "yes", "48 MiB", "1e-3"."""
    if isinstance(of, bool):
        return "yes" if of else "no"
    if name in ("engine.gpu_memory", "engine.tile") and isinstance(of, int):
        return size(of)
    return "default" if of is None else str(of)


def setting(name: str, of) -> str:
    """Key and value: "slots 4"."""
    return f"{key(name)} {value(name, of)}"


def size(count: float) -> str:
    """Bytes as people read them: "865 MiB", "2.59 GiB"."""
    mib = count / 2**20
    if mib < 1024:
        return f"{mib:.0f} MiB" if mib >= 100 else f"{mib:.3g} MiB"
    return f"{mib / 1024:.2f} GiB" if mib < 10 * 1024 else f"{mib / 1024:.1f} GiB"


def rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 100 else f"{tokens_per_s:.3g}"


def model(name: str) -> str:
    """opt-1.3b: OPT-1.3B."""
    return name.upper()


def model_size(name: str) -> str:
    """opt-1.3b: 1.3B."""
    return name.upper().rsplit("-", 1)[-1]


def shape(record, without: str = "") -> str:
    """OPT-1.3B, fp16, batch 1, sequence 2,048; but for the key `without`."""
    parts = {"model.name": model(record.model), "engine.dtype": record.get("engine.dtype"),
             "data.batch": f"batch {record.get('data.batch')}", "data.seq": f"sequence {record.get('data.seq'):,}"}
    return ", ".join(part for name, part in parts.items() if name != without)
