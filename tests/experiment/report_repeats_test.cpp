// What a report says of a cell whose repeats differ.
#include "experiment/report.h"
#include "experiment/synthetic_records.h"

namespace zo2 {
namespace {

class ReportRepeats : public SyntheticRecords {
 protected:
  Report report() { return build_report(scratch_.path(), {}); }
};

TEST_F(ReportRepeats, ACellIsAllOfItsRepeats) {
  const auto repeat = [&](int number, double p50, int64_t arena, double loss, Json warnings) {
    add({.repeat = number,
         .metrics = {{"step_ms_p50", p50}, {"arena_bytes", arena << 20}, {"loss_last", loss}},
         .result = {{"warnings", std::move(warnings)}}});
  };
  repeat(0, 30, 64, 10.25, {"slow disk"});
  repeat(1, 10, 65, 10.125, {"slow disk", "hot"});
  repeat(2, 20, 64, 10.25, {"slow disk"});
  add({.repeat = 3, .state = State::crashed, .metrics = {{"step_ms_p50", 1}}, .result = {{"error", "signal SEGV"}}});
  add({.method = "mezo"});
  const Report result = report();
  const std::string table = render_text(to_tables(result)[0]);
  for (const char* part : {"3 ok, 1 crashed", "10.50000 -> 10.25000", "+1048576 B, equal", "64.0",
                           "opt-125m-zo2 r3: crashed: signal SEGV\n", "opt-125m-zo2 r0, r1, r2: warning: slow disk\n",
                           "opt-125m-zo2 r1: warning: hot\n"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
  EXPECT_EQ(table.find("slow disk"), table.rfind("slow disk")) << "once";
  const Json cell = to_json(result)["measured"][1];
  EXPECT_EQ(cell["metrics"]["step_ms_p50"], 20.0) << "the median of those that count";
  EXPECT_EQ(cell["metrics"]["arena_bytes"], 64 << 20);
  EXPECT_EQ(cell["warnings"], (Json{"slow disk", "hot"}));
  EXPECT_EQ(cell["repeats"][3]["error"], "signal SEGV");
}

TEST_F(ReportRepeats, CellsOfWhichEveryRepeatFailedAreNamed) {
  add({.repeat = 0, .state = State::crashed});
  add({.repeat = 1});
  add({.method = "mezo", .repeat = 0, .state = State::oom});
  add({.method = "mezo", .repeat = 1, .state = State::crashed});
  add({.method = "resident", .state = State::skipped});
  add({.method = "external", .state = State::interrupted});
  EXPECT_EQ(failed_cells(report()), std::vector<std::string>{"opt-125m-mezo (1 oom, 1 crashed)"});
  EXPECT_EQ(interrupted_cells(report()), std::vector<std::string>{"opt-125m-external (1 interrupted)"});
}

}  // namespace
}  // namespace zo2
