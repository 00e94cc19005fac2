#include "experiment/comparable.h"

#include <array>

#include "base/error.h"
#include "experiment/config_schema.h"

namespace zo2 {
namespace {

bool is_throttled(const Record& record) { return record.state == State::throttled; }

bool has_foreign_process(const Record& record) { return record.result.value("foreign_gpu_processes", 0) > 0; }

// A record to which `applies` has no figure that counts of a metric that depends on this.
struct Rule {
  Depends depends;
  bool (*applies)(const Record&);
  std::string_view reason;
};
constexpr std::array kRules{
    Rule{Depends::speed, is_throttled, "the GPU was throttled"},
    Rule{Depends::device_memory, has_foreign_process, "another process was on the GPU"},
    Rule{Depends::host_memory, is_aliased, "host weights are aliased"},
    Rule{Depends::loss, is_aliased, "host weights are aliased"},
};

std::string text_at(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string processor_of(const Record& record) {
  const Json& environment = record.environment;
  if (text_at(record.result.value("chosen", Json::object()), "device") == "cpu") {
    const std::string model = text_at(environment, "cpu_model");
    return model.empty() ? "" : fmt::format("{}, {} cores", model, environment.value("cores", 0));
  }
  const auto gpu = environment.find("gpu");
  return gpu != environment.end() && gpu->is_object() ? text_at(*gpu, "name") : "";
}

std::string link_of(const Record& record) {
  const auto generation = record.metric("pcie_link_generation");
  const auto width = record.metric("pcie_link_width");
  return generation && width ? fmt::format("PCIe {} x{}", *generation, *width) : text_at(record.environment, "link");
}

// What the checkpoint has, where the configuration does not say; named models are tied.
bool is_tied(const Record& record) {
  const Json& tied = config_at(record.request.config, "model.tie_embeddings");
  if (!tied.is_null()) return tied.get<bool>();
  return record.result.value("chosen", Json::object()).value("tie_embeddings", true);
}

// The name of the prepared task's folder; empty for other data.
std::string task_of(const Json& config) {
  if (config_at(config, "data.kind") != "task" || !config_at(config, "data.path").is_string()) return "";
  return folder_name(config_at(config, "data.path").get<std::string>());
}

bool says_the_same(const std::string& a, const std::string& b) {
  const auto begins = [](const std::string& more, const std::string& less) {
    return more.starts_with(less) && (more.size() == less.size() || more[less.size()] == ' ');
  };
  return begins(a, b) || begins(b, a);
}

}  // namespace

Subject subject_of(const Record& record) {
  const Json& config = record.request.config;
  return {.model = record.model(),
          .tie_embeddings = is_tied(record),
          .task = task_of(config),
          .dtype = config_at(config, "engine.dtype").get<std::string>(),
          .batch = config_at(config, "data.batch").get<int64_t>(),
          .seq = config_at(config, "data.seq").get<int64_t>(),
          .processor = processor_of(record),
          .link = link_of(record)};
}

Subject subject_of(const ReferenceFigure& figure) {
  return {.model = figure.model,
          .tie_embeddings = figure.tie_embeddings,
          .task = figure.task,
          .dtype = figure.dtype,
          .batch = figure.batch,
          .seq = figure.seq,
          .processor = figure.gpu,
          .link = figure.link};
}

bool same_shape(const Subject& a, const Subject& b) {
  return a.model == b.model && a.tie_embeddings == b.tie_embeddings && a.task == b.task && a.dtype == b.dtype &&
         a.batch == b.batch && (a.seq == b.seq || !a.task.empty());  // a task's lengths are its own
}

std::string difference(const Subject& a, const Subject& b, const Metric& metric, const std::set<std::string>& ignore) {
  const auto differ = [&](const char* key, const auto& x, const auto& y) {
    return x == y || ignore.contains(key) ? std::string() : fmt::format("{}: {} and {}", key, x, y);
  };
  for (const std::string& text :
       {differ("model.name", a.model, b.model), differ("model.tie_embeddings", a.tie_embeddings, b.tie_embeddings),
        differ("engine.dtype", a.dtype, b.dtype), differ("data.batch", a.batch, b.batch),
        differ("data.seq", a.seq, b.seq)}) {
    if (!text.empty()) return text;
  }
  if (metric.depends != Depends::speed) return "";
  const auto machine = [](const char* what, const std::string& x, const std::string& y) {
    if (x == y) return std::string();  // as little is known of both
    if (x.empty() || y.empty()) return fmt::format("{}: {} and one not told", what, x.empty() ? y : x);
    return says_the_same(x, y) ? std::string() : fmt::format("{}: {} and {}", what, x, y);
  };
  const std::string processor = machine("processor", a.processor, b.processor);
  return processor.empty() ? machine("link", a.link, b.link) : processor;
}

bool has_figures(State state) { return state == State::ok || state == State::throttled || state == State::projected; }

std::string spoiled(const Record& record, const Metric& metric) {
  for (const Rule& rule : kRules) {
    if (rule.depends == metric.depends && rule.applies(record)) return std::string(rule.reason);
  }
  return "";
}

std::optional<double> counting_figure(const Record& record, const Metric& metric) {
  return has_figures(record.state) && spoiled(record, metric).empty() ? record.metric(metric.name) : std::nullopt;
}

bool is_aliased(const Record& record) { return config_at(record.request.config, "engine.host_weights") == "aliased"; }

}  // namespace zo2
