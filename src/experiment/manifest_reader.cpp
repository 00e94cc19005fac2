#include "experiment/manifest_reader.h"

#include <yaml-cpp/yaml.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"

namespace zo2 {
namespace {

std::string kind_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map: return "a map";
    case YAML::NodeType::Sequence: return "a list";
    case YAML::NodeType::Scalar: return "'" + node.Scalar() + "'";
    default: return "nothing";
  }
}

class Reader {
 public:
  Reader(std::string file, Problems& problems) : file_(std::move(file)), problems_(problems) {}

  ManifestFile read_file(const YAML::Node& root) {
    static constexpr std::array<std::string_view, 9> kKeys{"name",    "extends", "defaults", "matrix",  "exclude",
                                                           "repeats", "timeout", "expect",   "variants"};
    ManifestFile file;
    each_entry(root, "the manifest", [&](const std::string& key, const YAML::Node& at, const YAML::Node& value) {
      if (key == "name") {
        if (auto text = scalar(value, "name: expected text")) file.name = *text;
      } else if (key == "extends") {
        if (auto text = scalar(value, "extends: expected a path")) file.extends = *text;
        file.extends_where = place(value);
      } else if (key == "variants") {
        each_entry(value, "variants", [&](const std::string& name, const YAML::Node&, const YAML::Node& variant) {
          ManifestBody& body = file.variants[name];
          each_entry(variant, "a variant", [&](const std::string& k, const YAML::Node& k_at, const YAML::Node& v) {
            if (!read_body_entry(body, k, v)) unknown(k_at, k, std::span(kKeys).subspan(2, 6));
          });
        });
      } else if (!read_body_entry(file.body, key, value)) {
        unknown(at, key, kKeys);
      }
    });
    return file;
  }

 private:
  using EntryFunction = std::function<void(const std::string&, const YAML::Node& key, const YAML::Node& value)>;

  Position place(const YAML::Node& node) const { return {file_, node.Mark().line + 1, node.Mark().column + 1}; }
  void problem(const YAML::Node& node, const std::string& message) { problems_.add(place(node), message); }

  void unknown(const YAML::Node& at, const std::string& key, std::span<const std::string_view> known) {
    const std::string near = nearest_word(key, known);
    problem(at, fmt::format("unknown key '{}': {}", key,
                            near.empty() ? fmt::format("known are {}", fmt::join(known, ", "))
                                         : fmt::format("did you mean '{}'?", near)));
  }

  void each_entry(const YAML::Node& map, std::string_view what, const EntryFunction& function) {
    if (!map.IsMap()) {
      problem(map, fmt::format("{}: expected a map, found {}", what, kind_of(map)));
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : map) {
      if (!entry.first.IsScalar()) {
        problem(entry.first, fmt::format("{}: a key must be a word, found {}", what, kind_of(entry.first)));
      } else if (!seen.insert(entry.first.Scalar()).second) {
        problem(entry.first, fmt::format("'{}' is given twice", entry.first.Scalar()));
      } else {
        function(entry.first.Scalar(), entry.first, entry.second);
      }
    }
  }

  void each_item(const YAML::Node& list, std::string_view what,
                 const std::function<void(const YAML::Node&)>& function) {
    if (!list.IsSequence()) {
      problem(list, fmt::format("{}: expected a list, found {}", what, kind_of(list)));
      return;
    }
    for (const YAML::Node& item : list) function(item);
  }

  std::optional<std::string> scalar(const YAML::Node& node, std::string_view message) {
    if (node.IsScalar() && !node.Scalar().empty()) return node.Scalar();
    problem(node, fmt::format("{}, found {}", message, kind_of(node)));
    return std::nullopt;
  }

  bool read_body_entry(ManifestBody& body, const std::string& key, const YAML::Node& value) {
    if (key == "defaults") {
      read_settings(value, "", body.defaults);
    } else if (key == "matrix") {
      read_matrix(value, body.matrix);
    } else if (key == "exclude") {
      each_item(value, "exclude", [&](const YAML::Node& item) { read_exclusion(item, body.exclude); });
    } else if (key == "expect") {
      body.expect.emplace();
      each_item(value, "expect", [&](const YAML::Node& item) { read_expectation(item, *body.expect); });
    } else if (key == "repeats") {
      static const KeySpec spec{"repeats", ValueKind::integer, 1, 1, 10000, {}, false, "", ""};
      if (auto number = setting_value(spec, value)) body.repeats = number->get<int>();
    } else if (key == "timeout") {
      static const KeySpec spec{"timeout (in seconds)", ValueKind::real, 0, 0, 1e7, {}, false, "", ""};
      if (auto number = setting_value(spec, value)) body.timeout_s = number->get<double>();
    } else {
      return false;
    }
    return true;
  }

