// The steps of reading a YAML document that people write: maps, lists and values, every mistake noted with its place
// and none fatal, and variables replaced. What the keys mean is up to who derives (manifest_reader.cpp).
//
// ${name} in a value stands for the text of that variable. A value with a variable counts as unquoted: inside of {...}
// YAML wants quotes around the braces.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "experiment/config_schema.h"
#include "experiment/problems.h"

namespace zo2 {

// By name; nullopt where the value was a mistake, so that its uses are not mistakes too.
using Variables = std::map<std::string, std::optional<std::string>>;

class YamlReader {
 public:
  YamlReader(std::string file, Variables variables, Problems& problems)
      : file_(std::move(file)), variables_(std::move(variables)), problems_(problems) {}

 protected:
  using EntryFunction = std::function<void(const std::string& key, const YAML::Node& at, const YAML::Node& value)>;

  Position place(const YAML::Node& node) const { return {file_, node.Mark().line + 1, node.Mark().column + 1}; }
  void problem(const YAML::Node& node, const std::string& message) { problems_.add(place(node), message); }
  Problems& problems() { return problems_; }

  void unknown(const YAML::Node& at, const std::string& key, std::span<const std::string_view> known);

  // Calls `function` for the entries of a map; notes what is no map, keys that are no words, and keys given twice.
  void each_entry(const YAML::Node& map, std::string_view what, const EntryFunction& function);
  void each_item(const YAML::Node& list, std::string_view what, const std::function<void(const YAML::Node&)>& function);

  // A scalar's text with its variables replaced; nullopt for one without a value, which is noted.
  std::optional<std::string> text_of(const YAML::Node& scalar);
  // The text of what must be a scalar and not empty; `expectation` begins the message when it is not.
  std::optional<std::string> word(const YAML::Node& node, std::string_view expectation);
  // One value as `spec` wants it; a mistake is noted, and the key poisoned.
  std::optional<Json> value_of(const KeySpec& spec, const YAML::Node& node);

  static std::string kind_of(const YAML::Node& node);  // "a map", "'text'"

  void set_variables(Variables variables) { variables_ = std::move(variables); }

 private:
  std::string words_json(const YAML::Node& list);

  std::string file_;
  Variables variables_;
  Problems& problems_;
};

}  // namespace zo2
