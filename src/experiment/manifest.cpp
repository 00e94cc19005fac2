#include "experiment/manifest.h"

#include <algorithm>
#include <array>
#include <functional>
#include <ranges>
#include <set>

#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/external.h"
#include "experiment/manifest_reader.h"
#include "experiment/slug.h"
#include "experiment/timed_window.h"
#include "model/config.h"

namespace zo2 {
namespace {

constexpr std::string_view kVars = "vars.";

// A model's name or path takes the place of the other one, of settings that are overlaid.
void overlay(Settings& settings, const Settings& over) {
  const bool names_folder = over.contains("model.path") && !over.at("model.path").value.is_null();
  if (names_folder) settings.erase("model.name");
  if (over.contains("model.name")) settings.erase("model.path");
  for (const auto& [key, setting] : over) settings[key] = setting;
}

void merge(ManifestBody& body, const ManifestBody& over) {
  overlay(body.defaults, over.defaults);
  for (const Axis& axis : over.matrix) {
    const auto old = std::ranges::find(body.matrix, axis.name, &Axis::name);
    if (old == body.matrix.end()) {
      body.matrix.push_back(axis);
    } else {
      *old = axis;
    }
  }
  if (over.zip) body.zip = over.zip;
  body.exclude.insert(body.exclude.end(), over.exclude.begin(), over.exclude.end());
  if (over.expect) body.expect = over.expect;
  if (over.repeats) body.repeats = over.repeats;
  if (over.order) body.order = over.order;
  if (over.timeout_s) body.timeout_s = over.timeout_s;
}

// The file and what it extends, the most basic one last. (A parsed node must not be assigned to: that changes the old
// one.)
std::vector<ManifestSource> open_with_parents(const std::filesystem::path& path, Problems& problems) {
  namespace fs = std::filesystem;
  std::vector<ManifestSource> chain{open_manifest(path, problems)};
  std::set<fs::path> seen{fs::weakly_canonical(path)};
  while (chain.back().extends) {
    const ManifestSource& child = chain.back();
    const fs::path parent = (fs::path(child.file).parent_path() / *child.extends).lexically_normal();
    if (!seen.insert(fs::weakly_canonical(parent)).second) {
      problems.add(child.extends_where, fmt::format("extends: {} leads back to itself", *child.extends));
      break;
    }
    try {
      chain.push_back(open_manifest(parent, problems));
    } catch (const IoError& error) {
      problems.add(child.extends_where, fmt::format("extends: {}", error.what()));
      break;
    }
  }
  return chain;
}

// Those of -S that are "vars.NAME=VALUE": they win over files and variants.
Variables take_variables(std::vector<std::string>& overrides) {
  Variables variables;
  std::erase_if(overrides, [&](const std::string& text) {
    const size_t equals = text.find('=');
    if (!text.starts_with(kVars) || equals == std::string::npos) return false;
    variables[text.substr(kVars.size(), equals - kVars.size())] = text.substr(equals + 1);
    return true;
  });
  return variables;
}

// The file with what it extends merged below it. Values are read with the variables of `variant`.
ManifestFile read_with_parents(const std::filesystem::path& path, const std::string& variant, const Variables& given,
                               Problems& problems) {
  const std::vector<ManifestSource> chain = open_with_parents(path, problems);
  Variables common;
  std::map<std::string, Variables> of_variants;
  for (const ManifestSource& source : std::views::reverse(chain)) {
    for (const auto& [name, text] : source.variables) common[name] = text;
    for (const auto& [name, variables] : source.variant_variables) {
      for (const auto& [key, text] : variables) of_variants[name][key] = text;
    }
  }
  const auto variables_in = [&](const std::string& name) {
    Variables variables = given;
    const Variables& own = of_variants[name.empty() ? variant : name];
    variables.insert(own.begin(), own.end());  // keeps those that are there
    variables.insert(common.begin(), common.end());
    return variables;
  };
  for (const auto& [name, text] : given) {
    if (common.contains(name) || of_variants[variant].contains(name)) continue;
    problems.add({fmt::format("-S {}{}={}", kVars, name, *text), 0, 0},
                 fmt::format("the manifest has no variable '{}'", name));
  }
  ManifestFile merged;
  for (const ManifestSource& source : std::views::reverse(chain)) {
    const ManifestFile file = read_manifest(source, variables_in, problems);
    if (file.name) merged.name = file.name;
    merge(merged.body, file.body);
    for (const auto& [name, body] : file.variants) merge(merged.variants[name], body);
  }
  return merged;
}

// Values that are fine alone and impossible together, or that only a model can judge.
class CellChecker {
 public:
  CellChecker(Position manifest, Problems& problems) : manifest_(std::move(manifest)), problems_(problems) {}

