#include "experiment/manifest.h"

#include <gtest/gtest.h>

#include <chrono>

#include "experiment/config_schema.h"
#include "experiment/manifest_problems.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;
using namespace std::string_literals;

std::string slugs(const Experiment& experiment) {
  std::string text;
  for (const Cell& cell : experiment.cells) text += cell.slug + " ";
  return text;
}

TEST(Manifest, CellsAreTheProductOfTheAxesLastFastest) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(
name: product
defaults: {data: {seq: 64}, method.lr: 1e-4}
matrix: {model.name: [opt-125m, opt-350m], method.name: [resident, zo2]}
repeats: 3
timeout: 1.5
)");
  const Experiment experiment = load_experiment(path);
  EXPECT_EQ(slugs(experiment), "opt-125m-resident opt-125m-zo2 opt-350m-resident opt-350m-zo2 ");
  EXPECT_EQ(experiment.manifest.name, "product");
  EXPECT_EQ(experiment.manifest.repeats, 3);
  EXPECT_EQ(experiment.manifest.timeout_s, 1.5);
  for (const Cell& cell : experiment.cells) {
    EXPECT_EQ(config_at(cell.config, "data.seq"), 64);
    EXPECT_EQ(config_at(cell.config, "method.lr"), 1e-4);
    EXPECT_EQ(config_at(cell.config, "method.eps"), 1e-3) << "defaults are filled in";
    EXPECT_EQ(cell.folder_name(), cell.slug + "-" + cell.config_hash.substr(0, 8));
  }
}

TEST(Manifest, ANamedAxisSetsSeveralKeysAndEqualCellsAreKeptOnce) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(
matrix:
  case:
    - {model.name: opt-125m, method: {name: mezo}, data.seq: 32}
    - {model.name: opt-350m, method.name: zo2}
    - {model.name: opt-350m, method.name: zo2, data.seq: 2048}
)");
  const Experiment experiment = load_experiment(path);
  EXPECT_EQ(slugs(experiment), "opt-125m-mezo opt-350m-zo2 ");
  EXPECT_EQ(config_at(experiment.cells[0].config, "data.seq"), 32);
  EXPECT_EQ(experiment.manifest.name, "m") << "the file's name, when none is given";
}

TEST(Manifest, AZipAdvancesItsListsTogetherBesideTheMatrix) {
  const TempFolder scratch;
  scratch.write("parent.yaml", R"(
zip: {model.name: [opt-125m, opt-350m, opt-1.3b], data.seq: [128, 64, 32]}
matrix: {method.name: [resident, zo2]}
variants:
  small: {zip: {model.name: [opt-125m], data.seq: [16]}}
  plain: {zip: null}
)");
  const auto path = scratch.write("m.yaml", "extends: parent.yaml");
  const Experiment experiment = load_experiment(path);
  EXPECT_EQ(slugs(experiment),
            "opt-125m-resident opt-125m-zo2 opt-350m-resident opt-350m-zo2 opt-1.3b-resident opt-1.3b-zo2 ");
  EXPECT_EQ(config_at(experiment.cells[1].config, "data.seq"), 128);
  EXPECT_EQ(config_at(experiment.cells[5].config, "data.seq"), 32);
  const Experiment small = load_experiment(path, {.variant = "small", .overrides = {}});
  EXPECT_EQ(slugs(small), "opt-125m-resident opt-125m-zo2 ") << "a later zip replaces the inherited one";
  EXPECT_EQ(config_at(small.cells[0].config, "data.seq"), 16);
  EXPECT_EQ(load_experiment(path, {.variant = "plain", .overrides = {}}).cells.size(), 2u);
  const Experiment over = load_experiment(path, {.variant = "", .overrides = {"model.name=opt-125m"}});
  EXPECT_EQ(slugs(over),
            "opt-125m-resident-seq128 opt-125m-zo2-seq128 opt-125m-resident-seq64 opt-125m-zo2-seq64 "
            "opt-125m-resident-seq32 opt-125m-zo2-seq32 ")
      << "-S goes over one of its lists";
}

