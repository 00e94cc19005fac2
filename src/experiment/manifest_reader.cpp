#include "experiment/manifest_reader.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/metrics.h"

namespace zo2 {
namespace {

constexpr std::string_view kZip = "zip";

class Reader : public YamlReader {
 public:
  using YamlReader::YamlReader;

  // What must be known before values are read: extends and vars.
  void read_head(ManifestSource& source) {
    each_entry(source.root, "the manifest", [&](const std::string& key, const YAML::Node&, const YAML::Node& value) {
      if (key == "extends") {
        if (auto path = word(value, "extends: expected a path")) source.extends = *path;
        source.extends_where = place(value);
      } else if (key == "vars") {
        read_variables(value, source.variables);
      } else if (key == "variants") {
        each_entry(value, "variants", [&](const std::string& name, const YAML::Node&, const YAML::Node& variant) {
          each_entry(variant, "a variant", [&](const std::string& k, const YAML::Node&, const YAML::Node& v) {
            if (k == "vars") read_variables(v, source.variant_variables[name]);
          });
        });
      }
    });
  }

  ManifestFile read_file(const YAML::Node& root, const std::function<Variables(const std::string&)>& variables_in) {
    ManifestFile file;
    each_entry(root, "the manifest", [&](const std::string& key, const YAML::Node& at, const YAML::Node& value) {
      if (key == "name") {
        if (auto text = word(value, "name: expected text")) file.name = *text;
      } else if (key == "variants") {
        each_entry(value, "variants", [&](const std::string& name, const YAML::Node&, const YAML::Node& variant) {
          ManifestBody& body = file.variants[name];
          set_variables(variables_in(name));
          each_entry(variant, "a variant", [&](const std::string& k, const YAML::Node& k_at, const YAML::Node& v) {
            if (!read_body_entry(body, k, v)) unknown(k_at, k, key_names(true));
          });
        });
        set_variables(variables_in(""));
      } else if (key != "extends" && !read_body_entry(file.body, key, value)) {
        unknown(at, key, key_names(false));
      }
    });
    return file;
  }

 private:
  static std::vector<std::string_view> key_names(bool in_variant) {
    std::vector<std::string_view> names;
    for (const ManifestKey& key : manifest_keys()) {
      if (key.in_variant || !in_variant) names.push_back(key.name);
    }
    return names;
  }

  void read_variables(const YAML::Node& map, Variables& variables) {
    each_entry(map, "vars", [&](const std::string& name, const YAML::Node&, const YAML::Node& value) {
      if (!value.IsScalar() || value.Scalar().find("${") != std::string::npos) {
        problem(value, fmt::format("vars: {}: expected one value without variables, found {}", name, kind_of(value)));
        variables[name] = std::nullopt;
      } else {
        variables[name] = value.Scalar();
      }
    });
  }

  bool read_body_entry(ManifestBody& body, const std::string& key, const YAML::Node& value) {
    if (key == "defaults") {
      read_settings(value, "", body.defaults);
    } else if (key == "matrix") {
      read_matrix(value, body.matrix);
    } else if (key == kZip) {
      read_zip(value, body.zip);
    } else if (key == "exclude") {
      each_item(value, "exclude", [&](const YAML::Node& item) { read_exclusion(item, body.exclude); });
    } else if (key == "expect") {
      body.expect.emplace();
      each_item(value, "expect", [&](const YAML::Node& item) { read_expectation(item, *body.expect); });
    } else if (key == "repeats") {
      static const KeySpec spec{"repeats", ValueKind::integer, 1, 1, 10000, {}, false, "", ""};
      if (auto number = value_of(spec, value)) body.repeats = number->get<int>();
    } else if (key == "timeout") {
      static const KeySpec spec{"timeout (in seconds)", ValueKind::real, 0, 0, 1e7, {}, false, "", ""};
      if (auto number = value_of(spec, value)) body.timeout_s = number->get<double>();
    } else if (key == "order") {
      static const KeySpec spec{"order", ValueKind::text, "", 0, 0, {"interleaved", "sequential"}, false, "", ""};
      if (auto text = value_of(spec, value)) {
        body.order = *text == "sequential" ? RepeatOrder::sequential : RepeatOrder::interleaved;
      }
    } else {
      return key == "vars";  // read already
    }
    return true;
  }

  void unknown_setting(const YAML::Node& at, const std::string& key) {
    problem(at, fmt::format("unknown key '{}'{}", key, did_you_mean(nearest_key(key))));
  }

