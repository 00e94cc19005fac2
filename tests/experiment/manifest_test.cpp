#include "experiment/manifest.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "base/error.h"
#include "experiment/config_schema.h"
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

std::string problems_of(const std::filesystem::path& path, const ManifestOptions& options = {}) {
  try {
    load_experiment(path, options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no problem";
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

TEST(Manifest, ABadCommandIsNamedWithItsPlace) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(matrix:
  case:
    - {method.name: external}
    - {method.name: external, method.command: [run, "{bach}"]}
)");
  const std::string problems = problems_of(path);
  EXPECT_NE(problems.find("m.yaml:3:21: method external needs method.command"), std::string::npos) << problems;
  EXPECT_NE(problems.find("m.yaml:4:47: "), std::string::npos) << problems;
}

TEST(Manifest, MistakesWithVariablesAreNamedOnce) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(vars: {length: many, list: [1, 2], again: "${length}"}
defaults: {data: {seq: "${length}", batch: "${list}"}, method.lr: "${lenght}", method.eps: "1e-${length"}
variants:
  small: {vars: {fine: 1}, defaults: {data.batch: "${fine}"}}
)");
  const std::string file = path.string();
  EXPECT_EQ(problems_of(path), file + ":1:28: vars: list: expected one value without variables, found a list\n" + file +
                                   ":1:43: vars: again: expected one value without variables, found '${length}'\n" +
                                   file + ":2:24: data.seq: expected an integer from 1 to 1048576, found 'many'\n" +
                                   file + ":2:67: unknown variable 'lenght': did you mean 'length'?\n" + file +
                                   ":2:92: '1e-${length' has a '${' without its '}'");
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

TEST(Manifest, ReportsAllMistakesAtOnceWithTheirPlaces) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml",
                                  "name: [a]\n"                                                       // 1
                                  "default: {}\n"                                                     // 2
                                  "defaults:\n"                                                       // 3
                                  "  method: {lerning_rate: 1e-3, eps: big, writeback_every: 128}\n"  // 4
                                  "  data: {seq: \"64\", batch: [1]}\n"                               // 5
                                  "  engin: {slots: 2}\n"                                             // 6
                                  "matrix:\n"                                                         // 7
                                  "  model.name: [opt-125m, opt-126m]\n"                              // 8
                                  "  method.nam: [zo2]\n"                                             // 9
                                  "  case: [1]\n"                                                     // 10
                                  "exclude: [{where: {method.name: mezo}}]\n"                         // 11
                                  "expect:\n"                                                         // 12
                                  "  - {metric: tokens_per_sec, at_least: 1}\n"                       // 13
                                  "  - {metric: arena_bytes, at_most: 18.04 gigabytes}\n"             // 14
                                  "repeats: 0\n"                                                      // 15
                                  "repeats: 2\n");                                                    // 16
  const std::string file = path.string();
  const std::string expected = file + ":1:7: name: expected text, found a list\n" + file +
                               ":2:1: unknown key 'default': did you mean 'defaults'?\n" + file +
                               ":4:12: unknown key 'method.lerning_rate': did you mean 'method.lr'?\n" + file +
                               ":4:37: method.eps: expected a number from 1e-12 to 1, found 'big'\n" + file +
                               ":4:59: method.writeback_every: expected an integer from 1 to 64, found '128'\n" + file +
                               ":5:15: data.seq: expected an integer from 1 to 1048576, found \"64\"\n" + file +
                               ":5:28: data.batch: expected one value, found a list\n" + file +
                               ":6:3: unknown key 'engin': did you mean 'engine'?\n" + file +
                               ":8:26: unknown model 'opt-126m'";
  const std::string problems = problems_of(path);
  EXPECT_EQ(problems.substr(0, expected.size()), expected);
  for (const std::string line :
       {":9:3: unknown key 'method.nam': did you mean 'method.name'?", ":10:10: matrix: 'case' is not a key",
        ":11:11: exclude: 'reason' is missing", ":13:14: unknown metric 'tokens_per_sec': did you mean 'tokens_per_s'?",
        ":14:36: expected a size such as 18.04 GB, found '18.04 gigabytes'",
        ":15:10: repeats: expected an integer from 1 to 10000, found '0'", ":16:1: 'repeats' is given twice"}) {
    EXPECT_NE(problems.find(file + line), std::string::npos) << line << "\nin\n" << problems;
  }
}

