#include "cli/record_log.h"

#include "base/error.h"
#include "cli/job_config.h"
#include "experiment/config_schema.h"
#include "experiment/record.h"
#include "optimizer/run_folder.h"
#include "runtime/pass.h"

namespace zo2 {

bool is_record(const std::filesystem::path& folder) {
  return !std::filesystem::exists(folder / kStepLogFile) && std::filesystem::exists(folder / "samples.jsonl") &&
         std::filesystem::exists(folder / "result.json");
}

StepLog log_of_record(const std::filesystem::path& folder) {
  const std::optional<Record> record = read_record(folder);
  ZO2_ASSERT(record);
  const Json& config = record->request.config;
  const auto method = config_at(config, "method.name").get<std::string>();
  ZO2_CHECK(method == "zo2" || method == "resident", UsageError,
            "{}: the weights of method {} are no function of a log: records of zo2 and resident can be replayed",
            folder.string(), method);
  StepLog log;
  StepLogHeader& header = log.header;
  header.base_hash = record->hash("initial_weights");
  ZO2_CHECK(!header.base_hash.empty(), UsageError, "{}: the record is of state {} and has no hash of its weights",
            folder.string(), state_name(record->state));
  header.dtype = parse_dtype(config_at(config, "engine.dtype").get<std::string>());
  header.writeback_every = config_at(config, "method.writeback_every").get<int>();
  header.rounding = config_at(config, "method.rounding").get<std::string>();
  header.noise_version = kNoiseVersion;
  header.noise = config_at(config, "method.noise").get<std::string>();
  header.pairs = config_at(config, "method.perturbations").get<int>();
  Json flat;
  for (const KeySpec& spec : config_schema()) flat[spec.key] = config_at(config, spec.key);
  header.config = flat.dump();

  const LearningRate learning_rate{config_at(config, "method.lr").get<double>(),
                                   config_at(config, "train.schedule").get<std::string>() == "linear",
                                   config_at(config, "train.steps").get<int64_t>()};
  EntryRule rule{0, config_at(config, "method.weight_decay").get<double>(),
                 static_cast<double>(executor_settings_from_config(config).eps), static_cast<uint32_t>(header.pairs)};
  for (const StepSample& sample : read_samples(folder)) {
    ZO2_CHECK(sample.step == log.next_step(), UsageError,
              "{}: after step {} comes step {} in samples.jsonl: a record whose samples were thinned out cannot be "
              "replayed",
              folder.string(), log.next_step() - 1, sample.step);
    ZO2_CHECK(sample.loss_plus.size() == rule.pairs && sample.loss_minus.size() == rule.pairs, UsageError,
              "{}: step {} has {} losses for {} pairs", folder.string(), sample.step, sample.loss_plus.size(),
              rule.pairs);
    rule.learning_rate = learning_rate.at(sample.step);
    for (uint32_t pair = 0; pair < rule.pairs; ++pair) {
      const double plus = sample.loss_plus[pair];
      const double minus = sample.loss_minus[pair];
      log.entries.push_back(log_entry(sample.step, static_cast<int>(pair), sample.seed, rule.learning_rate, plus, minus,
                                      entry_values(plus, minus, rule, pair)));
    }
  }
  return log;
}

}  // namespace zo2
