// A folder of records for tests of what reads records. Their numbers are invented.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "experiment/config_schema.h"
#include "experiment/record.h"
#include "support.h"

namespace zo2 {

class SyntheticRecords : public ::testing::Test {
 protected:
  struct Options {
    std::string method = "zo2";
    int repeat = 0;
    State state = State::ok;
    double tokens_per_s = 100;
    double gradient = 1.5;
    std::string final_weights = "bbb";
    std::map<std::string, Json> config{};
    int steps = 10;
    Json metrics = Json::object();
    Json result = Json::object();  // members besides
    Json environment = Json::object();
  };

  void add(const Options& options) {
    Json config = default_config();
    config_set(config, "method.name", options.method);
    for (const auto& [key, value] : options.config) config_set(config, key, value);
    const std::string hash = config_hash(config);
    const std::string slug = config_at(config, "model.name").get<std::string>() + "-" + options.method;
    const std::string folder = "cells/" + slug + "-" + hash.substr(0, 8) + "/r" + std::to_string(options.repeat);
    scratch_.write(folder + "/config.json",
                   to_json(CellRequest{"synthetic", slug, options.repeat, hash, config}).dump());
    scratch_.write(folder + "/env.json", options.environment.dump());
    if (options.state == State::ok) {
      SampleWriter writer(scratch_.path() / folder);
      for (int step = 0; step < options.steps; ++step) {
        writer.write(StepSample{step, 7u, {11.0}, {10.0}, {step == 0 ? 0.0 : options.gradient}, 20.0});
      }
    }
    Json result = make_result(options.state, hash);
    result["metrics"] = {{"tokens_per_s", options.tokens_per_s},
                         {"step_ms_p50", 20.5},
                         {"tile_bytes", 1 << 20},
                         {"arena_bytes", 64 << 20},
                         {"arena_planned_bytes", 64 << 20},
                         {"loss_first", 10.5},
                         {"loss_last", 10.25},
                         {"host_rss_peak_bytes", 512 << 20}};
    result["metrics"].update(options.metrics);
    result.update(options.result);
    result["hashes"] = {{"initial_weights", "aaa"}, {"final_weights", options.final_weights}};
    scratch_.write(folder + "/result.json", result.dump());
  }

  const testing::TempFolder scratch_;
};

}  // namespace zo2
