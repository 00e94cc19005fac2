// Greedy generation with a cache of keys and values: equal to computing everything again for every token, wherever the
// weights live, and in the middle of training.
#include "task/generation.h"

#include <fmt/format.h>

#include <numeric>
#include <set>

#include "base/error.h"
#include "optimizer/testing.h"
#include "optimizer/textbook_mezo.h"

namespace zo2 {
namespace {

using testing::test_device;
using testing::tiny_model;

using Ids = std::vector<int32_t>;

constexpr DType kAllDTypes[] = {DType::f32, DType::f16, DType::bf16};

// A model with its weights in host memory, without a plan of its own.
struct Model {
  ModelConfig config;
  DType dtype;
  ParameterTable table;
  HostWeights weights;

  Model(const ModelConfig& of, DType type) : config(of), dtype(type), table(parameters_of(of)), weights(table, type) {
    initialise_weights(weights, 7, 0.3);
  }
  explicit Model(const std::filesystem::path& folder)
      : config(model_from_folder(folder)), dtype(DType::f32), table(parameters_of(config)), weights(table, dtype) {
    load_weights(weights, Checkpoint::open(folder));
  }
};

// Prompts of different lengths, in no order.
std::vector<Ids> ragged_prompts(int64_t vocab_size) {
  std::vector<Ids> prompts;
  int32_t id = 3;
  for (int length : {3, 9, 1, 6, 9, 2, 7}) {
    Ids& prompt = prompts.emplace_back();
    for (int i = 0; i < length; ++i) prompt.push_back(id = static_cast<int32_t>((7 * id + 5) % vocab_size));
  }
  return prompts;
}

std::vector<std::span<const int32_t>> views(const std::vector<Ids>& prompts) {
  return {prompts.begin(), prompts.end()};
}

constexpr int64_t kLongest = 9;
const GenerationRule kRule{12, {}};

PlanSettings settings_for(DType dtype, int64_t batch, bool cached = true) {
  PlanSettings settings;
  settings.dtype = dtype;
  settings.pairs = 0;
  settings.evaluation = false;
  settings.tile_bytes = 4096;
  settings.generation = generation_shape(batch, kLongest, kRule, cached);
  return settings;
}

// What a plan of these settings generates; the arena is used to the byte.
Generated generate_by(Model& model, const PlanSettings& settings, const std::vector<Ids>& prompts, bool cached = true) {
  const Plan plan = make_plan(model.config, settings, measured_attention(test_device(), model.dtype, 1));
  ExecutorSettings executor_settings;
  executor_settings.threads = 1;
  const auto executor = make_executor(test_device(), plan, model.weights, executor_settings);
  executor->start(0, {});
  Generated generated = generate(*executor, views(prompts), kRule, cached);
  EXPECT_EQ(executor->memory().peak_bytes, plan.layout.arena_bytes);
  return generated;
}

Generated generate_by_textbook(Model& model, const std::vector<Ids>& prompts) {
  const auto executor = make_textbook_mezo(test_device(), model.config, model.weights, {}, Objective::lm);
  executor->start(0, {});
  return generate(*executor, views(prompts), kRule);
}

// A test on a model that says the same token again and again would show nothing.
void expect_variety(const Generated& generated) {
  std::set<int32_t> seen;
  for (const Ids& ids : generated.ids) seen.insert(ids.begin(), ids.end());
  EXPECT_GE(seen.size(), 8U);
}

struct Variant {
  const char* name;
  bool tied;
  bool norm_before;
  int64_t word_embed_proj_dim;
};

const Variant kVariants[] = {{"tied", true, true, 32}, {"untied", false, true, 32}, {"postnorm", false, false, 16}};

ModelConfig config_of(const Variant& variant) {
  ModelConfig config = tiny_model(variant.tied);
  config.norm_before = config.final_norm = variant.norm_before;
  config.word_embed_proj_dim = variant.word_embed_proj_dim;
  return config;
}

TEST(Generation, EqualsFullForwardPassesWithoutACacheInFp32) {
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.name);
    Model model(config_of(variant), DType::f32);
    const std::vector<Ids> prompts = ragged_prompts(model.config.vocab_size);
    const Generated cached = generate_by(model, settings_for(DType::f32, 4), prompts);
    expect_variety(cached);
    EXPECT_EQ(cached.ids, generate_by_textbook(model, prompts).ids);
    EXPECT_EQ(cached.ids, generate_by(model, settings_for(DType::f32, 4, false), prompts, false).ids);
    // Two batches, of the four longest and of the others; a pass for every new token.
    EXPECT_EQ(cached.passes, 24);
  }
}

