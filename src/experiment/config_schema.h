// The configuration of a cell as a table: every key with its type, default, range and meaning. Manifest validation,
// `-S key=value`, defaults, the config hash, slugs and the reference page all read this table; a new key is one row.
//
// A configuration is JSON, one object a section: {"model": {"name": ...}, "method": {...}, ...}. Keys are written
// dotted ("method.lr"). Sizes are integer bytes once parsed, whatever unit they were written in.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace zo2 {

enum class ValueKind : uint8_t { boolean, integer, real, text, bytes, words };  // words: a list of text

struct KeySpec {
  std::string_view key;  // dotted
  ValueKind kind;
  Json default_value;  // null: unset
  double least = 0;    // smallest and largest allowed value of an integer, a real or a size
  double most = 0;
  std::vector<std::string_view> words;  // text: the allowed words (empty: any); bytes: words allowed beside a size
  bool numerics = true;  // false: where weights live and when they move, which never changes a bit of the result
  // How a slug names the key, before its value: "seq" in "opt-125m-zo2-seq128"; for booleans "yes|no".
  std::string_view label;
  std::string_view meaning;  // one line, with the unit
};

std::span<const KeySpec> config_schema();

// nullptr when there is no such key.
const KeySpec* find_key(std::string_view key);

// "an integer from 1 to 64", "one of fp32, fp16, bf16".
std::string expected_values(const KeySpec& spec);

// The known key (or, without a dot, section) that was probably meant, by the edit distance of its last part; the same
// name in another section counts, and so does the key's meaning ("learning_rate"). Empty when nothing is near.
std::string nearest_key(std::string_view key);

// The candidate with the least edit distance to `word`; empty when none is within half of the word's length.
std::string nearest_word(std::string_view word, std::span<const std::string_view> candidates);

// ": did you mean 'near'?" behind `lead`; nothing when `near` is empty.
std::string did_you_mean(std::string_view near, std::string_view lead = ": ");

// Converts and checks one value as written ("1e-3", "16 MiB", "true"; words as JSON: ["python3", "x.py"]); `quoted`
// says that it stood in quotes, so it is not a number. Returns the JSON that a configuration holds. Throws UsageError
// with what was expected, without a place.
Json parse_value(const KeySpec& spec, std::string_view text, bool quoted = false);

// Every key with its default.
Json default_config();

// The value at a dotted key. Throws InternalError when the configuration has no such key.
const Json& config_at(const Json& config, std::string_view key);
void config_set(Json& config, std::string_view key, Json value);

// The last part of a path, with or without a slash at its end.
std::string folder_name(const std::filesystem::path& path);

// How people call the configuration's model: model.name, or the folder of model.path.
std::string model_name(const Json& config);

// SHA-256 of the configuration's canonical JSON (keys sorted) with the keys that equal their default left out, so that
// neither the order of keys nor a default that is spelled out changes it. A key added to the table later does not
// change the hashes of old records as long as its default is the old behaviour.
std::string config_hash(const Json& config);

}  // namespace zo2
