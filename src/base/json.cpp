#include "base/json.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "base/error.h"
#include "base/file.h"

namespace zo2 {

double number_from_json(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  throw UsageError(fmt::format("expected a number, found {}", value.dump()));
}

std::string json_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

Json read_json(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {  // a number such as 1e999 is no parse_error
    throw UsageError(fmt::format("{} is not valid JSON: {}", path.string(), error.what()));
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path aside = path.string() + ".tmp";
  try {
    File file = File::create(aside);
    file.write_all(text.data(), text.size());
    file.sync();
  } catch (...) {
    ::unlink(aside.c_str());
    throw;
  }
  rename_durably(aside, path);
}

}  // namespace zo2