TEST(Generation, EqualsFullForwardPassesOfSavedModels) {
  for (const char* name : {"opt-preln", "opt-postln", "opt-untied"}) {
    SCOPED_TRACE(name);
    if (!std::filesystem::is_directory(testing::fixture(name))) GTEST_SKIP() << "skipped: no shared fixtures";
    Model model(testing::fixture(name));
    const std::vector<Ids> prompts = ragged_prompts(model.config.vocab_size);
    const Generated cached = generate_by(model, settings_for(DType::f32, 3), prompts);
    expect_variety(cached);
    EXPECT_EQ(cached.ids, generate_by_textbook(model, prompts).ids);
  }
}

TEST(Generation, WhereWeightsLiveChangesNoToken) {
  for (const Variant& variant : kVariants) {
    for (DType dtype : kAllDTypes) {
      Model model(config_of(variant), dtype);
      const std::vector<Ids> prompts = ragged_prompts(model.config.vocab_size);
      PlanSettings settings = settings_for(dtype, 4);
      settings.budget.bytes = ArenaBudget::kAll;
      const Generated resident = generate_by(model, settings, prompts);
      expect_variety(resident);
      const auto workspace = measured_attention(test_device(), dtype, 1);
      const int64_t high = make_plan(model.config, settings, workspace).layout.arena_bytes;
      settings.budget.bytes = ArenaBudget::kSmallest;
      const int64_t low = make_plan(model.config, settings, workspace).layout.arena_bytes;
      for (int64_t budget : {ArenaBudget::kSmallest, std::midpoint(low, high)}) {
        for (const auto& [slots, overlap] : {std::pair{2, true}, std::pair{3, false}}) {
          SCOPED_TRACE(fmt::format("{} {} budget {} slots {} overlap {}", variant.name, dtype_name(dtype), budget,
                                   slots, overlap));
          settings.budget.bytes = budget;
          settings.slots = slots;
          settings.overlap = overlap;
          ASSERT_EQ(generate_by(model, settings, prompts).ids, resident.ids);
        }
      }
    }
  }
}

TEST(Generation, NeighboursInTheBatchDoNotChangeASequence) {
  Model model(tiny_model(), DType::f32);
  const std::vector<Ids> prompts = ragged_prompts(model.config.vocab_size);
  const Generated alone = generate_by(model, settings_for(DType::f32, 1), prompts);
  for (int64_t batch : {2, 5, 7})
    EXPECT_EQ(generate_by(model, settings_for(DType::f32, batch), prompts).ids, alone.ids);
}

TEST(Generation, ASequenceEndsAtItsTokenAndABatchWithItsLastSequence) {
  Model model(tiny_model(), DType::f32);
  const std::vector<Ids> prompts = ragged_prompts(model.config.vocab_size);
  const Generated free = generate_by(model, settings_for(DType::f32, 7), prompts);
  const Plan plan =
      make_plan(model.config, settings_for(DType::f32, 7), measured_attention(test_device(), DType::f32, 1));
  const auto executor = make_executor(test_device(), plan, model.weights, {});
  executor->start(0, {});
  const GenerationRule rule{kRule.new_tokens, {free.ids[0][4], free.ids[1][2], free.ids[2][0]}};
  const Generated ended = generate(*executor, views(prompts), rule);
  size_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto end = std::find_first_of(free.ids[i].begin(), free.ids[i].end(), rule.ends.begin(), rule.ends.end());
    EXPECT_EQ(ended.ids[i], Ids(free.ids[i].begin(), end == free.ids[i].end() ? end : end + 1)) << i;
    longest = std::max(longest, ended.ids[i].size());
  }
  EXPECT_EQ(ended.ids[2].size(), 1U);
  EXPECT_EQ(ended.passes, static_cast<int64_t>(longest));
  // All end with their first token: one pass, no decode.
  GenerationRule at_once{kRule.new_tokens, {}};
  for (const Ids& ids : free.ids) at_once.ends.push_back(ids.front());
  EXPECT_EQ(generate(*executor, views(prompts), at_once).passes, 1);
}

