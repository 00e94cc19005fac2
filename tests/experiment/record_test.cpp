#include "experiment/record.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "experiment/config_schema.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;

TEST(Samples, ReadBackToTheSameBits) {
  const TempFolder scratch;
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<StepSample> written{
      {0, 18446744073709551615u, {0.1}, {1.0 / 3}, {5e-324}, 12.5},
      {1, 7, {10.823456789012345, std::nan("")}, {infinity, -infinity}, {-0.0, 1.7976931348623157e308}, 1e-7}};
  {
    SampleWriter writer(scratch.path());
    for (const StepSample& sample : written) writer.write(sample);
    writer.write(Json{{"kind", "eval"}, {"step", 1}, {"loss", 2.5}});
  }
  const auto read = read_samples(scratch.path());
  ASSERT_EQ(read.size(), 2u) << "lines of another kind are not steps";
  EXPECT_EQ(read_sample_lines(scratch.path()).size(), 3u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read[i].step, written[i].step);
    EXPECT_EQ(read[i].seed, written[i].seed);
    EXPECT_EQ(std::bit_cast<uint64_t>(read[i].step_ms), std::bit_cast<uint64_t>(written[i].step_ms));
    ASSERT_EQ(read[i].loss_plus.size(), i + 1);
    for (size_t pair = 0; pair <= i; ++pair) {
      EXPECT_EQ(std::bit_cast<uint64_t>(read[i].projected_gradient[pair]),
                std::bit_cast<uint64_t>(written[i].projected_gradient[pair]));
      EXPECT_EQ(read[i].loss_minus[pair], written[i].loss_minus[pair]);
    }
  }
  EXPECT_TRUE(std::isnan(read[1].loss_plus[1]));
}

TEST(Samples, ATornLastLineIsLeftOut) {
  const TempFolder scratch;
  scratch.write("samples.jsonl", "{\"kind\":\"eval\",\"step\":1}\n{\"kind\":\"ev");
  EXPECT_EQ(read_sample_lines(scratch.path()).size(), 1u);
  scratch.write("samples.jsonl", "{\"kind\":\"ev");
  EXPECT_TRUE(read_sample_lines(scratch.path()).empty());
  EXPECT_TRUE(read_samples(scratch.path() / "nowhere").empty());
}

TEST(Samples, ABrokenLineInTheMiddleIsNamed) {
  const TempFolder scratch;
  scratch.write("samples.jsonl", "{\"kind\":\"eval\"}\nnonsense\n{\"kind\":\"eval\"}\n");
  try {
    read_sample_lines(scratch.path());
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("samples.jsonl:2:"), std::string::npos) << error.what();
  }
  scratch.write("samples.jsonl", "{\"kind\":\"step\",\"step\":1}\n");
  EXPECT_THROW(read_samples(scratch.path()), UsageError);
}

TEST(Record, IsThereOnceItsResultIs) {
  const TempFolder scratch;
  const CellRequest request{"quick", "opt-125m-zo2", 2, "abc", default_config()};
  scratch.write("config.json", to_json(request).dump());
  EXPECT_FALSE(read_record(scratch.path()));
  Json result = make_result(State::ok, "abc");
  result["metrics"] = {{"arena_bytes", 123456789012}, {"tokens_per_s", 12.5}, {"loss_last", "nan"}};
  result["hashes"]["final_weights"] = "f00";
  write_result(scratch.path(), result);
  const auto record = read_record(scratch.path());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->state, State::ok);
  EXPECT_EQ(record->request.repeat, 2);
  EXPECT_EQ(record->request.config, default_config());
  EXPECT_EQ(record->bytes("arena_bytes"), 123456789012);
  EXPECT_EQ(record->metric("tokens_per_s"), 12.5);
  EXPECT_TRUE(std::isnan(*record->metric("loss_last")));
  EXPECT_FALSE(record->metric("wall_s"));
  EXPECT_EQ(record->hash("final_weights"), "f00");
  EXPECT_EQ(record->hash("initial_weights"), "");
}

TEST(Record, RefusesAStateOrShapeThatItDoesNotKnow) {
  const TempFolder scratch;
  scratch.write("config.json", to_json(CellRequest{"e", "s", 0, "abc", default_config()}).dump());
  scratch.write("result.json", R"({"state": "splendid"})");
  EXPECT_THROW(read_record(scratch.path()), UsageError);
  scratch.write("result.json", R"({"metrics": {}})");
  EXPECT_THROW(read_record(scratch.path()), UsageError);
  scratch.write("result.json", R"({"state": "ok"})");
  scratch.write("config.json", "{}");
  EXPECT_THROW(read_record(scratch.path()), UsageError);
}

TEST(Record, CellsComeInTheExperimentsOrderAndRepeatsByNumber) {
  const TempFolder scratch;
  const auto add = [&](const std::string& cell, int repeat) {
    const std::string folder = "cells/" + cell + "/r" + std::to_string(repeat);
    scratch.write(folder + "/config.json", to_json(CellRequest{"e", cell, repeat, cell, default_config()}).dump());
    scratch.write(folder + "/result.json", make_result(State::ok, cell).dump());
  };
  for (int repeat : {10, 2, 0}) add("x-bbbbbbbb", repeat);
  add("w-aaaaaaaa", 0);
  add("y-cccccccc", 0);
  scratch.write("cells/x-bbbbbbbb/r3/config.json", "{}");  // not ended
  scratch.write("cells/x-bbbbbbbb/notes/result.json", "{}");
  scratch.write("experiment.json", R"({"cells": [{"config_hash": "cccccccc99"}, {"config_hash": "bbbbbbbb99"}]})");
  std::string order;
  for (const Record& record : read_records(scratch.path())) {
    order += record.request.slug.substr(0, 1) + std::to_string(record.request.repeat) + " ";
  }
  EXPECT_EQ(order, "y0 x0 x2 x10 w0 ");
  EXPECT_THROW(read_records(scratch.path() / "cells"), IoError);
}

}  // namespace
}  // namespace zo2
