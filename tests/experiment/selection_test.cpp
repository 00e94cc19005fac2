#include "experiment/selection.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "support.h"

namespace zo2 {
namespace {

Experiment load(const std::string& rest) {
  const testing::TempFolder scratch;
  return load_experiment(scratch.write("m.yaml", "name: test\ndefaults: {data.seq: 8}\n" + rest));
}

// "zo2r0 mezor0 ..." in running order; cells are told apart by method and batch.
std::string chosen(const Experiment& experiment, const Selection& selection) {
  std::string text;
  for (const Turn& turn : select_repeats(experiment, selection)) {
    text += experiment.cells[turn.cell].slug.substr(9) + "r" + std::to_string(turn.repeat) + " ";
  }
  return text;
}

constexpr const char* kSix = "matrix: {method.name: [zo2, mezo, resident], data.batch: [1, 2]}\n";

TEST(Selection, PatternsAndKeysChooseCells) {
  const Experiment six = load(kSix);
  EXPECT_EQ(chosen(six, {.only = {"*-zo2-*"}}), "zo2-batch1r0 zo2-batch2r0 ");
  EXPECT_EQ(chosen(six, {.only = {"method.name=zo2"}}), "zo2-batch1r0 zo2-batch2r0 ");
  EXPECT_EQ(chosen(six, {.only = {six.cells[2].folder_name()}}), "mezo-batch1r0 ") << "a folder's name as it is";
  EXPECT_EQ(chosen(six, {.only = {"method.name=zo2", "method.name=mezo", "data.batch=2"}}),
            "zo2-batch2r0 mezo-batch2r0 ")
      << "one of the values of each key";
  EXPECT_EQ(chosen(six, {.only = {"*zo2*", "*mezo*"}, .exclude = {"data.batch=1"}}), "zo2-batch2r0 mezo-batch2r0 ");
  EXPECT_EQ(chosen(six, {.exclude = {"*batch1", "method.name=mezo"}}), "zo2-batch2r0 resident-batch2r0 ")
      << "any of them leaves a cell out";
}

TEST(Selection, RefusesWhatItCannotMean) {
  const Experiment six = load(kSix);
  const auto message = [&](const Selection& selection) {
    try {
      select_repeats(six, selection);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string both = message({.only = {"method.nam=zo2"}, .exclude = {"data.batch=many"}});
  EXPECT_NE(both.find("--only method.nam=zo2: unknown key 'method.nam': did you mean 'method.name'?"), both.npos)
      << both;
  EXPECT_NE(both.find("--exclude data.batch=many: data.batch: expected an integer"), both.npos) << both;
  const std::string none = message({.only = {"*nothing*"}});
  EXPECT_NE(none.find("leave none of the 6 cells: opt-125m-zo2-batch1, "), none.npos) << none;
  for (const char* text : {"0/2", "3/2", "1", "1/", "/2", "a/b", "-1/2", "1/2/3", ""}) {
    EXPECT_THROW(parse_shard(text), UsageError) << text;
  }
  EXPECT_EQ(parse_shard("2/4").index, 2);
  EXPECT_EQ(parse_shard("2/4").count, 4);
}

TEST(Selection, ShardsAreDisjointAndTogetherComplete) {
  const Experiment experiment = load(std::string(kSix) +
                                     "repeats: 3\n"
                                     "exclude: [{where: {method.name: mezo}, reason: slow}]\n");
  const std::vector<Turn> all = select_repeats(experiment, {});
  ASSERT_EQ(all.size(), 14u) << "an excluded cell counts once";
  for (int count : {1, 2, 3, 5, 14, 20}) {
    std::multiset<std::pair<size_t, int>> seen;
    size_t least = all.size();
    size_t most = 0;
    for (int index = 1; index <= count; ++index) {
      const auto part = select_repeats(experiment, {.shard = {index, count}});
      least = std::min(least, part.size());
      most = std::max(most, part.size());
      for (const Turn& turn : part) seen.emplace(turn.cell, turn.repeat);
    }
    EXPECT_EQ(seen.size(), all.size()) << count;
    for (const Turn& turn : all) EXPECT_EQ(seen.count({turn.cell, turn.repeat}), 1u) << count;
    EXPECT_LE(most - least, 1u) << count;
  }
}

TEST(Selection, RepeatsKeepTheManifestsOrder) {
  const std::string two = "repeats: 2\nmatrix: {method.name: [zo2, mezo]}\n";
  EXPECT_EQ(chosen(load(two), {}), "zo2r0 mezor0 zo2r1 mezor1 ");
  EXPECT_EQ(chosen(load(two + "order: sequential\n"), {}), "zo2r0 zo2r1 mezor0 mezor1 ");
  EXPECT_EQ(chosen(load(two + "order: sequential\n"), {.shard = {1, 2}}), "zo2r0 mezor0 ");
}

TEST(Selection, AShardStaysWhenCellsAreAddedAtTheEnd) {
  const Experiment before = load("repeats: 2\nmatrix: {method.name: [zo2, mezo]}\n");
  const Experiment after = load("repeats: 2\nmatrix: {method.name: [zo2, mezo, resident]}\n");
  for (int index = 1; index <= 3; ++index) {
    std::set<std::pair<std::string, int>> now;
    for (const Turn& turn : select_repeats(after, {.shard = {index, 3}})) {
      now.emplace(after.cells[turn.cell].config_hash, turn.repeat);
    }
    for (const Turn& turn : select_repeats(before, {.shard = {index, 3}})) {
      EXPECT_TRUE(now.contains({before.cells[turn.cell].config_hash, turn.repeat})) << index;
    }
  }
}

TEST(Selection, AsManyShardsAsRepeatsHaveEachCellOnce) {
  const Experiment experiment = load(std::string(kSix) + "repeats: 3\n");
  for (int index = 1; index <= 3; ++index) {
    std::set<size_t> cells;
    for (const Turn& turn : select_repeats(experiment, {.shard = {index, 3}})) cells.insert(turn.cell);
    EXPECT_EQ(cells.size(), 6u);
  }
}

}  // namespace
}  // namespace zo2
