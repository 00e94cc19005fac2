#include "experiment/reference.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/metrics.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

template <typename T>
T field(const YAML::Node& figure, const YAML::Node& common, const char* name, T missing) {
  if (figure[name]) return figure[name].as<T>();
  if (common && common[name]) return common[name].as<T>();
  return missing;
}

ReferenceFigure read_figure(const YAML::Node& node, const YAML::Node& common) {
  const auto text = [&](const char* name) { return field<std::string>(node, common, name, ""); };
  ReferenceFigure figure;
  figure.system = text("system");
  figure.origin = text("origin");
  figure.method = text("method");
  figure.model = text("model");
  figure.metric = text("metric");
  figure.dtype = text("dtype");
  figure.batch = field<int64_t>(node, common, "batch", 0);
  figure.seq = field<int64_t>(node, common, "seq", 0);
  figure.tie_embeddings = field<bool>(node, common, "tie_embeddings", false);
  figure.gpu = text("gpu");
  figure.link = text("link");
  figure.commit = text("commit");
  figure.source = text("source");
  figure.how_read = text("how_read");
  ZO2_CHECK(!figure.model.empty() && !figure.system.empty() && !figure.source.empty(), UsageError,
            "a figure needs system, model and source");
  ZO2_CHECK(figure.origin == "published" || figure.origin == "measured", UsageError,
            "origin is '{}': expected published or measured", figure.origin);
  ZO2_CHECK(figure.method == "zo2" || figure.method == "mezo", UsageError, "method is '{}': expected zo2 or mezo",
            figure.method);
  ZO2_CHECK(find_metric(figure.metric) != nullptr, UsageError, "unknown metric '{}'", figure.metric);
  const std::string printed = text("value");
  const size_t space = printed.find(' ');
  ZO2_CHECK(space != std::string::npos, UsageError, "value '{}' needs a unit", printed);
  figure.value = YAML::Node(printed.substr(0, space)).as<double>();
  figure.unit = printed.substr(space + 1);
  const std::string_view unit = find_metric(figure.metric)->unit;
  ZO2_CHECK(unit == "bytes" ? figure.bytes().has_value() : figure.unit == unit, UsageError, "value '{}': {} is in {}",
            printed, figure.metric, unit == "bytes" ? "MB, MiB, GB or GiB" : unit);
  return figure;
}

}  // namespace

std::optional<ReferenceFigure::Bytes> ReferenceFigure::bytes() const {
  for (const auto& [decimal, binary] : {std::pair{"MB", "MiB"}, {"GB", "GiB"}}) {
    if (unit != decimal && unit != binary) continue;
    const auto scaled = [&](const char* name) {
      return value * static_cast<double>(parse_bytes(std::string("1 ") + name));
    };
    return Bytes{scaled(unit.c_str()), scaled(binary)};
  }
  return std::nullopt;
}

std::vector<ReferenceFigure> read_reference(const fs::path& file) {
  std::vector<ReferenceFigure> figures;
  int line = 0;
  try {
    const YAML::Node root = YAML::LoadFile(file.string());
    for (const YAML::Node& node : root["figures"]) {
      line = node.Mark().line + 1;
      figures.push_back(read_figure(node, root["common"]));
    }
  } catch (const YAML::BadFile&) {
    throw IoError(fmt::format("cannot read {}", file.string()));
  } catch (const YAML::Exception& error) {
    throw UsageError(fmt::format("{}:{}: {}", file.string(), error.mark.line + 1, error.msg));
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}:{}: {}", file.string(), line, error.what()));
  }
  return figures;
}

std::vector<ReferenceFigure> read_references(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::is_directory(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".yaml") files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  std::vector<ReferenceFigure> figures;
  for (const fs::path& file : files) {
    for (ReferenceFigure& figure : read_reference(file)) figures.push_back(std::move(figure));
  }
  return figures;
}

}  // namespace zo2