TEST(Manifest, VariablesStandForTextAndNumbersAndLaterOnesWin) {
  const TempFolder scratch;
  scratch.write("parent.yaml", R"(
name: at ${seq} tokens of ${size}
vars: {seq: 64, size: 125m, bound: 2 GB}
defaults:
  data:
    seq: ${seq}
matrix: {model.name: ["opt-${size}", opt-350m], train.steps: ["3${zeros}", 20]}
exclude: [{where: {model.name: "opt-${size}", train.steps: 20}, reason: "${seq} tokens are too many"}]
repeats: ${repeats}
expect: [{where: {data.seq: "${seq}"}, metric: arena_bytes, at_most: "${bound}", source: "${size}"}]
variants:
  long: {vars: {seq: 128, zeros: "000"}}
)");
  const auto path = scratch.write("m.yaml", "extends: parent.yaml\nvars: {repeats: 2, zeros: 0, bound: 3 GB}");
  const Experiment experiment = load_experiment(path);
  EXPECT_EQ(experiment.manifest.name, "at 64 tokens of 125m");
  EXPECT_EQ(experiment.manifest.repeats, 2);
  ASSERT_EQ(experiment.cells.size(), 4u);
  EXPECT_EQ(config_at(experiment.cells[0].config, "data.seq"), 64);
  EXPECT_EQ(config_at(experiment.cells[0].config, "model.name"), "opt-125m");
  EXPECT_EQ(config_at(experiment.cells[0].config, "train.steps"), 30);
  EXPECT_EQ(experiment.cells[1].skip_reason, "64 tokens are too many");
  EXPECT_EQ(experiment.manifest.expect.at(0).at_most, 3e9) << "the child's value";
  EXPECT_EQ(experiment.manifest.expect.at(0).written, "at most 3 GB");
  EXPECT_EQ(experiment.manifest.expect.at(0).source, "125m");
  EXPECT_TRUE(matches(experiment.manifest.expect.at(0).where, experiment.cells[0].config));

  const Experiment longer = load_experiment(path, {.variant = "long", .overrides = {}});
  EXPECT_EQ(longer.manifest.name, "at 128 tokens of 125m");
  EXPECT_EQ(config_at(longer.cells[0].config, "data.seq"), 128);
  EXPECT_EQ(config_at(longer.cells[0].config, "train.steps"), 3000);

  const Experiment asked = load_experiment(path, {.variant = "long", .overrides = {"vars.seq=32", "vars.size=350m"}});
  EXPECT_EQ(asked.manifest.name, "at 32 tokens of 350m");
  EXPECT_EQ(config_at(asked.cells[0].config, "model.name"), "opt-350m");
  EXPECT_EQ(run_arguments_from_json(to_json(asked)),
            (std::vector<std::string>{"m.yaml", "--variant", "long", "-S", "vars.seq=32", "-S", "vars.size=350m"}));
  EXPECT_EQ(problems_of(path, {.variant = "", .overrides = {"vars.sise=350m"}}),
            "-S vars.sise=350m: the manifest has no variable 'sise'");

  EXPECT_EQ(problems_of(scratch.path() / "parent.yaml")
                .find((scratch.path() / "parent.yaml").string() + ":7:63: unknown variable 'zeros': known are bound"),
            0u)
      << problems_of(scratch.path() / "parent.yaml");
}

TEST(Manifest, RepeatsAndTimeoutsOfTheCommandLineWinAndAreRecorded) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", "repeats: 2\ntimeout: 9\n");
  const Experiment plain = load_experiment(path);
  EXPECT_EQ(plain.manifest.repeats, 2);
  EXPECT_EQ(plain.manifest.timeout_s, 9);
  EXPECT_EQ(run_arguments_from_json(to_json(plain)), std::vector<std::string>{"m.yaml"});
  const Experiment asked = load_experiment(path, {.variant = "", .overrides = {}, .repeats = 5, .timeout_s = 0.0});
  EXPECT_EQ(asked.manifest.repeats, 5);
  EXPECT_EQ(asked.manifest.timeout_s, 0);
  EXPECT_EQ(run_arguments_from_json(to_json(asked)),
            (std::vector<std::string>{"m.yaml", "--repeats", "5", "--timeout", "0.0"}));
}

TEST(Manifest, AModelsFolderTakesThePlaceOfANameOfAnEarlierLayer) {
  const TempFolder scratch;
  scratch.write("base.yaml", "defaults: {model: {name: opt-1.3b}}");
  const auto path = scratch.write("m.yaml", "extends: base.yaml\nmatrix: {method.name: [zo2, mezo]}");
  const ManifestOptions folder{.variant = "", .overrides = {"model.path=models/tiny/"}};
  EXPECT_EQ(slugs(load_experiment(path, folder)), "tiny-zo2 tiny-mezo ") << "a trailing slash names nothing";
  const auto child = scratch.write("child.yaml", "extends: m.yaml\ndefaults: {model.path: models/tiny}");
  EXPECT_EQ(slugs(load_experiment(child)), "tiny-zo2 tiny-mezo ");
  EXPECT_EQ(slugs(load_experiment(child, {.variant = "", .overrides = {"model.name=opt-125m"}})),
            "opt-125m-zo2 opt-125m-mezo ");
  const auto both = scratch.write("both.yaml", "defaults: {model: {name: opt-1.3b, path: models/tiny}}");
  EXPECT_NE(problems_of(both).find("give model.name or model.path, not both"), std::string::npos);
}

