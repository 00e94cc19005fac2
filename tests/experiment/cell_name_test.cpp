#include "experiment/cell_name.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::message_of;

const std::vector<CellName> kCells{{"opt-zo2-k1", "opt-zo2-k1-aaaa1111", "aaaa1111ff"},
                                   {"opt-zo2-k1", "opt-zo2-k1-aaaa1111", "aaaa1111ff"},  // another repeat
                                   {"opt-zo2-k8", "opt-zo2-k8-bbbb2222", "bbbb2222ff"},
                                   {"opt-zo2-k8", "opt-zo2-k8-bbbb3333", "bbbb3333ff"}};

TEST(CellName, IsASlugAFolderAPatternOrAHash) {
  for (const char* text : {"opt-zo2-k1", "opt-zo2-k1-aaaa1111", "*-k1", "*aaaa*", "aaaa", "aaaa1111ff"}) {
    EXPECT_EQ(find_cell(kCells, text, "DIR"), "opt-zo2-k1-aaaa1111") << text;
  }
  EXPECT_EQ(find_cell(kCells, "bbbb3", "DIR"), "opt-zo2-k8-bbbb3333");
}

TEST(CellName, MustMeanOneCell) {
  const auto message = [](const char* text) { return message_of<UsageError>([&] { find_cell(kCells, text, "DIR"); }); };
  EXPECT_EQ(message("opt-zo2-k8"), "'opt-zo2-k8' means 2 cells of DIR: opt-zo2-k8-bbbb2222, opt-zo2-k8-bbbb3333");
  EXPECT_EQ(message("aaa"),
            "no cell 'aaa' in DIR; there are opt-zo2-k1-aaaa1111, opt-zo2-k8-bbbb2222, opt-zo2-k8-bbbb3333")
      << "three digits";
  EXPECT_EQ(message_of<UsageError>([&] { find_cell({}, "x", "DIR"); }), "no cell 'x' in DIR; there are none");
}

}  // namespace
}  // namespace zo2