  std::optional<Json> setting_value(const KeySpec& spec, const YAML::Node& node) {
    try {
      if (node.IsNull()) return parse_value(spec, "null");
      if (node.IsScalar()) return parse_value(spec, node.Scalar(), node.Tag() == "!");
      if (node.IsSequence() && spec.kind == ValueKind::words) return parse_value(spec, words_json(node));
      problem(node, fmt::format("{}: expected one value, found {}", spec.key, kind_of(node)));
    } catch (const UsageError& error) {
      problem(node, error.what());
    }
    problems_.poison(std::string(spec.key));
    return std::nullopt;
  }

  // A list as parse_value() reads it; what is no word in it becomes null, which that refuses.
  static std::string words_json(const YAML::Node& list) {
    Json words = Json::array();
    for (const YAML::Node& word : list) words.push_back(word.IsScalar() ? Json(word.Scalar()) : Json());
    return words.dump();
  }

  void unknown_setting(const YAML::Node& at, const std::string& key) {
    const std::string near = nearest_key(key);
    problem(at, fmt::format("unknown key '{}'{}", key, near.empty() ? "" : fmt::format(": did you mean '{}'?", near)));
  }

  void read_settings(const YAML::Node& map, const std::string& prefix, Settings& settings) {
    each_entry(map, prefix.empty() ? "defaults" : prefix,
               [&](const std::string& name, const YAML::Node& at, const YAML::Node& node) {
                 const std::string key = prefix.empty() ? name : prefix + "." + name;
                 if (const KeySpec* spec = find_key(key)) {
                   if (auto value = setting_value(*spec, node)) settings[key] = {*value, place(node)};
                 } else if (prefix.empty() && is_section(key)) {
                   read_settings(node, key, settings);
                 } else {
                   unknown_setting(at, key);
                 }
               });
  }

  static bool is_section(const std::string& name) {
    for (const KeySpec& spec : config_schema()) {
      if (spec.key.starts_with(name + ".")) return true;
    }
    return false;
  }

  void read_matrix(const YAML::Node& map, std::vector<Axis>& matrix) {
    each_entry(map, "matrix", [&](const std::string& name, const YAML::Node& at, const YAML::Node& list) {
      Axis axis{name, {}};
      const KeySpec* spec = find_key(name);
      if (list.IsNull()) {
        matrix.push_back(axis);
        return;
      }
      if (spec == nullptr && name.find('.') != std::string::npos) {
        unknown_setting(at, name);
        return;
      }
      each_item(list, fmt::format("matrix: {}", name), [&](const YAML::Node& item) {
        Settings choice;
        if (spec != nullptr) {
          if (auto value = setting_value(*spec, item)) choice[name] = {*value, place(item)};
        } else if (item.IsMap()) {
          read_settings(item, "", choice);
        } else {
          problem(item, fmt::format("matrix: '{}' is not a key, so each choice must be a map of keys, found {}{}", name,
                                    kind_of(item), suggestion(name)));
        }
        if (!choice.empty()) axis.choices.push_back(std::move(choice));
      });
      if (list.IsSequence() && list.size() == 0) problem(list, fmt::format("matrix: {}: the list is empty", name));
      if (!axis.choices.empty()) matrix.push_back(std::move(axis));
    });
  }

  static std::string suggestion(const std::string& name) {
    const std::string near = nearest_key(name);
    return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
  }

  Condition read_condition(const YAML::Node& map) {
    Condition where;
    each_entry(map, "where", [&](const std::string& key, const YAML::Node& at, const YAML::Node& node) {
      const KeySpec* spec = find_key(key);
      if (spec == nullptr) {
        unknown_setting(at, key);
      } else if (node.IsSequence()) {
        for (const YAML::Node& item : node) {
          if (auto value = setting_value(*spec, item)) where[key].push_back(*value);
        }
      } else if (auto value = setting_value(*spec, node)) {
        where[key].push_back(*value);
      }
    });
    return where;
  }

  void read_exclusion(const YAML::Node& map, std::vector<Exclusion>& list) {
    static constexpr std::array<std::string_view, 2> kKeys{"where", "reason"};
    Exclusion exclusion;
    each_entry(map, "exclude", [&](const std::string& key, const YAML::Node& at, const YAML::Node& value) {
      if (key == "where") {
        exclusion.where = read_condition(value);
      } else if (key == "reason") {
        if (auto text = scalar(value, "reason: expected text")) exclusion.reason = *text;
      } else {
        unknown(at, key, kKeys);
      }
    });
    if (!map.IsMap()) return;
    if (exclusion.where.empty()) problem(map, "exclude: 'where' must name at least one key");
    if (exclusion.reason.empty()) problem(map, "exclude: 'reason' is missing");
    list.push_back(std::move(exclusion));
  }

