// Every mistake of a manifest is named, at its place.
#include <gtest/gtest.h>

#include "experiment/manifest_problems.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;

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

}  // namespace
}  // namespace zo2