TEST(Generation, InTheMiddleOfTrainingReadsTheWeightsOfTheStepAndChangesNothing) {
  for (DType dtype : kAllDTypes) {
    for (const auto& [budget, pairs] : {std::pair{ArenaBudget::kSmallest, 1}, std::pair{ArenaBudget::kAll, 2}}) {
      SCOPED_TRACE(fmt::format("{} pairs {}", dtype_name(dtype), pairs));
      TrainJob job = testing::tiny_job(tiny_model(false), dtype, 0);
      job.fill = [](HostWeights& weights) { initialise_weights(weights, 7, 0.3); };
      const std::vector<Ids> prompts = ragged_prompts(job.config.vocab_size);
      PlanSettings settings = settings_for(dtype, 4);
      settings.pairs = pairs;
      settings.batch = job.data->batch_size();
      settings.seq = job.data->longest();
      settings.writeback_every = 4;
      settings.budget.bytes = budget;
      const Plan plan = make_plan(job.config, settings, measured_attention(test_device(), dtype, 1));
      const auto train = [&](HostWeights& weights, bool generating) {
        const auto executor = make_executor(test_device(), plan, weights, job.executor);
        executor->start(0, {});
        std::vector<LogEntry> entries;
        std::vector<Generated> generated;
        for (int64_t step = 0; step < 7; ++step) {
          PassInput input;
          input.batch = job.data->batch(step, 0);
          input.step = step;
          input.seed = static_cast<uint64_t>(step);
          input.learning_rate = 1e-2;
          executor->submit(std::move(input));
          for (const LogEntry& entry : executor->next_result().entries) entries.push_back(entry);
          if (generating) generated.push_back(generate(*executor, views(prompts), kRule));
        }
        executor->sync_host();
        return std::pair{entries, generated};
      };
      HostWeights undisturbed(plan.table, dtype);
      job.fill(undisturbed);
      const auto [entries, none] = train(undisturbed, false);
      HostWeights weights(plan.table, dtype);
      job.fill(weights);
      const auto [same_entries, generated] = train(weights, true);
      for (size_t i = 0; i < entries.size(); ++i) {
        ASSERT_EQ(entries[i].projected_gradient, same_entries[i].projected_gradient);
      }
      EXPECT_EQ(weights_hash(weights), weights_hash(undisturbed));

      // What a program without training says of w_t, all pending entries folded into it.
      Model model(job.config, dtype);
      fold_pending(undisturbed, plan.commits, job.executor, entries, pairs, 7);
      copy_weights(undisturbed, model.weights);
      EXPECT_EQ(generate_by(model, settings_for(dtype, 4), prompts).ids, generated.back().ids);
      EXPECT_NE(generated.front().ids, generated.back().ids);
    }
  }
}

TEST(Generation, WhatThePlanHasNoRoomForIsRefused) {
  Model model(tiny_model(), DType::f32);
  const Plan plan =
      make_plan(model.config, settings_for(DType::f32, 2), measured_attention(test_device(), DType::f32, 1));
  const auto executor = make_executor(test_device(), plan, model.weights, {});
  executor->start(0, {});
  const auto refusal = [&](const std::vector<Ids>& prompts, const GenerationRule& rule) {
    return testing::message_of<UsageError>([&] { generate(*executor, views(prompts), rule); });
  };
  EXPECT_NE(refusal({Ids(10, 3)}, kRule).find("1 x 10 tokens do not fit the planned 2 x 9"), std::string::npos);
  EXPECT_NE(refusal({{}}, kRule).find("prompt 0 is empty"), std::string::npos);
  EXPECT_NE(refusal({{160}}, kRule).find("outside the vocabulary of 160"), std::string::npos);
  EXPECT_NE(refusal({{1}}, {0, {}}).find("at least 1"), std::string::npos);
  EXPECT_NE(refusal({Ids(9, 3)}, {13, {}}).find("position 20 is not one of 20"), std::string::npos);
  PlanSettings longer = settings_for(DType::f32, 2);
  longer.generation.new_tokens = 17;
  EXPECT_NE(testing::message_of<UsageError>([&] { make_plan(model.config, longer); }).find("25 positions, tiny has 24"),
            std::string::npos);
}

}  // namespace
}  // namespace zo2
