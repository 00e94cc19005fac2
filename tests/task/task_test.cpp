#include "task/task.h"

#include <functional>

#include "base/error.h"
#include "task/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

class Tasks : public ::testing::Test {
 protected:
  Tasks() : manifest_(write_small_task(folder_, small_examples())) {}

  std::string refusal(const std::function<void(Json&)>& change) {
    Json changed = manifest_;
    change(changed);
    folder_.write("task.json", changed.dump());
    return message_of<UsageError>([&] { open_task(folder_.path()); });
  }
  Json& eval(Json& manifest) { return manifest["splits"]["eval"]; }

  TempFolder folder_;
  Json manifest_;
};

void expect_has(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(Tasks, OpensWhatIsTrue) {
  const Task task = open_task(folder_.path());
  EXPECT_EQ(task.name, "small");
  EXPECT_EQ(task.kind, TaskKind::candidates);
  EXPECT_EQ(task.vocab_size, 12);
  EXPECT_EQ(task.manifest["metric"], "accuracy");
  EXPECT_EQ(task.split("eval").file.examples(), 2);
  EXPECT_EQ(task.split("eval").rows, (std::vector<int64_t>{4, 1}));
  expect_has(message_of<UsageError>([&] { (void)task.split("dev"); }), "no split 'dev'; it has eval");
}

TEST_F(Tasks, AChangedTokenFileIsNoticed) {
  auto examples = small_examples();
  examples[0].sequences[0].ids[1] = 4;
  folder_.write("eval.tokens", token_file_bytes(examples));
  expect_has(message_of<UsageError>([&] { open_task(folder_.path()); }), "was changed since");
}

TEST_F(Tasks, EveryCountIsHeldAgainstTheFile) {
  for (const char* key : {"examples", "sequences", "tokens", "longest"}) {
    const std::string message = refusal([&](Json& manifest) { eval(manifest)[key] = 99; });
    expect_has(message, fmt::format("splits.eval.{} is 99, but the file has", key));
  }
}

TEST_F(Tasks, RowsAreInsideTheInputAndHaveTheirHash) {
  expect_has(refusal([&](Json& manifest) { eval(manifest)["rows"] = {4, 5}; }), "row 5 of an input with 5 rows");
  expect_has(refusal([&](Json& manifest) { eval(manifest)["rows"] = {1, 4}; }), "rows_sha256");
  expect_has(refusal([&](Json& manifest) { eval(manifest)["rows"] = {-1}; }), "-1, not a whole number");
}

TEST_F(Tasks, MissingAndMistypedMembersAreNamedWithTheirPath) {
  expect_has(refusal([&](Json& manifest) { manifest.erase("tokenizer"); }), "task.json has no 'tokenizer'");
  expect_has(refusal([&](Json& manifest) { manifest["tokenizer"] = 3; }), "task.json.tokenizer is 3, not an object");
  expect_has(refusal([&](Json& manifest) { manifest["format"] = 2; }), "task of format 2, this program reads 1");
  expect_has(refusal([&](Json& manifest) { manifest["kind"] = "quiz"; }), "known are candidates, generation, text");
  expect_has(refusal([&](Json& manifest) { eval(manifest).erase("tokens_sha256"); }),
             "task.json.splits.eval has no 'tokens_sha256'");
  expect_has(message_of<UsageError>([&] { open_task(folder_ / "nowhere"); }), "prepare_task.py");
}

TEST_F(Tasks, SequencesAreWhatTheKindSays) {
  expect_has(refusal([&](Json& manifest) { manifest["kind"] = "text"; }), "example 0 has 2 sequences");
  expect_has(refusal([&](Json& manifest) { manifest["kind"] = "generation"; }), "sequence 1 has 2 labels");
}

TEST_F(Tasks, GenerationHasAnswersForEveryExample) {
  const std::vector<RawExample> examples = {{{{{2, 5, 8}, 2, 3}, {{2, 5}, 2, 2}}, {0}},
                                            {{{{2, 6, 9}, 2, 3}, {{2, 6}, 2, 2}}, {0}}};
  manifest_ = write_small_task(folder_, examples);
  const auto with_answers = [&](const std::string& text) {
    folder_.write("eval.answers.jsonl", text);
    return [this, text](Json& manifest) {
      manifest["kind"] = "generation";
      eval(manifest)["answers_sha256"] = sha256_hex(text);
    };
  };
  expect_has(refusal(with_answers("[\"a\"]\n")), "splits.eval.examples is 2, but the file has 1");
  expect_has(refusal(with_answers("[\"a\"]\n[3]\n")), "eval.answers.jsonl:2: not a list of strings");
  expect_has(refusal(with_answers("[\"a\"]\n[]\n")), "eval.answers.jsonl:2: no answer");
  Json good = manifest_;
  with_answers("[\"a\"]\n[\"b\", \"c\"]\n")(good);
  folder_.write("task.json", good.dump());
  const Task task = open_task(folder_.path());
  EXPECT_EQ(task.split("eval").answers, (std::vector<std::vector<std::string>>{{"a"}, {"b", "c"}}));
  EXPECT_EQ(task.generation.new_tokens, 4);
  EXPECT_EQ(task.generation.ends, (std::vector<int32_t>{3, 2}));
  EXPECT_EQ(task.vocabulary.text(std::vector<int32_t>{5, 11, 3}), "5 11 3");
  const auto prompts = prompts_of(task.split("eval").file);
  ASSERT_EQ(prompts.size(), 2U);
  EXPECT_EQ(std::vector<int32_t>(prompts[1].begin(), prompts[1].end()), (std::vector<int32_t>{2, 6}));
}

}  // namespace
}  // namespace zo2
