#include "experiment/yaml_reader.h"

#include <set>
#include <vector>

#include "base/error.h"

namespace zo2 {
namespace {

constexpr std::string_view kOpening = "${";

}  // namespace

std::string YamlReader::kind_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map: return "a map";
    case YAML::NodeType::Sequence: return "a list";
    case YAML::NodeType::Scalar: return "'" + node.Scalar() + "'";
    default: return "nothing";
  }
}

void YamlReader::unknown(const YAML::Node& at, const std::string& key, std::span<const std::string_view> known) {
  const std::string near = nearest_word(key, known);
  problem(at, fmt::format("unknown key '{}': {}", key,
                          near.empty() ? fmt::format("known are {}", fmt::join(known, ", ")) : did_you_mean(near, "")));
}

void YamlReader::each_entry(const YAML::Node& map, std::string_view what, const EntryFunction& function) {
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

void YamlReader::each_item(const YAML::Node& list, std::string_view what,
                           const std::function<void(const YAML::Node&)>& function) {
  if (!list.IsSequence()) {
    problem(list, fmt::format("{}: expected a list, found {}", what, kind_of(list)));
    return;
  }
  for (const YAML::Node& item : list) function(item);
}

std::optional<std::string> YamlReader::text_of(const YAML::Node& scalar) {
  const std::string& written = scalar.Scalar();
  std::string text;
  size_t begin = 0;
  for (size_t open; (open = written.find(kOpening, begin)) != std::string::npos;) {
    const size_t name_at = open + kOpening.size();
    const size_t close = written.find('}', name_at);
    if (close == std::string::npos) {
      problem(scalar, fmt::format("'{}' has a '${{' without its '}}'", written));
      return std::nullopt;
    }
    const std::string name = written.substr(name_at, close - name_at);
    const auto variable = variables_.find(name);
    if (variable == variables_.end()) {
      std::vector<std::string_view> known;
      for (const auto& [candidate, value] : variables_) known.push_back(candidate);
      const std::string near = nearest_word(name, known);
      problem(scalar, fmt::format("unknown variable '{}': {}", name,
                                  !near.empty()   ? did_you_mean(near, "")
                                  : known.empty() ? "there are no vars"
                                                  : fmt::format("known are {}", fmt::join(known, ", "))));
      return std::nullopt;
    }
    if (!variable->second) return std::nullopt;
    text += written.substr(begin, open - begin) + *variable->second;
    begin = close + 1;
  }
  return text + written.substr(begin);
}

std::optional<std::string> YamlReader::word(const YAML::Node& node, std::string_view expectation) {
  if (node.IsScalar() && !node.Scalar().empty()) return text_of(node);
  problem(node, fmt::format("{}, found {}", expectation, kind_of(node)));
  return std::nullopt;
}

// A list as parse_value() reads it; what is no word in it becomes null, which that refuses.
std::string YamlReader::words_json(const YAML::Node& list) {
  Json words = Json::array();
  for (const YAML::Node& item : list) {
    const auto text = item.IsScalar() ? text_of(item) : std::nullopt;
    words.push_back(text ? Json(*text) : Json());
  }
  return words.dump();
}

std::optional<Json> YamlReader::value_of(const KeySpec& spec, const YAML::Node& node) {
  try {
    if (node.IsNull()) return parse_value(spec, "null");
    if (node.IsScalar()) {
      const bool has_variable = node.Scalar().find(kOpening) != std::string::npos;
      if (const auto text = text_of(node)) return parse_value(spec, *text, node.Tag() == "!" && !has_variable);
    } else if (node.IsSequence() && spec.kind == ValueKind::words) {
      return parse_value(spec, words_json(node));
    } else {
      problem(node, fmt::format("{}: expected one value, found {}", spec.key, kind_of(node)));
    }
  } catch (const UsageError& error) {
    problem(node, error.what());
  }
  problems_.poison(std::string(spec.key));
  return std::nullopt;
}

}  // namespace zo2
