#include "model/plan.h"

#include <algorithm>

#include "base/bytes.h"
#include "program/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

ModelConfig untied(const std::string& name) {
  ModelConfig config = model_by_name(name);
  config.tie_embeddings = false;
  return config;
}

// Four small layers of opt-preln's shape, or of opt-postln's.
ModelConfig small(bool tied, bool before) {
  ModelConfig config = model_by_name(before ? "opt-125m" : "opt-350m");
  config.name = "small";
  config.vocab_size = 512;
  config.hidden_size = 64;
  config.num_layers = 4;
  config.num_heads = 4;
  config.ffn_dim = 256;
  config.max_positions = 128;
  config.word_embed_proj_dim = before ? 64 : 32;
  config.tie_embeddings = tied;
  return config;
}

TEST(Plan, SmallestArenasAreWithinTheGoals) {
  const PlanSettings settings;  // fp16, batch 1, sequence 2,048
  EXPECT_LE(make_plan(untied("opt-175b"), settings).layout.arena_bytes, 930 * kMiB);
  EXPECT_LE(make_plan(untied("opt-1.3b"), settings).layout.arena_bytes, 225 * kMiB);
}

TEST(Plan, NoBufferIsAsLargeAsTokensTimesVocabulary) {
  for (const std::string& name : known_models()) {
    for (bool tied : {true, false}) {
      for (DType dtype : {DType::f16, DType::f32}) {
        for (int pairs : {1, 2}) {
          PlanSettings settings;
          settings.dtype = dtype;
          settings.pairs = pairs;
          ModelConfig config = model_by_name(name);
          config.tie_embeddings = tied;
          const Plan plan = make_plan(config, settings);
          const int64_t logits = settings.batch * settings.seq * config.vocab_size * dtype_bytes(dtype);
          for (const auto* pass : {&plan.training, &plan.evaluation}) {
            for (const Buffer& buffer : (*pass)->program.buffers) {
              EXPECT_LT(buffer.bytes, logits) << name << " " << buffer.name;
            }
          }
        }
      }
    }
  }
}

TEST(Plan, ThePublishedSchemeAt13BToTheByte) {
  PlanSettings settings;  // fp16, batch 1, sequence 2,048
  settings.slots = 3;
  settings.evaluation = false;
  settings.scheme = {Granularity::block, true, true, true};
  const Plan plan = make_plan(untied("opt-13b"), settings);
  const Layout& layout = plan.layout;
  const int64_t h = 5120;
  // 12 h^2 of matrices; vectors: biases of q, k, v, o and fc2, 4 h of fc1, and four of norms.
  const int64_t block = 2 * (12 * h * h + 13 * h);
  EXPECT_EQ(layout.tile_slots.count, 3);
  EXPECT_EQ(layout.tile_slots.bytes, block);
  EXPECT_EQ(layout.vector_slots.count, 2);
  EXPECT_EQ(layout.vector_slots.bytes, 2 * 2 * h);  // the final norm
  EXPECT_EQ(layout.head_slot.count, 1);
  EXPECT_EQ(layout.head_slot.bytes, 2 * 50272 * h);
  EXPECT_EQ(layout.resident_bytes, 2 * (50272 + 2050) * h);
  int64_t buffers = 0;
  place_buffers(plan.training->program, buffers);
  EXPECT_EQ(layout.arena_bytes, layout.resident_bytes + 3 * block + 2 * 2 * 2 * h + 2 * 50272 * h + buffers);
  // The head's W+ and W- and its logits live at once, and little beside them; z is gone by then.
  const int64_t head = 2 * 2 * 50272 * h + 4 * 2048 * 50272;
  EXPECT_GE(buffers, head);
  EXPECT_LE(buffers, head + 2 * 50272 * h);
}