TEST(Manifest, RepeatsAreInterleavedUnlessTheManifestSaysSequential) {
  const TempFolder scratch;
  const auto order = [&](const std::string& line) {
    const Experiment experiment = load_experiment(scratch.write("m.yaml", line + R"(
matrix: {method.name: [resident, mezo, zo2]}
exclude: [{where: {method.name: mezo}, reason: none}]
repeats: 2
)"));
    std::string text;
    for (const Turn& turn : turns(experiment))
      text += std::to_string(turn.cell) + "r" + std::to_string(turn.repeat) + " ";
    return text;
  };
  EXPECT_EQ(order(""), "0r0 1r0 2r0 0r1 2r1 ");
  EXPECT_EQ(order("order: interleaved"), "0r0 1r0 2r0 0r1 2r1 ");
  EXPECT_EQ(order("order: sequential"), "0r0 0r1 1r0 2r0 2r1 ");
}

TEST(Manifest, SlugsNameOnlyWhatTellsCellsApart) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(
defaults: {model.name: opt-125m}
matrix: {data.seq: [32, 64], engine.tile: [auto, 16 MiB], engine.overlap: [true, false]}
)");
  EXPECT_EQ(slugs(load_experiment(path)).substr(0, 130),
            "opt-125m-zo2-seq32-tileauto-overlap opt-125m-zo2-seq32-tileauto-no-overlap "
            "opt-125m-zo2-seq32-tile16mib-overlap opt-125m-zo2-seq32-tile16mib-no-overlap "
            "opt-125m-zo2-seq64"s.substr(0, 130));
}

TEST(Manifest, AnExcludedCellStaysWithItsReason) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(
matrix: {model.name: [opt-125m, opt-175b], method.name: [mezo, zo2]}
exclude: [{where: {method.name: [mezo, resident], model.name: opt-175b}, reason: needs 350 GB of device memory}]
)");
  const Experiment experiment = load_experiment(path);
  ASSERT_EQ(experiment.cells.size(), 4u);
  EXPECT_FALSE(experiment.cells[0].skip_reason);
  EXPECT_EQ(experiment.cells[2].slug, "opt-175b-mezo");
  EXPECT_EQ(experiment.cells[2].skip_reason, "needs 350 GB of device memory");
  EXPECT_FALSE(experiment.cells[3].skip_reason);
}

TEST(Manifest, LaterSettingsWin) {
  const TempFolder scratch;
  scratch.write("base/parent.yaml", R"(
name: parent
defaults: {method: {lr: 1e-3, eps: 1e-2}, train: {steps: 10, warmup: 2}}
matrix: {model.name: [opt-350m], method.name: [zo2, mezo]}
repeats: 5
expect: [{where: {method.name: zo2}, metric: tokens_per_s, at_least: 5}]
variants: {small: {defaults: {data.seq: 8}}}
)");
  const auto path = scratch.write("child.yaml", R"(
extends: base/parent.yaml
defaults: {method: {lr: 1e-4}}
matrix: {model.name: [opt-125m, opt-1.3b]}
variants:
  small: {defaults: {train.steps: 4}, matrix: {model.name: [opt-125m]}, repeats: 1}
  plain: {matrix: {method.name: null}}
)");
  const Experiment child = load_experiment(path);
  EXPECT_EQ(child.manifest.name, "parent");
  EXPECT_EQ(child.manifest.repeats, 5);
  EXPECT_EQ(child.manifest.expect.size(), 1u);
  EXPECT_EQ(slugs(child), "opt-125m-zo2 opt-125m-mezo opt-1.3b-zo2 opt-1.3b-mezo ");
  EXPECT_EQ(config_at(child.cells[0].config, "method.lr"), 1e-4);
  EXPECT_EQ(config_at(child.cells[0].config, "method.eps"), 1e-2);
  EXPECT_EQ(config_at(child.cells[0].config, "train.steps"), 10);

  const Experiment small = load_experiment(path, {.variant = "small", .overrides = {}});
  EXPECT_EQ(slugs(small), "opt-125m-zo2 opt-125m-mezo ");
  EXPECT_EQ(config_at(small.cells[0].config, "data.seq"), 8) << "the parent's variant of the same name";
  EXPECT_EQ(config_at(small.cells[0].config, "train.steps"), 4);
  EXPECT_EQ(small.manifest.repeats, 1);

  const Experiment plain = load_experiment(path, {.variant = "plain", .overrides = {}});
  EXPECT_EQ(slugs(plain), "opt-125m-zo2 opt-1.3b-zo2 ") << "null drops an axis";

  const Experiment over = load_experiment(
      path, {.variant = "", .overrides = {"method.name=resident", "train.steps=3", "engine.gpu_memory=1 GiB"}});
  EXPECT_EQ(slugs(over), "opt-125m-resident opt-1.3b-resident ") << "-S replaces the axis over its key";
  EXPECT_EQ(config_at(over.cells[0].config, "train.steps"), 3);
  EXPECT_EQ(config_at(over.cells[0].config, "engine.gpu_memory"), 1 << 30);
}

