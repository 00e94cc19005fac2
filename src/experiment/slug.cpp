#include "experiment/slug.h"

#include <array>
#include <cctype>
#include <filesystem>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/config_schema.h"

namespace zo2 {
namespace {

// Tried first, since they are what people compare.
constexpr std::array<std::string_view, 4> kFirstKeys{"engine.project", "engine.dtype", "data.seq", "data.batch"};

std::string clean(std::string_view text) {
  std::string slug;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '.' || c == '_') {
      slug += static_cast<char>(std::tolower(byte));
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  while (!slug.empty() && (slug.back() == '-' || slug.back() == '.')) slug.pop_back();
  return slug;
}

std::string compact_bytes(int64_t bytes) {
  if (bytes % kGiB == 0) return fmt::format("{}gib", bytes / kGiB);
  if (bytes % kMiB == 0) return fmt::format("{}mib", bytes / kMiB);
  return fmt::format("{}b", bytes);
}

// The script of a command: its first word that ends as a file's name does, else the program.
std::string script_of(const Json& command) {
  std::filesystem::path script = command.at(0).get<std::string>();
  for (const Json& word : command) {
    const std::filesystem::path path = word.get<std::string>();
    if (!word.get<std::string>().starts_with('-') && path.has_extension()) {
      script = path;
      break;
    }
  }
  return script.stem().string();
}

std::string slug_part(const KeySpec& spec, const Json& value) {
  if (value.is_null()) return "";
  if (spec.kind == ValueKind::boolean) {
    const size_t bar = spec.label.find('|');
    return std::string(value.get<bool>() ? spec.label.substr(0, bar) : spec.label.substr(bar + 1));
  }
  if (spec.kind == ValueKind::words) return clean(script_of(value));
  std::string text;
  if (value.is_string()) {
    text = spec.key.ends_with(".path") ? folder_name(value.get<std::string>()) : value.get<std::string>();
  } else if (spec.kind == ValueKind::bytes) {
    text = compact_bytes(value.get<int64_t>());
  } else if (spec.kind == ValueKind::integer) {
    text = fmt::format("{}", value.get<int64_t>());
  } else {
    text = fmt::format("{:g}", value.get<double>());
  }
  return clean(fmt::format("{}{}", spec.label, text));
}

void append(std::string& slug, const std::string& part) {
  if (!slug.empty() && !part.empty()) slug += '-';
  slug += part;
}

}  // namespace

void assign_slugs(std::vector<Cell>& cells) {
  std::vector<const KeySpec*> candidates;
  for (std::string_view key : kFirstKeys) candidates.push_back(find_key(key));
  for (const KeySpec& spec : config_schema()) candidates.push_back(&spec);

  for (Cell& cell : cells) {
    cell.slug.clear();
    for (std::string_view key : {"model.name", "model.path", "method.name"}) {
      append(cell.slug, slug_part(*find_key(key), config_at(cell.config, key)));
    }
  }
  size_t distinct = 0;
  const auto count_distinct = [&](const std::vector<std::string>& slugs) {
    return std::set<std::string>(slugs.begin(), slugs.end()).size();
  };
  std::vector<std::string> slugs;
  for (const Cell& cell : cells) slugs.push_back(cell.slug);
  distinct = count_distinct(slugs);
  for (const KeySpec* spec : candidates) {
    if (distinct == cells.size()) break;
    std::vector<std::string> longer = slugs;
    for (size_t i = 0; i < cells.size(); ++i)
      append(longer[i], slug_part(*spec, config_at(cells[i].config, spec->key)));
    const size_t better = count_distinct(longer);
    if (better == distinct) continue;
    distinct = better;
    slugs = std::move(longer);
  }
  for (size_t i = 0; i < cells.size(); ++i) cells[i].slug = std::move(slugs[i]);
}

}  // namespace zo2
