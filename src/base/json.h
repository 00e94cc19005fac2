// JSON values and numbers that read back to the same bits.
#pragma once

#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <string>

namespace zo2 {

// Keys are sorted, so dump() of equal values is equal text (the canonical form that config_hash is taken of).
using Json = nlohmann::json;

// A finite number, or "nan", "inf", "-inf".
inline Json json_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

// The inverse of json_number; throws UsageError on anything else.
double number_from_json(const Json& value);

// A string as it is, anything else as JSON: for people.
std::string json_text(const Json& value);

// Reads a whole file; throws IoError when it cannot be read, UsageError (with the byte) when it is not JSON.
Json read_json(const std::filesystem::path& path);

// Writes `text` aside, syncs it and renames it over `path`, so that a reader sees the old file or the whole new one.
// Throws IoError and leaves the old file when the disk is full or the folder cannot be written.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace zo2
