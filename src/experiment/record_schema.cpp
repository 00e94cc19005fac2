#include "experiment/record_schema.h"

#include <initializer_list>
#include <utility>

#include "experiment/config_schema.h"
#include "experiment/metrics.h"
#include "experiment/record.h"

namespace zo2 {
namespace {

constexpr const char* kHashPattern = "^[0-9a-f]{64}$";

struct Field {
  std::string_view name;
  Json schema;
  bool required = true;
};

Json described(Json schema, std::string_view description) {
  schema["description"] = description;
  return schema;
}

Json of_type(Json type, std::string_view description) { return described({{"type", std::move(type)}}, description); }

Json count(std::string_view description) { return described({{"type", "integer"}, {"minimum", 0}}, description); }

Json hash(std::string_view description) {
  return described({{"type", "string"}, {"pattern", kHashPattern}}, description);
}

// A number as json_number writes it.
Json number(std::string_view description) {
  return described({{"anyOf", Json::array({{{"type", "number"}}, {{"enum", {"nan", "inf", "-inf"}}}})}}, description);
}

// One number, or a list with one for each direction pair.
Json number_of_pairs(std::string_view description) {
  const Json one{{"anyOf", Json::array({{{"type", "number"}}, {{"enum", {"nan", "inf", "-inf"}}}})}};
  return described({{"anyOf", Json::array({one, {{"type", "array"}, {"items", one}, {"minItems", 2}}})}}, description);
}

Json list_of(Json items, std::string_view description) {
  return described({{"type", "array"}, {"items", std::move(items)}}, description);
}

Json object(std::initializer_list<Field> fields) {
  Json schema{
      {"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}, {"additionalProperties", false}};
  for (const Field& field : fields) {
    schema["properties"][std::string(field.name)] = field.schema;
    if (field.required) schema["required"].push_back(field.name);
  }
  return schema;
}

Json version() { return described({{"const", kRecordSchema}}, "version of the format"); }

Json value_schema(const KeySpec& spec) {
  Json schema;
  switch (spec.kind) {
    case ValueKind::boolean: schema = {{"type", "boolean"}}; break;
    case ValueKind::integer: schema = {{"type", "integer"}, {"minimum", spec.least}, {"maximum", spec.most}}; break;
    case ValueKind::real: schema = {{"type", "number"}, {"minimum", spec.least}, {"maximum", spec.most}}; break;
    case ValueKind::text:
      schema = {{"type", "string"}};
      if (!spec.words.empty()) schema["enum"] = spec.words;
      break;
    case ValueKind::bytes:
      schema = {{"anyOf", Json::array({{{"type", "integer"}, {"minimum", spec.least}}, {{"enum", spec.words}}})}};
      break;
    case ValueKind::words: schema = {{"type", "array"}, {"items", {{"type", "string"}}}}; break;
  }
  // model.name is null where model.path is given.
  if (spec.default_value.is_null() || spec.key == "model.name") {
    schema = {{"anyOf", Json::array({std::move(schema), {{"type", "null"}}})}};
  }
  schema["default"] = spec.default_value;
  return described(std::move(schema), spec.meaning);
}

// Records of earlier versions lack the keys that came later, which then have their defaults.
Json config_schema_of_cell() {
  Json sections = Json::object();
  for (const KeySpec& spec : config_schema()) {
    const std::string section(spec.key.substr(0, spec.key.find('.')));
    if (!sections.contains(section)) sections[section] = object({});
    sections[section]["properties"][std::string(spec.key.substr(section.size() + 1))] = value_schema(spec);
  }
  Json schema = object({});
  schema["properties"] = std::move(sections);
  return described(std::move(schema), "the cell's configuration, see manifest.md");
}

Json metrics_schema() {
  Json schema = object({});
  for (const Metric& metric : metric_table()) {
    schema["properties"][std::string(metric.name)] =
        metric.unit == "bytes" ? of_type("integer", metric.definition) : number(metric.definition);
  }
  return described(std::move(schema), "what was measured, see metrics.md");
}

Json state_schema() {
  Json names = Json::array();
  for (int state = 0; state <= static_cast<int>(State::projected); ++state) {
    names.push_back(state_name(static_cast<State>(state)));
  }
  return described({{"enum", std::move(names)}}, "how the repeat ended");
}

Json experiment_schema() {
  const Json condition{{"type", "object"}, {"additionalProperties", {{"type", "array"}}}};
  return object(
      {{"schema", version()},
       {"name", of_type("string", "of the manifest")},
       {"manifest", of_type("string", "its file, without the folders above"), false},
       {"variant", of_type("string", "that was chosen"), false},
       {"set", list_of(of_type("string", "key=value"), "what -S changed"), false},
       {"over",
        described(
            object({{"repeats", count("of --repeats"), false}, {"timeout", of_type("number", "of --timeout"), false}}),
            "what other options of zo2 run put over the manifest"),
        false},
       {"repeats", count("processes for each cell")},
       {"cells", list_of(object({{"slug", of_type("string", "short name")},
                                 {"config_hash", hash("of its configuration")},
                                 {"skipped", of_type("string", "why it is excluded"), false}}),
                         "in order")},
       {"expect", list_of(object({{"where", described(condition, "for each key, the values that a cell may have")},
                                  {"metric", of_type("string", "see metrics.md")},
                                  {"written", of_type("string", "the bound as the manifest has it")},
                                  {"source", of_type("string", "who says so")},
                                  {"at_most", of_type("number", "in the metric's unit"), false},
                                  {"at_least", of_type("number", "in the metric's unit"), false}}),
                          "what must hold")}});
}

Json request_schema() {
  return object({{"schema", version()},
                 {"experiment", of_type("string", "name of the manifest")},
                 {"slug", of_type("string", "short name of the cell")},
                 {"repeat", count("from 0")},
                 {"config_hash", hash("SHA-256 of the configuration without the keys that equal their default")},
                 {"config", config_schema_of_cell()}});
}

Json environment_schema() {
  const Json text_or_null = {"string", "null"};
  const Json number_or_null = {"number", "null"};
  Json gpu = object({{"name", of_type(text_or_null, "as NVML has it")},
                     {"memory_bytes", of_type({"integer", "null"}, "all of it")},
                     {"driver", of_type(text_or_null, "version")},
                     {"power_limit_w", of_type(number_or_null, "the one in force")},
                     {"sm_clock_max_mhz", of_type({"integer", "null"}, "that it can run at"), false},
                     {"pcie_generation_max", of_type({"integer", "null"}, "of GPU and slot together")},
                     {"pcie_width_max", of_type({"integer", "null"}, "lanes")}});
  gpu["type"] = {"object", "null"};
  return object({{"cpu_model", of_type("string", "as the kernel has it")},
                 {"cores", count("logical ones")},
                 {"memory_bytes", count("of the machine")},
                 {"kernel", of_type("string", "name, release and architecture")},
                 {"compiler", of_type("string", "of the program")},
                 {"compile_flags", of_type("string", "of the program")},
                 {"build", of_type("string", "optimised or not, or a sanitizer")},
                 {"git_commit", of_type("string", "of the program; -dirty with changes")},
                 {"binary_sha256", described({{"type", "string"}}, "of the program that ran the cell")},
                 {"gpu", described(std::move(gpu), "the visible one; null without; null for what it does not tell")}});
}

Json sample_schema() {
  Json step = object({{"kind", described({{"const", "step"}}, "a training step")},
                      {"step", count("from 0")},
                      {"seed", count("of its direction")},
                      {"loss_plus", number_of_pairs("at w + eps z; a list with several pairs")},
                      {"loss_minus", number_of_pairs("at w - eps z")},
                      {"projected_gradient", number_of_pairs("(loss_plus - loss_minus) / (2 eps)")},
                      {"step_ms", number("device time since the end of the step before")}});
  Json evaluation = object({{"kind", described({{"const", "eval"}}, "an evaluation")},
                            {"step", count("steps done before it")},
                            {"loss", number("of the objective, over the evaluation data")},
                            {"accuracy", of_type("number", "share of examples that were right, of a task"), false},
                            {"right", count("examples that were right"), false},
                            {"n", count("examples"), false}});
  return {{"oneOf", {std::move(step), std::move(evaluation)}}};
}

Json result_schema() {
  return object(
      {{"schema", version()},
       {"state", state_schema()},
       {"config_hash", hash("of the configuration")},
       {"metrics", metrics_schema()},
       {"hashes", described(object({{"initial_weights", hash("before the first step"), false},
                                    {"final_weights", hash("after the last one"), false},
                                    {"selected_weights", hash("of train.select"), false}}),
                            "of all weights, where the repeat got that far")},
       {"chosen", described(object({{"device", described({{"enum", {"cpu", "cuda"}}}, "where it ran"), false},
                                    {"tie_embeddings", of_type("boolean", "of the model"), false},
                                    {"tile_bytes", count("largest tile"), false},
                                    {"hardware", of_type("string", "what a projection is for"), false}}),
                            "what auto became")},
       {"warnings", list_of({{"type", "string"}}, "what limits the figures, and what to do about it")},
       {"error", of_type("string", "why, unless the state is ok"), false},
       {"reason", of_type("string", "why it is excluded (state skipped)"), false},
       {"throttle_reasons", list_of({{"type", "string"}}, "why the GPU lowered its clocks; where one was watched"),
        false},
       {"foreign_gpu_processes", count("processes of others that were on the GPU; where one was watched"), false},
       {"extra", described({{"type", "object"}}, "what an external program said beside metrics"), false},
       {"imported", described({{"type", "object"}}, "where an imported record comes from"), false},
       {"stderr_tail", of_type("string", "last lines of stderr.log, of a repeat that failed"), false},
       {"signal", of_type("string", "that ended the process"), false},
       {"exit_code", of_type("integer", "of the process; -1 when a signal ended it"), false},
       {"started_utc", of_type("string", "when the process started"), false}});
}

}  // namespace

std::span<const RecordFile> record_files() {
  static constexpr RecordFile kFiles[] = {
      {"experiment.json", "the cells of the last run and what is expected of them", "experiment", experiment_schema},
      {"config.json", "what one repeat was asked to do", "config", request_schema},
      {"env.json",
       "the machine and the program, before the repeat started; \"unknown\" for what could not be found out", "env",
       environment_schema},
      {"samples.jsonl", "a line for each step and each evaluation, written while the repeat runs", "sample",
       sample_schema},
      {"result.json", "how the repeat ended; written last, so that its presence means that the repeat has ended",
       "result", result_schema},
  };
  return kFiles;
}

}  // namespace zo2
