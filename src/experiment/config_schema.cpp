#include "experiment/config_schema.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"
#include "base/sha256.h"

namespace zo2 {
namespace {

constexpr double kNoLimit = 9.2e18;  // just below 2^63

KeySpec integer(std::string_view key, int64_t value, double least, double most, std::string_view label,
                std::string_view meaning) {
  return {key, ValueKind::integer, value, least, most, {}, true, label, meaning};
}
KeySpec real(std::string_view key, double value, double least, double most, std::string_view label,
             std::string_view meaning) {
  return {key, ValueKind::real, value, least, most, {}, true, label, meaning};
}
KeySpec text(std::string_view key, Json value, std::vector<std::string_view> words, std::string_view label,
             std::string_view meaning) {
  return {key, ValueKind::text, std::move(value), 0, 0, std::move(words), true, label, meaning};
}
KeySpec boolean(std::string_view key, Json value, std::string_view label, std::string_view meaning) {
  return {key, ValueKind::boolean, std::move(value), 0, 0, {}, true, label, meaning};
}
KeySpec size(std::string_view key, Json value, std::vector<std::string_view> words, std::string_view label,
             std::string_view meaning) {
  return {key, ValueKind::bytes, std::move(value), 1, kNoLimit, std::move(words), true, label, meaning};
}
KeySpec words(std::string_view key, std::string_view label, std::string_view meaning) {
  return {key, ValueKind::words, nullptr, 0, 0, {}, true, label, meaning};
}
KeySpec not_numeric(KeySpec spec) {
  spec.numerics = false;
  return spec;
}

std::vector<KeySpec> make_schema() {
  return {
      text("model.name", "opt-125m", {}, "", "a published shape, randomly initialised (see `zo2 estimate`)"),
      text("model.path", nullptr, {}, "", "a Hugging Face checkpoint folder; used instead of model.name"),
      boolean("model.tie_embeddings", nullptr, "tied|untied",
              "the head is the token table; unset: as the family has it"),

      text("data.kind", "random_tokens", {"random_tokens", "tokens", "task"}, "data",
           "where training tokens come from: drawn, a file of sequences, or a prepared task"),
      text("data.path", nullptr, {}, "data",
           "for kind tokens: JSON lines with input_ids and, optionally, labels; for kind task: the folder that "
           "scripts/prepare_task.py wrote"),
      integer("data.batch", 1, 1, 65536, "batch", "sequences a step; with an objective over candidates, examples"),
      integer("data.seq", 2048, 1, 1048576, "seq", "tokens a sequence; of a file or a task: its longest one's"),
      integer("data.seed", 42, 0, kNoLimit, "dataseed", "seed of the random tokens or of the order of the data"),

      text(
          "method.name", "zo2", {"zo2", "resident", "mezo", "external"}, "",
          "zo2: weights in host memory; resident: on the device, same numerics; mezo: the textbook baseline; external: "
          "another program (method.command)"),
      words("method.command", "",
            "for method external: the program and its arguments, {model}, {batch}, ... filled in"),
      text("method.marker", "RESULT ", {}, "", "for method external: what its line of results begins with"),
      real("method.eps", 1e-3, 1e-12, 1, "eps", "size of the perturbation"),
      real("method.lr", 1e-6, 0, 1e3, "lr", "learning rate"),
      real("method.weight_decay", 0.0, 0, 1e3, "wd", "decay of matrices and tables, times lr, each step"),
      integer("method.noise_seed", 42, 0, kNoLimit, "noiseseed", "seeds the sequence of the steps' seeds"),
      text("method.noise", "gaussian", {"gaussian", "rademacher"}, "", "distribution of a direction's elements"),
      integer("method.perturbations", 1, 1, 64, "n", "direction pairs a step, which share one upload"),
      integer("method.micro_batches", 1, 1, 65536, "micro", "passes over the weights a step, gradients accumulated"),
      integer("method.writeback_every", 1, 1, 64, "k", "a matrix commits every K-th step"),
      text("method.rounding", "nearest", {"nearest", "stochastic"}, "", "how updated weights round to their dtype"),

      integer("train.steps", 30, 1, 1e12, "steps", "steps, warm-up included; with train.stop_within the most"),
      integer("train.warmup", 15, 0, 1e12, "warmup", "steps before the timed window"),
      not_numeric(real("train.stop_within", 0.0, 0, 1, "within",
                       "for speed, not for equality: end early, at a write-back period, when the mean step time is "
                       "known within this share of it (95% interval); 0: run all steps")),
      text("train.schedule", "constant", {"constant", "linear"}, "", "learning rate: constant, or linear down to 0"),
      text("train.objective", "lm", {"lm", "candidates", "error_rate"}, "",
           "lm: cross-entropy of the labels; candidates: of the right candidate; error_rate: of the likeliest "
           "candidate"),
      integer("train.eval_every", 0, 0, 1e12, "eval", "steps between evaluations; 0: none"),
      text("train.select", "last", {"last", "dev_loss"}, "",
           "weights that the run ends with: the last, or those with the lowest loss in an evaluation"),
      integer("train.snapshot_every", 0, 0, 1e12, "snapshot", "steps between snapshots; 0: none"),

      text("engine.device", "auto", {"auto", "cpu", "cuda"}, "", "auto: cuda where there is one"),
      text("engine.dtype", "fp16", {"fp32", "fp16", "bf16"}, "", "of weights and activations"),
      text("engine.granularity", "tile", {"tile", "matrix", "block"}, "",
           "what is moved at once: a tile, a whole matrix, or a whole layer (ablations)"),
      size("engine.tile", "auto", {"auto"}, "tile", "most bytes of a tile; auto: by hidden size"),
      text("engine.head", "chunked", {"chunked", "full"}, "head",
           "logits: of a tile of the vocabulary at a time, or of all of it at once (an ablation)"),
      not_numeric(text("engine.embedding", "gathered", {"gathered", "resident"}, "embedding",
                       "tables of tokens and positions: rows gathered from the host, or on the device (an ablation)")),
      text("engine.noise_buffer", "fused", {"fused", "materialised"}, "noise",
           "a visit's direction: drawn in registers, or read from a buffer in the weights' dtype (an ablation)"),
      not_numeric(integer("engine.slots", 4, 1, 256, "slots", "pieces of the ring that uploads land in")),
      not_numeric(boolean("engine.overlap", true, "overlap|no-overlap", "copies run while the device computes")),
      not_numeric(boolean("engine.graphs", true, "graphs|no-graphs",
                          "CUDA, all weights on the device: a step of short operations is one launch")),
      not_numeric(size("engine.gpu_memory", "smallest", {"smallest", "all"}, "mem",
                       "bound on device memory; what is left is filled with resident tiles")),
      not_numeric(text("engine.host", "registered", {"registered", "staged", "pageable"}, "",
                       "how the device reaches host memory")),
      text("engine.host_weights", "exact", {"exact", "aliased"}, "",
           "aliased: layers share one block of memory; true device cost, meaningless loss"),
      integer("engine.threads", 0, 0, 4096, "threads", "CPU compute threads; 0: all cores"),
      not_numeric(integer("engine.trace", 0, 0, 1000, "",
                          "steps before the timed window whose operations are traced, into trace.json")),
      boolean("engine.project", false, "projected|", "forecast the cell instead of running it"),
      not_numeric(text("engine.hardware", "h100-pcie5", {}, "", "experiments/hardware/NAME.yaml, for projections")),
  };
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Json> convert(const KeySpec& spec, std::string_view text, bool quoted) {
  const auto in_range = [&](double value) { return value >= spec.least && value <= spec.most; };
  switch (spec.kind) {
    case ValueKind::boolean:
      if (quoted || (text != "true" && text != "false")) return std::nullopt;
      return text == "true";
    case ValueKind::integer: {
      const auto value = quoted ? std::nullopt : parse_number<int64_t>(text);
      if (!value || !in_range(static_cast<double>(*value))) return std::nullopt;
      return *value;
    }
    case ValueKind::real: {
      const auto value = quoted ? std::nullopt : parse_number<double>(text);
      if (!value || !std::isfinite(*value) || !in_range(*value)) return std::nullopt;
      return *value;
    }
    case ValueKind::text:
      if (text.empty()) return std::nullopt;
      if (!spec.words.empty() && std::ranges::find(spec.words, text) == spec.words.end()) return std::nullopt;
      return std::string(text);
    case ValueKind::bytes: {
      if (std::ranges::find(spec.words, text) != spec.words.end()) return std::string(text);
      const int64_t value = parse_bytes(text);
      if (!in_range(static_cast<double>(value))) return std::nullopt;
      return value;
    }
    case ValueKind::words: {
      Json list = Json::parse(text, nullptr, false);
      const bool fine = list.is_array() && !list.empty() && std::ranges::all_of(list, [](const Json& word) {
                          return word.is_string() && !word.get_ref<const std::string&>().empty();
                        });
      if (!fine) return std::nullopt;
      return list;
    }
  }
  return std::nullopt;
}

}  // namespace

std::span<const KeySpec> config_schema() {
  static const std::vector<KeySpec> schema = make_schema();
  return schema;
}

std::string expected_values(const KeySpec& spec) {
  const std::string words = fmt::format("{}", fmt::join(spec.words, ", "));
  const bool open = spec.most >= 1e12;
  switch (spec.kind) {
    case ValueKind::boolean: return "true or false";
    case ValueKind::integer:
      return open ? fmt::format("an integer of at least {}", spec.least)
                  : fmt::format("an integer from {} to {}", spec.least, spec.most);
    case ValueKind::real: return fmt::format("a number from {:g} to {:g}", spec.least, spec.most);
    case ValueKind::text: return spec.words.empty() ? "text" : "one of " + words;
    case ValueKind::bytes: return fmt::format("{} or a size such as 16 MiB", words);
    case ValueKind::words: return "a list of words";
  }
  return "";
}

const KeySpec* find_key(std::string_view key) {
  for (const KeySpec& spec : config_schema()) {
    if (spec.key == key) return &spec;
  }
  return nullptr;
}

std::string nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view best;
  size_t least = word.size() / 2 + 1;
  for (std::string_view candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return std::string(best);
}

std::string did_you_mean(std::string_view near, std::string_view lead) {
  return near.empty() ? "" : fmt::format("{}did you mean '{}'?", lead, near);
}

std::string nearest_key(std::string_view key) {
  const std::string_view name = last_part(key);
  std::string best;
  size_t least = name.size() / 2 + 1;
  const auto consider = [&](std::string_view candidate, std::string_view result) {
    // "sequence" is near to "seq".
    const bool longer = candidate.size() >= 3 && name.starts_with(candidate);
    const size_t distance = longer ? 1 : edit_distance(name, candidate);
    if (distance >= least) return;
    least = distance;
    best = result;
  };
  // Distances in the section that was written win over equal ones elsewhere, since they come first.
  const std::string_view section = key.substr(0, key.size() - name.size());
  for (const bool same_section : {true, false}) {
    for (const KeySpec& spec : config_schema()) {
      if (spec.key.starts_with(section) != same_section) continue;
      consider(last_part(spec.key), spec.key);
      std::string meaning(spec.meaning);
      std::ranges::replace(meaning, ' ', '_');
      consider(meaning, spec.key);  // "learning_rate" for method.lr
      if (section.empty()) consider(spec.key.substr(0, spec.key.find('.')), spec.key.substr(0, spec.key.find('.')));
    }
  }
  return best;
}

Json parse_value(const KeySpec& spec, std::string_view text, bool quoted) {
  if (!quoted && (text == "null" || text == "~") && spec.default_value.is_null()) return nullptr;
  std::optional<Json> value;
  try {
    value = convert(spec, text, quoted);
  } catch (const UsageError&) {  // parse_bytes: the message below says as much
  }
  if (!value) {
    const std::string near = nearest_word(text, spec.words);
    throw UsageError(fmt::format("{}: expected {}, found {}{}{}{}", spec.key, expected_values(spec),
                                 quoted ? "\"" : "'", text, quoted ? "\"" : "'", did_you_mean(near, "; ")));
  }
  return *value;
}

Json default_config() {
  Json config = Json::object();
  for (const KeySpec& spec : config_schema()) config_set(config, spec.key, spec.default_value);
  return config;
}

const Json& config_at(const Json& config, std::string_view key) {
  const size_t dot = key.find('.');
  const auto section = config.find(std::string(key.substr(0, dot)));
  if (section != config.end() && section->is_object()) {
    const auto value = section->find(std::string(key.substr(dot + 1)));
    if (value != section->end()) return *value;
  }
  throw InternalError(fmt::format("the configuration has no key '{}'", key));
}

void config_set(Json& config, std::string_view key, Json value) {
  const size_t dot = key.find('.');
  config[std::string(key.substr(0, dot))][std::string(key.substr(dot + 1))] = std::move(value);
}

std::string folder_name(const std::filesystem::path& path) {
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string model_name(const Json& config) {
  const Json& path = config_at(config, "model.path");
  return path.is_null() ? config_at(config, "model.name").get<std::string>() : folder_name(path.get<std::string>());
}

std::string config_hash(const Json& config) {
  Json kept = Json::object();
  for (const KeySpec& spec : config_schema()) {
    const Json& value = config_at(config, spec.key);
    if (value != spec.default_value) config_set(kept, spec.key, value);
  }
  return sha256_hex(kept.dump());
}

}  // namespace zo2