  void check(const Settings& given, const Json& config) {
    given_ = &given;
    const auto integer = [&](std::string_view key) { return config_at(config, key).get<int64_t>(); };
    require(integer("train.warmup") < integer("train.steps"), {"train.warmup", "train.steps"},
            fmt::format("train.warmup {} leaves nothing of train.steps {} to measure", integer("train.warmup"),
                        integer("train.steps")));
    require(integer("method.writeback_every") * integer("method.perturbations") <= 64,
            {"method.writeback_every", "method.perturbations"},
            fmt::format("method.writeback_every {} x method.perturbations {} is more than 64 pending entries a visit",
                        integer("method.writeback_every"), integer("method.perturbations")));
    const int64_t least = least_steps_to_stop(integer("train.warmup"), integer("method.writeback_every"));
    require(config_at(config, "train.stop_within") == 0.0 || integer("train.steps") >= least,
            {"train.stop_within", "train.steps", "train.warmup", "method.writeback_every"},
            fmt::format("train.stop_within needs six write-back periods after warm-up to end a run: train.steps {} is "
                        "less than {}",
                        integer("train.steps"), least));
    const Json& kind = config_at(config, "data.kind");
    require(kind == "random_tokens" || !config_at(config, "data.path").is_null(), {"data.kind", "data.path"},
            fmt::format("data.kind {} needs data.path", kind.get<std::string>()));
    require(kind == "task" || config_at(config, "train.objective") == "lm", {"train.objective", "data.kind"},
            "an objective over candidates needs data.kind: task");
    require(!(given.contains("model.path") && !given.at("model.path").value.is_null() && given.contains("model.name")),
            {"model.path", "model.name"}, "give model.name or model.path, not both");
    check_command(config);
    check_model(config);
  }

 private:
  void check_command(const Json& config) {
    if (!is_external(config)) return;
    try {
      external_command(config);
    } catch (const UsageError& error) {
      require(false, {"method.command", "method.name"}, error.what());
    }
  }

  void check_model(const Json& config) {
    if (!config_at(config, "model.path").is_null()) return;
    ModelConfig model;
    try {
      model = model_by_name(config_at(config, "model.name").get<std::string>());
    } catch (const UsageError& error) {
      require(false, {"model.name"}, error.what());
      return;
    }
    const int64_t seq = config_at(config, "data.seq").get<int64_t>();
    require(seq <= model.max_positions, {"data.seq", "model.name"},
            fmt::format("data.seq {} is longer than the {} positions of {}", seq, model.max_positions, model.name));
  }

  void require(bool holds, std::initializer_list<std::string> keys, const std::string& message) {
    if (holds) return;
    const Position* where = &manifest_;
    for (const std::string& key : keys) {
      if (problems_.poisoned(key)) return;
      const auto setting = given_->find(key);
      if (setting != given_->end() && where == &manifest_) where = &setting->second.where;
    }
    problems_.add(*where, message);
  }

