#include "experiment/reference.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/metrics.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

// A unit as printed, in the metric's own unit: the least and the most that it may stand for.
struct Unit {
  std::string_view name;
  double least;
  double most;
};
constexpr std::array kSizes{Unit{"bytes", 1, 1}, Unit{"MB", 1e6, kMiB}, Unit{"GB", 1e9, kGiB}, Unit{"MiB", kMiB, kMiB},
                            Unit{"GiB", kGiB, kGiB}};
constexpr Unit kPercent{"%", 0.01, 0.01};
constexpr Unit kItself{"", 1, 1};

// nullptr when the metric is not given in that unit.
const Unit* find_unit(const Metric& metric, std::string_view name) {
  if (metric.unit == "bytes") {
    const auto* const size = std::ranges::find(kSizes, name, &Unit::name);
    return size == kSizes.end() ? nullptr : size;
  }
  if (name == metric.unit) return &kItself;
  return metric.unit.empty() && name == "%" ? &kPercent : nullptr;
}

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
  figure.task = text("task");
  figure.dtype = text("dtype");
  figure.batch = field<int64_t>(node, common, "batch", 0);
  figure.seq = field<int64_t>(node, common, "seq", 0);
  figure.tie_embeddings = field<bool>(node, common, "tie_embeddings", false);
  figure.gpu = text("gpu");
  figure.link = text("link");
  figure.commit = text("commit");
  figure.source = text("source");
  figure.how_read = text("how_read");
  ZO2_CHECK(!figure.model.empty() && !figure.system.empty() && !figure.method.empty() && !figure.source.empty(),
            UsageError, "a figure needs system, method, model and source");
  ZO2_CHECK(figure.origin == "published" || figure.origin == "measured", UsageError,
            "origin is '{}': expected published or measured", figure.origin);
  ZO2_CHECK(find_metric(figure.metric) != nullptr, UsageError, "unknown metric '{}'", figure.metric);
  figure.set_value(text("value"));
  return figure;
}

}  // namespace

ReferenceFigure::Readings ReferenceFigure::readings() const {
  const Unit* known = find_unit(*find_metric(metric), unit);
  ZO2_ASSERT(known != nullptr);
  return {value * known->least, value * known->most};
}

void ReferenceFigure::set_value(const std::string& printed) {
  const char* end = printed.data() + printed.size();
  const auto [rest, code] = std::from_chars(printed.data(), end, value);
  ZO2_CHECK(code == std::errc(), UsageError, "value '{}' is not a number with its unit", printed);
  unit = std::string(rest, end);
  unit.erase(0, unit.find_first_not_of(' '));
  const Metric& of = *find_metric(metric);
  ZO2_CHECK(find_unit(of, unit) != nullptr, UsageError, "value '{}': needs a unit: {} is in {}", printed, metric,
            of.unit == "bytes" ? "bytes, MB, MiB, GB or GiB"
            : of.unit.empty()  ? "% or a plain number"
                               : of.unit);
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
  ZO2_CHECK(fs::is_directory(folder), IoError, "there is no folder {} with figures of other systems", folder.string());
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<ReferenceFigure> figures;
  for (const fs::path& file : files) {
    for (ReferenceFigure& figure : read_reference(file)) figures.push_back(std::move(figure));
  }
  return figures;
}

}  // namespace zo2