  void read_settings(const YAML::Node& map, const std::string& prefix, Settings& settings) {
    each_entry(map, prefix.empty() ? "defaults" : prefix,
               [&](const std::string& name, const YAML::Node& at, const YAML::Node& node) {
                 const std::string key = prefix.empty() ? name : prefix + "." + name;
                 if (const KeySpec* spec = find_key(key)) {
                   if (auto value = value_of(*spec, node)) settings[key] = {*value, place(node)};
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
          if (auto value = value_of(*spec, item)) choice[name] = {*value, place(item)};
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

  void read_zip(const YAML::Node& map, std::optional<Axis>& zip) {
    zip = Axis{std::string(kZip), {}};
    if (map.IsNull()) return;  // drops the inherited one
    std::string first_key;
    each_entry(map, kZip, [&](const std::string& key, const YAML::Node& at, const YAML::Node& list) {
      const KeySpec* spec = find_key(key);
      if (spec == nullptr) {
        unknown_setting(at, key);
      } else if (!list.IsSequence() || list.size() == 0) {
        problem(list, fmt::format("zip: {}: expected a list with a value for each cell, found {}", key,
                                  list.IsSequence() ? "an empty one" : kind_of(list)));
      } else if (!first_key.empty() && list.size() != zip->choices.size()) {
        problem(list, fmt::format("zip: {} has {} values and {} has {}: they advance together, so give as many", key,
                                  list.size(), first_key, zip->choices.size()));
      } else {
        first_key = first_key.empty() ? key : first_key;
        zip->choices.resize(list.size());
        for (size_t i = 0; i < list.size(); ++i) {
          const YAML::Node item = list[i];
          if (auto value = value_of(*spec, item)) zip->choices[i][key] = {*value, place(item)};
        }
      }
    });
  }

  static std::string suggestion(const std::string& name) { return did_you_mean(nearest_key(name), "; "); }

  Condition read_condition(const YAML::Node& map) {
    Condition where;
    each_entry(map, "where", [&](const std::string& key, const YAML::Node& at, const YAML::Node& node) {
      const KeySpec* spec = find_key(key);
      if (spec == nullptr) {
        unknown_setting(at, key);
      } else if (node.IsSequence()) {
        for (const YAML::Node& item : node) {
          if (auto value = value_of(*spec, item)) where[key].push_back(*value);
        }
      } else if (auto value = value_of(*spec, node)) {
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
        if (auto text = word(value, "reason: expected text")) exclusion.reason = *text;
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
        expectation.metric = word(value, "metric: expected a name").value_or("");
        if (metric == nullptr && !expectation.metric.empty()) unknown_metric(value, expectation.metric);
      } else if (key == "source") {
        expectation.source = word(value, "source: expected text").value_or("");
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

  void append_bound(std::string& text, std::string_view relation, const YAML::Node& value) {
    if (!value.IsScalar()) return;
    const std::string bound = text_of(value).value_or(value.Scalar());
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", relation, bound);
  }

  void unknown_metric(const YAML::Node& at, const std::string& name) {
    problem(at, fmt::format("unknown metric '{}'{}", name, did_you_mean(nearest_metric(name))));
  }

  std::optional<double> bound(const Metric* metric, const YAML::Node& node) {
    if (metric == nullptr) return std::nullopt;  // reported already
    static const KeySpec number{"", ValueKind::real, 0, -1e300, 1e300, {}, false, "", ""};
    try {
      const auto text = node.IsScalar() ? text_of(node) : "";
      if (!text) return std::nullopt;  // reported already
      if (metric->unit == "bytes") return static_cast<double>(parse_bytes(*text));
      return parse_value(number, *text).get<double>();
    } catch (const std::exception&) {
      problem(node, fmt::format("expected {}, found {}",
                                metric->unit == "bytes" ? "a size such as 18.04 GB" : "a number", kind_of(node)));
      return std::nullopt;
    }
  }
};

}  // namespace

ManifestSource open_manifest(const std::filesystem::path& path, Problems& problems) {
  ZO2_CHECK(!std::filesystem::is_directory(path), IoError, "cannot read the manifest {}: it is a folder",
            path.string());
  std::ifstream stream(path, std::ios::binary);
  ZO2_CHECK(stream, IoError, "cannot read the manifest {}: {}", path.string(), std::strerror(errno));
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  ManifestSource source;
  source.file = path.string();
  source.root = YAML::Node(YAML::NodeType::Undefined);
  try {
    source.root = YAML::Load(text);
    Reader(source.file, {}, problems).read_head(source);
  } catch (const YAML::Exception& error) {
    problems.add({source.file, error.mark.line + 1, error.mark.column + 1}, "not valid YAML: " + error.msg);
  }
  return source;
}

ManifestFile read_manifest(const ManifestSource& source,
                           const std::function<Variables(const std::string& variant)>& variables_in,
                           Problems& problems) {
  if (!source.root.IsDefined()) return {};
  return Reader(source.file, variables_in(""), problems).read_file(source.root, variables_in);
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
    problems.add(where, fmt::format("unknown key '{}'{}", key, did_you_mean(nearest_key(key))));
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