TEST(Plan, EveryStepFromThePublishedSchemeToOursTakesNoMoreDeviceMemory) {
  for (const char* name : {"opt-13b", "opt-175b"}) {
    PlanSettings settings;
    settings.evaluation = false;
    settings.slots = 3;
    settings.scheme = {Granularity::block, true, true, true};
    int64_t before = make_plan(untied(name), settings).layout.arena_bytes;
    EXPECT_LE(before, int64_t{24} * kGiB);
    const auto expect_less = [&] {
      const int64_t now = make_plan(untied(name), settings).layout.arena_bytes;
      EXPECT_LT(now, before) << name;
      before = now;
    };
    settings.scheme.granularity = Granularity::matrix;
    expect_less();
    settings.scheme.granularity = Granularity::tile;
    expect_less();
    settings.scheme.noise_buffer = false;
    expect_less();
    settings.scheme.full_head = false;
    expect_less();
    settings.scheme.resident_embedding = false;
    expect_less();
  }
}

TEST(Plan, AFewLabelledTokensNeedFewLogits) {
  PlanSettings settings;
  settings.batch = 32;
  settings.seq = 256;
  const Plan all = make_plan(untied("opt-1.3b"), settings);
  settings.labels = settings.batch * settings.seq + 1;
  EXPECT_EQ(make_plan(untied("opt-1.3b"), settings).arena_bytes(), all.arena_bytes());
  settings.labels = 64;
  const Plan few = make_plan(untied("opt-1.3b"), settings);
  EXPECT_LT(few.arena_bytes(), all.arena_bytes());
  EXPECT_EQ(few.widest_tile_bytes(), all.widest_tile_bytes()) << "the numbers are the same";
  for (const auto* pass : {&few.training, &few.evaluation}) {
    for (const Buffer& buffer : (*pass)->program.buffers) {
      const bool logits = buffer.name == "logits";
      if (logits || buffer.name.starts_with("log_sum_exp")) {
        EXPECT_EQ(buffer.bytes, 64 * (logits ? 2048 : 3) * 4) << buffer.name;
      }
    }
  }
}

TEST(Plan, PassesOfShortOperationsAreGraphsWhereEverythingIsOnTheDevice) {
  PlanSettings settings;
  settings.seq = 64;
  settings.graphs = true;
  const auto graphs = [&](const char* name) {
    const Plan plan = make_plan(model_by_name(name), settings);
    EXPECT_EQ(plan.training->graph, plan.evaluation->graph);
    for (const auto* pass : plan.passes()) {
      const auto problems = check_schedule(plan.table, pass->program, plan.layout, pass->layout_index, pass->schedule);
      EXPECT_TRUE(problems.empty()) << problems.front();
    }
    return plan.training->graph;
  };
  EXPECT_FALSE(graphs("opt-125m"));
  settings.budget.bytes = ArenaBudget::kAll;
  EXPECT_TRUE(graphs("opt-125m"));
  const int64_t with = make_plan(model_by_name("opt-125m"), settings).arena_bytes();
  EXPECT_FALSE(graphs("opt-6.7b"));
  settings.graphs = false;
  EXPECT_FALSE(graphs("opt-125m"));
  const int64_t without = make_plan(model_by_name("opt-125m"), settings).arena_bytes();
  EXPECT_GT(with, without);
  EXPECT_LT(with - without, 2 * 5 * kMiB) << "a second place for W+ and W-";
}

TEST(Plan, DeviceMemoryDoesNotDependOnTheNumberOfLayers) {
  ModelConfig config = untied("opt-1.3b");
  const int64_t deep = make_plan(config, {}).layout.arena_bytes;
  config.num_layers = 2;
  EXPECT_EQ(make_plan(config, {}).layout.arena_bytes, deep);
}