TEST(Manifest, EightMistakesOfDifferentKindsAreAllReported) {
  const TempFolder scratch;
  const auto path = scratch.write("m.yaml", R"(matrx: {method.name: [zo2]}
vars: {length: 64}
defaults:
  data: {seq: "${lenght}"}
  method: {lerning_rate: 1e-3, eps: tiny}
  train: {steps: 10, warmup: 10}
zip: {model.name: [opt-125m, opt-350m], data.batch: [1, 2, 3]}
order: sorted
expect: [{where: {}, metric: token_per_s, at_least: 1}]
)");
  const std::string file = path.string();
  EXPECT_EQ(problems_of(path),
            file + ":1:1: unknown key 'matrx': did you mean 'matrix'?\n" + file +
                ":4:15: unknown variable 'lenght': did you mean 'length'?\n" + file +
                ":5:12: unknown key 'method.lerning_rate': did you mean 'method.lr'?\n" + file +
                ":5:37: method.eps: expected a number from 1e-12 to 1, found 'tiny'\n" + file +
                ":6:30: train.warmup 10 leaves nothing of train.steps 10 to measure\n" + file +
                ":7:53: zip: data.batch has 3 values and model.name has 2: they advance together, so give as many\n" +
                file + ":8:8: order: expected one of interleaved, sequential, found 'sorted'\n" + file +
                ":9:30: unknown metric 'token_per_s': did you mean 'tokens_per_s'?");
}

TEST(Manifest, RefusesZipsThatCannotAdvance) {
  const TempFolder scratch;
  const auto refuses = [&](const std::string& text, const std::string& message) {
    const auto path = scratch.write("m.yaml", text);
    EXPECT_EQ(problems_of(path), path.string() + message);
  };
  refuses("zip: [1]", ":1:6: zip: expected a map, found a list");
  refuses("zip: {data.seq: 5}", ":1:17: zip: data.seq: expected a list with a value for each cell, found '5'");
  refuses("zip: {data.seq: []}",
          ":1:17: zip: data.seq: expected a list with a value for each cell, found an empty one");
  refuses("zip: {data.seqs: [1]}", ":1:7: unknown key 'data.seqs': did you mean 'data.seq'?");
  refuses("zip: {data.seq: [0, 1]}", ":1:18: data.seq: expected an integer from 1 to 1048576, found '0'");
  refuses("zip: {data.seq: [1, 2]}\nmatrix: {data.seq: [1, 2]}",
          ":2:21: matrix: 'data.seq' is set by axis 'zip' and by axis 'data.seq'");
}

TEST(Manifest, RefusesValuesThatAreImpossibleTogether) {
  const TempFolder scratch;
  const auto refuses = [&](const std::string& text, const std::string& place, const std::string& message) {
    const auto path = scratch.write("m.yaml", text);
    EXPECT_EQ(problems_of(path).find(path.string() + place + message), 0u) << problems_of(path);
  };
  refuses("defaults: {train.steps: 10}", ":1:25: ", "train.warmup 15 leaves nothing of train.steps 10");
  refuses("defaults: {model.name: opt-125m, data.seq: 4096}",
          ":1:44: ", "data.seq 4096 is longer than the 2048 positions");
  refuses("defaults: {data.kind: tokens}", ":1:23: ", "data.kind tokens needs data.path");
  refuses("defaults: {method: {writeback_every: 64, perturbations: 2}}", ":1:38: ", "method.writeback_every 64");
  refuses("defaults: {model: {name: opt-125m, path: some/folder}}", ":1:42: ", "give model.name or model.path");
  refuses("matrix: {model.name: [opt-125m], case: [{model.name: opt-350m}]}",
          ":1:54: ", "matrix: 'model.name' is set by axis 'model.name' and by axis 'case'");
}

TEST(Manifest, BadFilesAndOverridesAreClear) {
  const TempFolder scratch;
  EXPECT_THROW(load_experiment(scratch.path() / "absent.yaml"), IoError);
  EXPECT_THROW(load_experiment(scratch.path()), IoError);
  const auto broken = scratch.write("broken.yaml", "name: x\nmatrix: {a: [1\n");
  EXPECT_NE(problems_of(broken).find("broken.yaml:3:1: not valid YAML"), std::string::npos) << problems_of(broken);
  const auto empty = scratch.write("empty.yaml", "");
  EXPECT_NE(problems_of(empty).find("expected a map"), std::string::npos);
  const auto fine = scratch.write("fine.yaml", "name: x\nvariants: {small: {}}");
  EXPECT_EQ(problems_of(fine, {.variant = "tiny", .overrides = {"train.stesp=1", "train.steps", "data.seq=no"}}),
            "-S data.seq=no: data.seq: expected an integer from 1 to 1048576, found 'no'\n"
            "-S train.steps: expected key=value, for example -S train.steps=10\n"
            "-S train.stesp=1: unknown key 'train.stesp': did you mean 'train.steps'?\n" +
                fine.string() + ":1:1: no variant 'tiny'; known: small");
  const auto a = scratch.write("a.yaml", "extends: b.yaml");
  scratch.write("b.yaml", "extends: ./a.yaml");
  EXPECT_NE(problems_of(a).find("b.yaml:1:10: extends: ./a.yaml leads back to itself"), std::string::npos);
  const auto orphan = scratch.write("orphan.yaml", "extends: nowhere.yaml");
  EXPECT_NE(problems_of(orphan).find("orphan.yaml:1:10: extends: cannot read"), std::string::npos);
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
