// Zeroth-order steps against a float64 reference computed by transformers with explicit directions.
#include "base/error.h"
#include "base/json.h"
#include "optimizer/testing.h"
#include "optimizer/textbook_mezo.h"

namespace zo2 {
namespace {

class ZerothOrder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::fixture("opt-preln");
    if (!std::filesystem::is_directory(folder_)) GTEST_SKIP() << "skipped: no shared fixtures";
    reference_ = read_json(folder_ / "reference.json").at("zeroth_order");
    config_ = model_from_folder(folder_);
    table_ = parameters_of(config_);
    for (int z = 0; z < 2; ++z) {
      const Checkpoint file = Checkpoint::open(folder_ / "zeroth_order" / fmt::format("z{}.safetensors", z + 1));
      for (const Parameter& parameter : table_.parameters) {
        const TensorView* tensor = file.find(parameter.name);
        ASSERT_NE(tensor, nullptr) << parameter.name;
        const auto* data = reinterpret_cast<const float*>(tensor->data);
        directions_[z][parameter.id].assign(data, data + tensor->count());
      }
    }
    const auto ids = reference_.at("input_ids").get<std::vector<int32_t>>();
    sequence_ = {ids, ids};
  }

  // Seeds 1 and 2 stand for the directions z1 and z2.
  ExecutorSettings settings() const {
    ExecutorSettings settings;
    settings.eps = reference_.at("eps").get<float>();
    settings.threads = 1;
    settings.direction_source = [this](const NoiseKey& key, int64_t first, std::span<float> out) {
      const std::vector<float>& z = directions_[key.seed - 1].at(key.parameter_id);
      std::copy_n(z.begin() + first, out.size(), out.begin());
    };
    return settings;
  }

  Plan plan(int64_t writeback_every, Device device = Device::cpu) const {
    PlanSettings settings;
    settings.dtype = DType::f32;
    settings.seq = static_cast<int64_t>(sequence_.input_ids.size());
    settings.writeback_every = writeback_every;
    return make_plan(config_, settings, measured_attention(device, DType::f32, 1));
  }

  PassInput input(int64_t step, uint64_t seed, double learning_rate) const {
    PassInput input;
    input.batch = make_batch({sequence_});
    input.step = step;
    input.seed = seed;
    input.learning_rate = learning_rate;
    return input;
  }

  std::filesystem::path folder_;
  Json reference_;
  ModelConfig config_;
  ParameterTable table_;
  std::map<uint32_t, std::vector<float>> directions_[2];
  Sequence sequence_;
};

TEST_F(ZerothOrder, LossesAndProjectedGradientsEqualTheReference) {
  const Plan p = plan(1);
  for (int z = 0; z < 2; ++z) {
    HostWeights weights(p.table, DType::f32);
    load_weights(weights, Checkpoint::open(folder_));
    const auto executor = make_cpu_executor(p, weights, settings());
    executor->start(0, {});
    executor->submit(input(0, static_cast<uint64_t>(z) + 1, 0));
    const LogEntry entry = executor->next_result().entries.at(0);
    const Json& expected = reference_.at("directions").at(fmt::format("z{}", z + 1)).at("float64");
    EXPECT_NEAR(entry.loss_plus, expected.at("loss_plus").get<double>(), 1e-6);
    EXPECT_NEAR(entry.loss_minus, expected.at("loss_minus").get<double>(), 1e-6);
    EXPECT_NEAR(entry.projected_gradient, expected.at("projected_gradient").get<double>(), 1e-3);
  }
}

TEST_F(ZerothOrder, TwoUpdatesWithWeightDecayEqualTheReferenceFoldedAtOnceAndOneByOne) {
  const Json& steps = reference_.at("steps");
  ExecutorSettings with_decay = settings();
  with_decay.weight_decay = steps.at("weight_decay");
  for (int64_t writeback_every : {1, 64}) {
    SCOPED_TRACE(writeback_every);
    const Plan p = plan(writeback_every);
    HostWeights weights(p.table, DType::f32);
    load_weights(weights, Checkpoint::open(folder_));
    const auto executor = make_cpu_executor(p, weights, with_decay);
    executor->start(0, {});
    for (int step = 0; step < 2; ++step) {
      executor->submit(input(step, static_cast<uint64_t>(step) + 1, steps.at("learning_rate").get<double>()));
      const LogEntry entry = executor->next_result().entries.at(0);
      const Json& expected = steps.at("float64").at("steps").at(static_cast<size_t>(step));
      EXPECT_NEAR(entry.loss_plus, expected.at("loss_plus").get<double>(), 1e-6);
      EXPECT_NEAR(entry.loss_minus, expected.at("loss_minus").get<double>(), 1e-6);
      EXPECT_NEAR(entry.projected_gradient, expected.at("projected_gradient").get<double>(), 1e-3);
    }
    const EvaluationResult after = executor->evaluate(make_batch({sequence_}));
    EXPECT_NEAR(after.loss_sum / static_cast<double>(after.logprobs.size()),
                steps.at("float64").at("loss_after").get<double>(), 2e-6);
  }
}

TEST_F(ZerothOrder, OurNoiseAppliedByPlainLibTorchGivesTheSameLosses) {
  ExecutorSettings own;
  own.threads = 1;
  const Device device = testing::test_device();
  const Plan p = plan(1, device);
  HostWeights ours(p.table, DType::f32);
  HostWeights theirs(p.table, DType::f32);
  load_weights(ours, Checkpoint::open(folder_));
  load_weights(theirs, Checkpoint::open(folder_));
  const auto executor = make_executor(device, p, ours, own);
  const auto textbook = make_textbook_mezo(device, config_, theirs, own, Objective::lm);
  executor->start(0, {});
  textbook->start(0, {});
  for (int step = 0; step < 5; ++step) {
    const PassInput pass = input(step, seed_at(9, static_cast<uint64_t>(step)), 1e-5);
    executor->submit(pass);
    textbook->submit(pass);
    const LogEntry a = executor->next_result().entries.at(0);
    const LogEntry b = textbook->next_result().entries.at(0);
    EXPECT_NEAR(a.loss_plus, b.loss_plus, 1e-5);
    EXPECT_NEAR(a.loss_minus, b.loss_minus, 1e-5);
  }
}

}  // namespace
}  // namespace zo2