TEST(Plan, EverySchedulePassesTheChecker) {
  for (bool tied : {true, false}) {
    for (bool before : {true, false}) {
      for (int pairs : {0, 1, 2}) {
        for (int slots : {2, 4}) {
          for (int64_t budget : {ArenaBudget::kSmallest, ArenaBudget::kAll, int64_t{-1}}) {
            PlanSettings settings;
            settings.batch = 2;
            settings.seq = 16;
            settings.pairs = pairs;
            settings.slots = slots;
            settings.tile_bytes = 8192;
            if (slots == 2) settings.scheme = {Granularity::block, true, tied, before};
            settings.budget.bytes = std::max(budget, int64_t{0});
            if (budget < 0)
              settings.budget.bytes = make_plan(small(tied, before), settings).layout.arena_bytes + 200000;
            const Plan plan = make_plan(small(tied, before), settings);
            for (const auto* pass : {&plan.training, &plan.evaluation}) {
              if (!*pass) continue;
              const auto problems =
                  check_schedule(plan.table, (*pass)->program, plan.layout, (*pass)->layout_index, (*pass)->schedule);
              EXPECT_TRUE(problems.empty()) << problems[0];
            }
          }
        }
      }
    }
  }
}

TEST(Plan, BudgetsOfARealModelAreKeptAndUsed) {
  PlanSettings settings;
  settings.seq = 128;
  const ModelConfig config = model_by_name("opt-125m");
  const Plan smallest = make_plan(config, settings);
  settings.budget.bytes = ArenaBudget::kAll;
  const int64_t all = make_plan(config, settings).layout.arena_bytes;
  const int64_t low = smallest.layout.arena_bytes;
  int64_t before = 0;
  for (int i = 0; i <= 60; ++i) {
    settings.budget.bytes = low + (all - low) * i / 60;
    const Layout layout = make_plan(config, settings).layout;
    EXPECT_LE(layout.arena_bytes, settings.budget.bytes);
    EXPECT_GE(layout.resident_bytes, before) << format_bytes(settings.budget.bytes);
    before = layout.resident_bytes;
  }
}

TEST(Plan, CommitRulesAreKForWhatIsVisitedAnd64OverPairsForWhatIsOnlyFolded) {
  for (bool tied : {true, false}) {
    for (int pairs : {1, 3}) {
      PlanSettings settings;
      settings.seq = 16;
      settings.pairs = pairs;
      settings.writeback_every = 4;
      const Plan plan = make_plan(small(tied, true), settings);
      ASSERT_EQ(plan.commits.size(), plan.table.weights.size());
      for (size_t weight = 0; weight < plan.commits.size(); ++weight) {
        const std::string& name = plan.table.weights[weight].name;
        const bool folded =
            name.ends_with("embed_positions.weight") || (!tied && name.ends_with("embed_tokens.weight"));
        EXPECT_EQ(plan.commits[weight].period, folded ? 64 / pairs : 4) << name;
        EXPECT_EQ(plan.commits[weight].phase, static_cast<int64_t>(weight));
      }
    }
  }
}

TEST(Plan, SettingsThatCannotWorkAreRefused) {
  const ModelConfig config = small(true, true);
  PlanSettings good;
  good.seq = 128;
  const auto refusal = [&](auto change) {
    PlanSettings settings = good;
    change(settings);
    return message_of<UsageError>([&] { make_plan(config, settings); });
  };
  EXPECT_GT(make_plan(config, good).layout.arena_bytes, 0);
  expect_contains(refusal([](PlanSettings& s) { s.seq = 129; }), "129 tokens is longer than the 128 positions");
  expect_contains(refusal([](PlanSettings& s) { s.writeback_every = 65; }), "writeback_every 65");
  expect_contains(refusal([](PlanSettings& s) { s.writeback_every = 33, s.pairs = 2; }), "perturbations 2");
  expect_contains(refusal([](PlanSettings& s) { s.writeback_every = int64_t{1} << 62, s.pairs = 4; }), "pending");
  expect_contains(refusal([](PlanSettings& s) { s.pairs = 65; }), "perturbations: 65");
  expect_contains(refusal([](PlanSettings& s) { s.pairs = -1; }), "perturbations: -1");
  expect_contains(refusal([](PlanSettings& s) { s.writeback_every = 0; }), "writeback_every: 0");
  expect_contains(refusal([](PlanSettings& s) { s.seq = 0; }), "empty");
  expect_contains(refusal([](PlanSettings& s) { s.batch = 0; }), "empty");
  expect_contains(refusal([](PlanSettings& s) { s.batch = int64_t{1} << 60; }), "too large");
  expect_contains(refusal([](PlanSettings& s) { s.slots = 1; }), "slots: 1");
  expect_contains(refusal([](PlanSettings& s) { s.budget.bytes = 1000; }), "smallest arena");
  expect_contains(refusal([](PlanSettings& s) { s.tile_bytes = 64; }), "cannot hold one row");
  expect_contains(refusal([](PlanSettings& s) { s.pairs = 0, s.evaluation = false; }), "nothing to plan");
  for (auto [k, pairs] : {std::pair{64, 1}, {32, 2}, {1, 64}, {21, 3}}) {
    PlanSettings settings = good;
    settings.writeback_every = k;
    settings.pairs = pairs;
    EXPECT_EQ(make_plan(config, settings).training->program.shape.pairs, pairs);
  }
}