  Position manifest_;
  Problems& problems_;
  const Settings* given_ = nullptr;
};

// Calls `function` with the settings of every combination of choices, the last axis fastest.
void each_combination(const std::vector<Axis>& axes, size_t index, const Settings& settings,
                      const std::function<void(const Settings&)>& function) {
  if (index == axes.size()) {
    function(settings);
    return;
  }
  for (const Settings& choice : axes[index].choices) {
    Settings combined = settings;
    overlay(combined, choice);
    each_combination(axes, index + 1, combined, function);
  }
}

void refuse_shared_keys(const std::vector<Axis>& axes, Problems& problems) {
  std::map<std::string, std::string> owner;
  std::set<std::string> told;
  for (const Axis& axis : axes) {
    for (const Settings& choice : axis.choices) {
      for (const auto& [key, setting] : choice) {
        const auto [found, fresh] = owner.emplace(key, axis.name);
        if (fresh || found->second == axis.name || !told.insert(axis.name + " " + key).second) continue;
        problems.add(setting.where,
                     fmt::format("matrix: '{}' is set by axis '{}' and by axis '{}'", key, found->second, axis.name));
      }
    }
  }
}

Json condition_json(const Condition& where) {
  Json json = Json::object();
  for (const auto& [key, values] : where) json[key] = values;
  return json;
}

}  // namespace

std::span<const ManifestKey> manifest_keys() {
  static constexpr std::array kKeys{
      ManifestKey{"name", "text", "what reports call it; the file's name when it is not given", false},
      ManifestKey{"extends", "path", "a manifest, relative to this file, that is read first; this one goes over it",
                  false},
      ManifestKey{"vars", "{name: value}", "`${name}` in any value stands for it; inside of {...} put it in quotes"},
      ManifestKey{"defaults", "{section: {key: value}} or {section.key: value}", "settings of every cell"},
      ManifestKey{"matrix", "{section.key: [value, ...]} or {name: [{key: value, ...}, ...]}",
                  "axes: a key with its values, or any other name with a list of settings; `axis: null` drops an "
                  "inherited one"},
      ManifestKey{"zip", "{section.key: [value, ...], ...}",
                  "one more axis, before those of the matrix: lists of one length that advance together; replaces an "
                  "inherited zip, and `null` drops it"},
      ManifestKey{"exclude", "[{where: {section.key: value or [value, ...]}, reason: text}]",
                  "cells that are recorded as skipped; added to the inherited ones"},
      ManifestKey{"repeats", "count", "processes for each cell; 1 when it is not given"},
      ManifestKey{"order", "interleaved or sequential",
                  "interleaved, the default: all cells' first repeats, then all second ones, so that drift does not "
                  "favour a cell"},
      ManifestKey{"timeout", "seconds", "what a repeat may take; 0, the default: no limit"},
      ManifestKey{"expect", "[{where: {...}, metric: name, at_most: value, at_least: value, source: text}]",
                  "what must hold, by whose word; a size may have a unit; replaces inherited ones"},
      ManifestKey{"variants", "{name: {...}}", "settings that `--variant name` puts over the rest", false},
  };
  return kKeys;
}

std::vector<Turn> turns(const Experiment& experiment) {
  std::vector<Turn> list;
  const auto add = [&](size_t cell, int repeat) {
    if (repeat == 0 || !experiment.cells[cell].skip_reason) list.push_back({cell, repeat});
  };
  const int repeats = experiment.manifest.repeats;
  if (experiment.manifest.order == RepeatOrder::sequential) {
    for (size_t cell = 0; cell < experiment.cells.size(); ++cell) {
      for (int repeat = 0; repeat < repeats; ++repeat) add(cell, repeat);
    }
  } else {
    for (int repeat = 0; repeat < repeats; ++repeat) {
      for (size_t cell = 0; cell < experiment.cells.size(); ++cell) add(cell, repeat);
    }
  }
  return list;
}

bool matches(const Condition& where, const Json& config) {
  return std::ranges::all_of(where, [&](const auto& condition) {
    return std::ranges::find(condition.second, config_at(config, condition.first)) != condition.second.end();
  });
}

Experiment load_experiment(const std::filesystem::path& path, const ManifestOptions& options) {
  Problems problems;
  std::vector<std::string> settings = options.overrides;
  const Variables variables = take_variables(settings);
  ManifestFile file = read_with_parents(path, options.variant, variables, problems);
  ManifestBody& body = file.body;
  if (!options.variant.empty()) {
    const auto variant = file.variants.find(options.variant);
    if (variant != file.variants.end()) {
      merge(body, variant->second);
    } else {
      std::vector<std::string> known;
      for (const auto& entry : file.variants) known.push_back(entry.first);
      problems.add({path.string(), 1, 1},
                   fmt::format("no variant '{}'; known: {}", options.variant,
                               known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
    }
  }
  Settings overrides;
  for (const std::string& text : settings) read_override(text, overrides, problems);
  if (body.zip) body.matrix.insert(body.matrix.begin(), *body.zip);
  std::erase_if(body.matrix, [&](const Axis& axis) { return axis.choices.empty() || overrides.contains(axis.name); });
  refuse_shared_keys(body.matrix, problems);

  Experiment experiment;
  experiment.file = (path.parent_path().filename() == "experiments" ? "experiments/" : "") + path.filename().string();
  experiment.options = options;
  experiment.manifest = {.name = file.name.value_or(path.stem().string()),
                         .defaults = body.defaults,
                         .matrix = body.matrix,
                         .exclude = body.exclude,
                         .expect = body.expect.value_or(std::vector<Expectation>{}),
                         .repeats = options.repeats.value_or(body.repeats.value_or(1)),
                         .order = body.order.value_or(RepeatOrder::interleaved),
                         .timeout_s = options.timeout_s.value_or(body.timeout_s.value_or(0))};
  CellChecker checker({path.string(), 1, 1}, problems);
  std::set<std::string> hashes;
  each_combination(body.matrix, 0, body.defaults, [&](const Settings& combination) {
    Settings given = combination;
    overlay(given, overrides);
    Cell cell;
    cell.config = default_config();
    for (const auto& [key, setting] : given) config_set(cell.config, key, setting.value);
    if (!config_at(cell.config, "model.path").is_null()) config_set(cell.config, "model.name", nullptr);
    for (const Exclusion& exclusion : body.exclude) {
      if (!cell.skip_reason && matches(exclusion.where, cell.config)) cell.skip_reason = exclusion.reason;
    }
    if (!cell.skip_reason) checker.check(given, cell.config);
    cell.config_hash = config_hash(cell.config);
    if (hashes.insert(cell.config_hash).second) experiment.cells.push_back(std::move(cell));
  });
  problems.throw_if_any();
  assign_slugs(experiment.cells);
  return experiment;
}

Json to_json(const Experiment& experiment) {
  Json cells = Json::array();
  for (const Cell& cell : experiment.cells) {
    Json json{{"slug", cell.slug}, {"config_hash", cell.config_hash}};
    if (cell.skip_reason) json["skipped"] = *cell.skip_reason;
    cells.push_back(std::move(json));
  }
  Json expect = Json::array();
  for (const Expectation& expectation : experiment.manifest.expect) {
    Json json{{"where", condition_json(expectation.where)},
              {"metric", expectation.metric},
              {"written", expectation.written},
              {"source", expectation.source}};
    if (expectation.at_most) json["at_most"] = *expectation.at_most;
    if (expectation.at_least) json["at_least"] = *expectation.at_least;
    expect.push_back(std::move(json));
  }
  Json json{{"schema", 1},
            {"name", experiment.manifest.name},
            {"manifest", experiment.file},
            {"repeats", experiment.manifest.repeats},
            {"cells", std::move(cells)},
            {"expect", std::move(expect)}};
  if (!experiment.options.variant.empty()) json["variant"] = experiment.options.variant;
  if (!experiment.options.overrides.empty()) json["set"] = experiment.options.overrides;
  if (experiment.options.repeats) json["over"]["repeats"] = *experiment.options.repeats;
  if (experiment.options.timeout_s) json["over"]["timeout"] = *experiment.options.timeout_s;
  return json;
}

std::vector<Expectation> expectations_from_json(const Json& experiment) {
  std::vector<Expectation> list;
  for (const Json& json : experiment.value("expect", Json::array())) {
    Expectation expectation;
    expectation.metric = json.at("metric").get<std::string>();
    expectation.written = json.value("written", "");
    expectation.source = json.value("source", "");
    if (json.contains("at_most")) expectation.at_most = json["at_most"].get<double>();
    if (json.contains("at_least")) expectation.at_least = json["at_least"].get<double>();
    for (const auto& [key, values] : json.at("where").items()) {
      expectation.where[key] = values.get<std::vector<Json>>();
    }
    list.push_back(std::move(expectation));
  }
  return list;
}

std::vector<std::string> run_arguments_from_json(const Json& experiment) {
  std::vector<std::string> arguments;
  if (!experiment.contains("manifest")) return arguments;
  arguments.push_back(experiment["manifest"].get<std::string>());
  if (experiment.contains("variant")) {
    arguments.insert(arguments.end(), {"--variant", experiment["variant"].get<std::string>()});
  }
  for (const Json& text : experiment.value("set", Json::array())) {
    arguments.insert(arguments.end(), {"-S", text.get<std::string>()});
  }
  const Json over = experiment.value("over", Json::object());
  for (const char* name : {"repeats", "timeout"}) {
    if (over.contains(name)) arguments.insert(arguments.end(), {fmt::format("--{}", name), json_text(over[name])});
  }
  return arguments;
}

}  // namespace zo2
