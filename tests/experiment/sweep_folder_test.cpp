#include "experiment/sweep_folder.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "experiment/record.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;
namespace fs = std::filesystem;

class SweepFolderTest : public ::testing::Test {
 protected:
  Experiment experiment(const std::string& methods) {
    return load_experiment(scratch_.write("m.yaml", "defaults: {data.seq: 8}\nmatrix: {method.name: " + methods + "}"));
  }
  std::optional<RepeatFolder> lock() {
    return RepeatFolder::lock(cell_, 0, [] { return false; });
  }
  void put(const std::string& folder, const std::string& text) {
    scratch_.write("cell/" + folder + "/result.json", text);
  }
  std::string result(const std::string& folder) {
    const fs::path path = cell_ / folder / "result.json";
    return fs::exists(path) ? read_json(path).dump() : "";
  }

  TempFolder scratch_;
  fs::path cell_ = scratch_.path() / "cell";
  fs::path out_ = scratch_.path() / "out";
};

TEST_F(SweepFolderTest, OneRunnerAloneOrSeveralOfTheSameExperiment) {
  const Experiment one = experiment("[zo2]");
  const Experiment two = experiment("[zo2, mezo]");
  {
    const SweepFolder alone(out_, one, false);
    EXPECT_THROW(SweepFolder(out_, one, false), IoError);
    EXPECT_THROW(SweepFolder(out_, one, true), IoError);
  }
  {
    const SweepFolder first(out_, two, true);
    EXPECT_EQ(read_json(out_ / "experiment.json")["cells"].size(), 2u);
    const SweepFolder second(out_, two, true);
    EXPECT_THROW(SweepFolder(out_, one, true), IoError) << "other cells";
    Experiment longer = two;
    longer.options.timeout_s = 60;
    EXPECT_THROW(SweepFolder(out_, longer, true), IoError) << "the same cells under another limit";
    EXPECT_THROW(SweepFolder(out_, two, false), IoError);
    EXPECT_EQ(read_json(out_ / "experiment.json")["cells"].size(), 2u);
  }
  const SweepFolder later(out_, one, true);
  EXPECT_EQ(read_json(out_ / "experiment.json")["cells"].size(), 1u);
}

TEST_F(SweepFolderTest, ARepeatIsLockedWhileItRuns) {
  EXPECT_FALSE(is_running(cell_, 0));
  auto folder = lock();
  ASSERT_TRUE(folder);
  EXPECT_FALSE(lock());
  EXPECT_TRUE(is_running(cell_, 0));
  EXPECT_FALSE(is_running(cell_, 1));
  folder.reset();
  EXPECT_FALSE(is_running(cell_, 0));
  EXPECT_TRUE(lock());
}

TEST_F(SweepFolderTest, AnAttemptReplacesTheRecordOrLeavesIt) {
  put("r0", "1");
  const auto folder = lock();
  folder->begin();
  EXPECT_TRUE(fs::is_empty(folder->attempt()));
  EXPECT_EQ(result("r0"), "1") << "the old record stays while the attempt runs";
  put("new-r0", "2");
  folder->discard();
  EXPECT_EQ(result("r0"), "1");
  folder->begin();
  put("new-r0", "3");
  folder->accept();
  EXPECT_EQ(result("r0"), "3");
  EXPECT_FALSE(fs::exists(cell_ / "new-r0"));
  EXPECT_FALSE(fs::exists(cell_ / "old-r0"));
}

TEST_F(SweepFolderTest, WhatARunnerThatDiedLeftIsMended) {
  EXPECT_FALSE(is_untidy(cell_, 0));
  put("new-r0", "half");  // killed while it ran
  EXPECT_TRUE(is_untidy(cell_, 0));
  lock();
  EXPECT_FALSE(fs::exists(cell_ / "new-r0"));

  put("old-r0", "1");  // killed between the two renames
  put("new-r0", "2");
  EXPECT_TRUE(is_untidy(cell_, 0));
  lock();
  EXPECT_FALSE(is_untidy(cell_, 0));
  EXPECT_EQ(result("r0"), "1");
  EXPECT_FALSE(fs::exists(cell_ / "old-r0"));

  put("old-r0", "0");  // killed before the old record was removed
  lock();
  EXPECT_EQ(result("r0"), "1");
  EXPECT_FALSE(fs::exists(cell_ / "old-r0"));
}

TEST_F(SweepFolderTest, ACellKeepsItsFolderWhenItsSlugChanges) {
  const Experiment one = experiment("[zo2]");
  const Cell& cell = one.cells[0];
  const fs::path old_folder = out_ / "cells" / ("old-name-" + cell.config_hash.substr(0, 8));
  fs::create_directories(old_folder / "r0");
  write_file_atomically(old_folder / "r0" / "config.json",
                        to_json(CellRequest{"x", "old-name", 0, cell.config_hash, cell.config}).dump());
  EXPECT_EQ(SweepFolder(out_, one, false).cell_folder(cell), old_folder);
  EXPECT_EQ(cell_folders(out_).at(cell.config_hash), old_folder);
}

}  // namespace
}  // namespace zo2