// Bytes of the weights that a pass streams, and of those that are only folded.
struct Sums {
  int64_t visited = 0;
  int64_t folded = 0;
};
Sums sums(const Plan& plan) {
  Sums result;
  for (size_t weight = 0; weight < plan.table.weights.size(); ++weight) {
    const int64_t bytes = plan.table.weights[weight].count() * dtype_bytes(plan.settings.dtype);
    (plan.commits[weight].period == plan.settings.writeback_every ? result.visited : result.folded) += bytes;
  }
  return result;
}

TEST(Traffic, EqualsASumByHand) {
  for (bool tied : {true, false}) {
    for (auto [k, pairs] : {std::pair{1, 1}, {8, 1}, {4, 2}}) {
      PlanSettings settings;
      settings.dtype = DType::f32;
      settings.batch = 2;
      settings.seq = 100;
      settings.pairs = pairs;
      settings.writeback_every = k;
      const Plan plan = make_plan(small(tied, true), settings);
      const Sums bytes = sums(plan);
      const int64_t rows = 2 * 100 * 2 * pairs * 64 * 4;  // of tokens and positions, for each pair
      const double rare = static_cast<double>(bytes.folded) * pairs / 64;
      const Traffic traffic = traffic_per_step(plan);
      EXPECT_NEAR(static_cast<double>(traffic.upload_bytes), static_cast<double>(bytes.visited + rows) + rare, 1);
      EXPECT_NEAR(static_cast<double>(traffic.download_bytes), static_cast<double>(bytes.visited) / k + rare, 1);
    }
  }
}