TEST(Manifest, HashDependsOnValuesOnly) {
  const TempFolder scratch;
  const auto hash = [&](const std::string& text) {
    return load_experiment(scratch.write("m.yaml", text)).cells.at(0).config_hash;
  };
  const std::string plain = hash("defaults: {method: {lr: 1e-3, eps: 1e-2}, data: {seq: 64}}");
  EXPECT_EQ(hash("defaults: {data.seq: 64, method.eps: 0.01, method: {lr: 0.001}}"), plain) << "order and spelling";
  EXPECT_EQ(hash("defaults: {method: {lr: 1e-3, eps: 1e-2, name: zo2}, data: {seq: 64, batch: 1}}"), plain)
      << "a default that is spelled out";
  EXPECT_EQ(hash("name: other\nrepeats: 7\nmatrix: {method.lr: [1e-3]}\ndefaults: {method.eps: 1e-2, data.seq: 64}"),
            plain);
  EXPECT_NE(hash("defaults: {method: {lr: 1e-3, eps: 1e-2}, data: {seq: 65}}"), plain);
}

TEST(Manifest, ExpectationsSurviveTheExperimentFile) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(
expect: [{where: {model.name: [opt-175b, opt-66b]}, metric: nvml_step_peak_bytes, at_most: 18.04 GB, source: README}]
)");
  const auto list = expectations_from_json(Json::parse(to_json(load_experiment(path)).dump()));
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].metric, "nvml_step_peak_bytes");
  EXPECT_EQ(list[0].at_most, 18.04e9);
  EXPECT_FALSE(list[0].at_least);
  EXPECT_EQ(list[0].written, "at most 18.04 GB");
  EXPECT_EQ(list[0].source, "README");
  Json config = default_config();
  EXPECT_FALSE(matches(list[0].where, config));
  config_set(config, "model.name", "opt-66b");
  EXPECT_TRUE(matches(list[0].where, config));
}

TEST(Manifest, QuickExperimentResolves) {
  const std::filesystem::path quick = std::filesystem::path(__FILE__).parent_path() / "../../experiments/quick.yaml";
  const Experiment experiment = load_experiment(quick);
  EXPECT_EQ(experiment.cells.size(), 12u);
  EXPECT_EQ(slugs(experiment)
                .find("opt-125m-mezo opt-125m-resident opt-125m-zo2 opt-1.3b-resident opt-1.3b-zo2 "
                      "opt-1.3b-zo2-projected opt-2.7b-zo2-projected "),
            0u)
      << slugs(experiment);
  EXPECT_EQ(load_experiment(quick, {.variant = "small", .overrides = {}}).cells.size(), 5u);
}

TEST(Manifest, EveryExperimentResolvesAndItsExpectationsMeetCells) {
  const std::filesystem::path folder = std::filesystem::path(__FILE__).parent_path() / "../../experiments";
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".yaml") continue;
    ++files;
    for (const char* variant : {"", "small"}) {
      SCOPED_TRACE(file.path().filename().string() + " " + variant);
      const Experiment experiment = load_experiment(file.path(), {.variant = variant, .overrides = {}});
      EXPECT_FALSE(experiment.cells.empty());
      for (const Expectation& expectation : experiment.manifest.expect) {
        EXPECT_TRUE(std::ranges::any_of(experiment.cells,
                                        [&](const Cell& cell) { return matches(expectation.where, cell.config); }))
            << expectation.metric << " " << expectation.written;
      }
    }
  }
  EXPECT_GE(files, 5);
}

TEST(Manifest, AThousandCellsResolveInAMoment) {
  const TempFolder scratch;
  std::string seeds;
  for (int i = 0; i < 500; ++i) seeds += (i ? ", " : "") + std::to_string(i);
  const auto path = scratch.write("m.yaml", "matrix: {data.seed: [" + seeds + "], method.name: [zo2, resident]}");
  const auto start = std::chrono::steady_clock::now();
  const Experiment experiment = load_experiment(path);
  EXPECT_EQ(experiment.cells.size(), 1000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace zo2
