#include "experiment/pack.h"

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "experiment/archive.h"
#include "experiment/export_records.h"
#include "experiment/record_folder.h"
#include "experiment/synthetic_records.h"

namespace zo2 {
namespace {

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(Gzip, ReadsBackWhatItPackedAndHasNoTime) {
  const testing::TempFolder scratch;
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += std::to_string(i) + "\n";
  for (const std::string& original : {text, std::string("x"), std::string()}) {
    const std::string packed = gzip(original);
    EXPECT_EQ(packed.substr(0, 2), "\x1f\x8b");
    EXPECT_EQ(packed.substr(4, 4), std::string(4, '\0')) << "the time";
    EXPECT_EQ(read_gzip(scratch.write("a.gz", packed)), original);
  }
  EXPECT_THROW(read_gzip(scratch.write("torn.gz", gzip(text).substr(0, 1000))), IoError);
  EXPECT_THROW(read_gzip(scratch / "absent.gz"), IoError);
}

class PackTest : public SyntheticRecords {};

TEST_F(PackTest, EqualRecordsMakeEqualBytes) {
  add({.method = "zo2"});
  add({.method = "mezo"});
  for (const char* name : {"a.tar.gz", "b.tar.gz", "a.tar.zst", "b.tar.zst"}) {
    pack_records(scratch_.path(), scratch_ / name);
    scratch_.write("cells/opt-125m-zo2-later", "");  // files of others change nothing
  }
  EXPECT_EQ(bytes_of(scratch_ / "a.tar.gz"), bytes_of(scratch_ / "b.tar.gz"));
  EXPECT_EQ(bytes_of(scratch_ / "a.tar.zst"), bytes_of(scratch_ / "b.tar.zst"));
  EXPECT_EQ(bytes_of(scratch_ / "a.tar.zst").substr(0, 4), "\x28\xb5\x2f\xfd");
}

TEST_F(PackTest, LargeCellsAreWarnedAbout) {
  add({});
  EXPECT_TRUE(pack_records(scratch_.path(), scratch_ / "a.tar.gz").warnings.empty());
  add({.repeat = 1, .result = {{"stderr_tail", std::string(400'000, 'x')}}});
  const auto warnings = pack_records(scratch_.path(), scratch_ / "a.tar.gz").warnings;
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].find("cells/opt-125m-zo2-"), 0u) << warnings[0];
}

TEST_F(PackTest, AFailureLeavesNothing) {
  add({});
  EXPECT_THROW(pack_records(scratch_.path(), scratch_ / "a.zip"), UsageError);
  EXPECT_THROW(pack_records(scratch_.path(), scratch_ / "absent" / "a.tar.gz"), IoError);
  EXPECT_EQ(scratch_.list(), std::vector<std::string>{"cells"});
}

TEST_F(PackTest, SamplesAreReadFromTheirPackedForm) {
  add({});
  const auto folder = read_records(scratch_.path())[0].folder;
  const auto before = read_samples(folder);
  std::ofstream(folder / "samples.jsonl.gz", std::ios::binary) << gzip(bytes_of(folder / "samples.jsonl"));
  std::filesystem::remove(folder / "samples.jsonl");
  const auto after = read_samples(folder);
  ASSERT_EQ(after.size(), before.size());
  EXPECT_EQ(after[3].projected_gradient, before[3].projected_gradient);
}

class ExportTest : public SyntheticRecords {
 protected:
  std::string csv() { return render_csv(export_table(read_record_folder(scratch_.path()).records)); }
};

TEST_F(ExportTest, ARowARepeatWithTheKeysThatVaryAndUnits) {
  add({.method = "mezo", .repeat = 0, .tokens_per_s = 0.1, .metrics = {{"loss_last", "nan"}}});
  add({.method = "zo2", .repeat = 1, .state = State::oom, .metrics = {{"tokens_per_s", nullptr}}});
  const std::string text = csv();
  const std::string header = text.substr(0, text.find('\n'));
  EXPECT_EQ(header.find("origin,cell,config_hash,repeat,state,processor,git_commit,method.name,tokens_per_s [tok/s]"),
            0u)
      << header;
  EXPECT_EQ(header.find("data.seq"), std::string::npos) << "the same in every record";
  EXPECT_NE(header.find("arena_bytes [bytes]"), std::string::npos);
  EXPECT_NE(text.find(",0,ok,,,mezo,0.1,"), std::string::npos) << text;
  EXPECT_NE(text.find(",1,oom,,,zo2,,"), std::string::npos) << text;
  EXPECT_NE(text.find(",nan"), std::string::npos) << text;
}

}  // namespace
}  // namespace zo2