  void read_expectation(const YAML::Node& map, std::vector<Expectation>& list) {
    static constexpr std::array<std::string_view, 5> kKeys{"where", "metric", "at_most", "at_least", "source"};
    Expectation expectation;
    const Metric* metric = nullptr;
    if (map.IsMap() && map["metric"] && map["metric"].IsScalar()) metric = find_metric(map["metric"].Scalar());
    each_entry(map, "expect", [&](const std::string& key, const YAML::Node& at, const YAML::Node& value) {
      if (key == "where") {
        expectation.where = read_condition(value);
      } else if (key == "metric") {
        expectation.metric = scalar(value, "metric: expected a name").value_or("");
        if (metric == nullptr && !expectation.metric.empty()) unknown_metric(value, expectation.metric);
      } else if (key == "source") {
        expectation.source = scalar(value, "source: expected text").value_or("");
      } else if (key == "at_most") {
        expectation.at_most = bound(metric, value);
        append_bound(expectation.written, "at most", value);
      } else if (key == "at_least") {
        expectation.at_least = bound(metric, value);
        append_bound(expectation.written, "at least", value);
      } else {
        unknown(at, key, kKeys);
      }
    });
    if (!map.IsMap()) return;
    if (!map["metric"]) problem(map, "expect: 'metric' is missing");
    if (!map["at_most"] && !map["at_least"]) problem(map, "expect: give 'at_most' or 'at_least'");
    list.push_back(std::move(expectation));
  }

  static void append_bound(std::string& text, std::string_view relation, const YAML::Node& value) {
    if (value.IsScalar()) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", relation, value.Scalar());
  }

  void unknown_metric(const YAML::Node& at, const std::string& name) {
    std::vector<std::string_view> names;
    for (const Metric& metric : metric_table()) names.push_back(metric.name);
    const std::string near = nearest_word(name, names);
    problem(at,
            fmt::format("unknown metric '{}'{}", name, near.empty() ? "" : fmt::format(": did you mean '{}'?", near)));
  }

  std::optional<double> bound(const Metric* metric, const YAML::Node& node) {
    if (metric == nullptr) return std::nullopt;  // reported already
    try {
      if (metric->unit == "bytes") return static_cast<double>(parse_bytes(node.IsScalar() ? node.Scalar() : ""));
      return node.as<double>();
    } catch (const std::exception&) {
      problem(node, fmt::format("expected {}, found {}",
                                metric->unit == "bytes" ? "a size such as 18.04 GB" : "a number", kind_of(node)));
      return std::nullopt;
    }
  }

  std::string file_;
  Problems& problems_;
};

}  // namespace

void Problems::add(const Position& where, const std::string& message) {
  lines_.emplace(where.file, where.line, where.column, message);
}

void Problems::throw_if_any() const {
  if (lines_.empty()) return;
  std::vector<std::string> text;
  for (const auto& [file, line, column, message] : lines_) {
    text.push_back(line == 0 ? fmt::format("{}: {}", file, message)
                             : fmt::format("{}:{}:{}: {}", file, line, column, message));
  }
  throw UsageError(fmt::format("{}", fmt::join(text, "\n")));
}

ManifestFile read_manifest_file(const std::filesystem::path& path, Problems& problems) {
  ZO2_CHECK(!std::filesystem::is_directory(path), IoError, "cannot read the manifest {}: it is a folder",
            path.string());
  std::ifstream stream(path, std::ios::binary);
  ZO2_CHECK(stream, IoError, "cannot read the manifest {}: {}", path.string(), std::strerror(errno));
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  try {
    return Reader(path.string(), problems).read_file(YAML::Load(text));
  } catch (const YAML::Exception& error) {
    problems.add({path.string(), error.mark.line + 1, error.mark.column + 1}, "not valid YAML: " + error.msg);
    return {};
  }
}

void read_override(const std::string& text, Settings& settings, Problems& problems, const std::string& option) {
  const Position where{option + " " + text, 0, 0};
  const size_t equals = text.find('=');
  const std::string key = text.substr(0, equals);
  if (equals == std::string::npos || key.empty()) {
    problems.add(where, fmt::format("expected key=value, for example {} train.steps=10", option));
    return;
  }
  const KeySpec* spec = find_key(key);
  if (spec == nullptr) {
    const std::string near = nearest_key(key);
    problems.add(where,
                 fmt::format("unknown key '{}'{}", key, near.empty() ? "" : fmt::format(": did you mean '{}'?", near)));
    return;
  }
  try {
    settings[key] = {parse_value(*spec, text.substr(equals + 1)), where};
  } catch (const UsageError& error) {
    problems.add(where, error.what());
    problems.poison(key);
  }
}

}  // namespace zo2