TEST(Traffic, OfTheLargestModelByHand) {
  const Plan plan = make_plan(untied("opt-175b"), {});
  const int64_t h = 12288;
  const int64_t tables = (50272 + 2050) * h * 2;
  const int64_t streamed = int64_t{175'222'210'560} * 2 - tables;
  const Traffic traffic = traffic_per_step(plan);
  EXPECT_EQ(traffic.upload_bytes, streamed + tables / 64 + 2 * 2048 * h * 2);
  EXPECT_EQ(traffic.download_bytes, streamed + tables / 64);
}

TEST(Traffic, ResidentTilesDoNotCrossTheLink) {
  PlanSettings settings;
  settings.seq = 64;
  settings.tile_bytes = 8192;
  settings.budget.bytes = ArenaBudget::kAll;
  const Plan all = make_plan(small(true, true), settings);
  EXPECT_EQ(traffic_per_step(all).upload_bytes, 0);
  EXPECT_EQ(traffic_per_step(all).download_bytes, 0);

  settings.budget.bytes = ArenaBudget::kSmallest;
  const Plan none = make_plan(small(true, true), settings);
  settings.budget.bytes = (all.layout.arena_bytes + none.layout.arena_bytes) / 2;
  const Plan half = make_plan(small(true, true), settings);
  const Program& program = half.any().program;
  double visited = 0, folded = 0;
  double streamed_rows[2] = {0, 0};  // of tokens and positions
  for (size_t tile = 0; tile < program.tiles.size(); ++tile) {
    if (half.layout.resident(static_cast<int>(tile))) continue;
    const Tile& t = program.tiles[tile];
    const bool rare = half.commits[static_cast<size_t>(t.weight)].period == 64;
    (rare ? folded : visited) += static_cast<double>(t.count() * 2);
    if (t.weight < 2) streamed_rows[t.weight] += static_cast<double>(t.rows);
  }
  ASSERT_GT(streamed_rows[0], 0);
  ASSERT_LT(streamed_rows[0], 512);
  // Rows are looked up in the host as far as their table is not resident; the 128 positions have two more rows.
  const double rows = 64 * (streamed_rows[0] / 512 + streamed_rows[1] / 130) * 64 * 2;
  EXPECT_NEAR(static_cast<double>(traffic_per_step(half).upload_bytes), visited + folded / 64 + rows, 1);
  EXPECT_NEAR(static_cast<double>(traffic_per_step(half).download_bytes), visited + folded / 64, 1);
}

TEST(Plan, HostBytesAreTheWeights) {
  EXPECT_EQ(make_plan(model_by_name("opt-125m"), {}).host_bytes(), int64_t{125'239'296} * 2);
}

TEST(Plan, AGenerationKeepsKeysAndValuesOfEveryPositionButTheLastTokens) {
  PlanSettings settings;
  settings.pairs = 0;
  settings.evaluation = false;
  settings.generation = {3, 20, 50};
  const Plan plan = make_plan(small(true, true), settings);
  EXPECT_EQ(plan.cache_bytes(), 4 * 2 * 3 * (20 + 50 - 1) * 64 * 2);  // layers, keys and values, sequences, width, fp16
  EXPECT_EQ(plan.passes(), (std::vector<const PlannedPass*>{&*plan.prefill, &*plan.decode}));
  EXPECT_EQ(plan.decode->layout_index, 1);
  settings.generation.new_tokens = 1;
  const Plan one = make_plan(small(true, true), settings);
  EXPECT_EQ(one.cache_bytes(), 0);
  EXPECT_FALSE(one.decode.has_value());
  // The cache takes room from no other pass.
  settings = {};
  settings.batch = 8;
  settings.seq = 100;
  const int64_t without = make_plan(small(true, true), settings).layout.arena_bytes;
  settings.generation = {1, 20, 50};
  EXPECT_EQ(make_plan(small(true, true), settings).layout.arena_bytes, without);
}

TEST(Plan, AnswersAreGeneratedAsManyAtATimeAsFitTheTrainingsArena) {
  PlanSettings settings;
  settings.seq = 8;
  settings.evaluation = false;
  const GenerationShape generation{16, 60, 50};
  for (int64_t budget : {ArenaBudget::kSmallest, ArenaBudget::kAll}) {
    settings.budget.bytes = budget;
    const Plan training = make_plan(small(false, true), settings);
    const auto arena_of = [&](int64_t batch) {
      PlanSettings tried = settings;
      tried.pairs = 0;
      tried.tile_bytes = training.any().program.shape.tile_bytes;
      tried.generation = generation;
      tried.generation.batch = batch;
      return make_plan(small(false, true), tried).layout.arena_bytes;
    };
    const auto fitting = [&](int64_t bytes) {
      Plan before = training;
      before.layout.arena_bytes = bytes;
      const Plan answers = plan_answers(before, generation, cuda_attention_workspace);
      EXPECT_EQ(before.arena_bytes(), std::max(bytes, answers.layout.arena_bytes));
      EXPECT_EQ(answers.layout.arena_bytes, arena_of(answers.settings.generation.batch));
      return answers.settings.generation.batch;
    };
    for (int64_t batch : {1, 2, 7, 15, 16}) {
      EXPECT_EQ(fitting(arena_of(batch)), batch);
      EXPECT_EQ(fitting(arena_of(batch) - 1), std::max<int64_t>(1, batch - 1)) << "one, whatever it takes";
    }
    EXPECT_EQ(fitting(2 * arena_of(16)), 16);
  }
}

}  // namespace
}  // namespace zo2
