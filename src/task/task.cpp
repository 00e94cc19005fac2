#include "task/task.h"

#include <fstream>

#include "base/error.h"
#include "base/sha256.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFormat = 1;
constexpr const char* kSplits[] = {"train", "dev", "eval"};

// A JSON object whose members are asked for by name; errors say the way to them.
class Member {
 public:
  Member(const Json& value, std::string where) : value_(value), where_(std::move(where)) {
    ZO2_CHECK(value_.is_object(), UsageError, "{} is {}, not an object", where_, value_.dump());
  }

  Member at(const char* key) const { return {find(key), path(key)}; }
  std::string text(const char* key) const {
    const Json& value = find(key);
    ZO2_CHECK(value.is_string(), UsageError, "{} is {}, not a string", path(key), value.dump());
    return value.get<std::string>();
  }
  int64_t number(const char* key) const { return number_of(find(key), path(key)); }
  std::vector<int64_t> numbers(const char* key) const {
    const Json& value = find(key);
    ZO2_CHECK(value.is_array(), UsageError, "{} is not a list", path(key));
    std::vector<int64_t> numbers;
    for (const Json& element : value) numbers.push_back(number_of(element, path(key)));
    return numbers;
  }
  bool contains(const char* key) const { return value_.contains(key); }
  std::string path(const char* key) const { return where_ + "." + key; }

 private:
  const Json& find(const char* key) const {
    const auto found = value_.find(key);
    ZO2_CHECK(found != value_.end(), UsageError, "{} has no '{}'", where_, key);
    return *found;
  }
  static int64_t number_of(const Json& value, const std::string& where) {
    ZO2_CHECK(value.is_number_integer() && value >= 0, UsageError, "{} holds {}, not a whole number", where,
              value.dump());
    return value.get<int64_t>();
  }

  const Json& value_;
  std::string where_;
};

void check_equal(const Member& object, const char* key, int64_t found) {
  const int64_t claimed = object.number(key);
  ZO2_CHECK(claimed == found, UsageError, "{} is {}, but the file has {}", object.path(key), claimed, found);
}

void check_hash(const Member& object, const char* key, const fs::path& path) {
  const std::string claimed = object.text(key);
  const std::string found = sha256_hex_of_file(path);
  ZO2_CHECK(claimed == found, UsageError,
            "{} has SHA-256 {}, but {} is {}: the file was changed since; prepare the task again", path.string(), found,
            object.path(key), claimed);
}

TaskKind parse_kind(const Member& manifest) {
  const std::string kind = manifest.text("kind");
  if (kind == "candidates") return TaskKind::candidates;
  if (kind == "generation") return TaskKind::generation;
  ZO2_CHECK(kind == "text", UsageError, "{} is '{}'; known are candidates, generation, text", manifest.path("kind"),
            kind);
  return TaskKind::text;
}

// The number of sequences and the labels that the kind asks for.
void check_kind(TaskKind kind, const TokenFile& file, const fs::path& path) {
  for (int64_t example = 0; example < file.examples(); ++example) {
    const int64_t first = file.first_sequence(example);
    const int64_t count = file.first_sequence(example + 1) - first;
    ZO2_CHECK(kind == TaskKind::candidates || count == (kind == TaskKind::generation ? 2 : 1), UsageError,
              "{}: example {} has {} sequences, a {} task has {}", path.string(), example, count,
              kind == TaskKind::generation ? "generation" : "text", kind == TaskKind::generation ? 2 : 1);
    for (int64_t i = 0; i < count; ++i) {
      const SequenceView sequence = file.sequence(first + i);
      const bool prompt = kind == TaskKind::generation && i == 1;
      ZO2_CHECK(sequence.labels.empty() == prompt, UsageError, "{}: example {}, sequence {} has {} labels",
                path.string(), example, i, sequence.labels.size());
    }
  }
}

std::vector<std::vector<std::string>> read_answers(const fs::path& path) {
  std::ifstream stream(path);
  ZO2_CHECK(stream, IoError, "cannot read {}", path.string());
  std::vector<std::vector<std::string>> answers;
  std::string line;
  while (std::getline(stream, line)) {
    try {
      answers.push_back(Json::parse(line).get<std::vector<std::string>>());
    } catch (const Json::exception& error) {
      throw UsageError(
          fmt::format("{}:{}: not a list of strings: {}", path.string(), answers.size() + 1, error.what()));
    }
    ZO2_CHECK(!answers.back().empty(), UsageError, "{}:{}: no answer", path.string(), answers.size());
  }
  return answers;
}

TaskSplit open_split(const fs::path& folder, const std::string& name, const Member& manifest, const Task& task) {
  const Member claims = manifest.at("splits").at(name.c_str());
  const fs::path path = folder / (name + ".tokens");
  check_hash(claims, "tokens_sha256", path);
  TaskSplit split{TokenFile::open(path, task.vocab_size), claims.numbers("rows"), {}};
  check_equal(claims, "examples", split.file.examples());
  check_equal(claims, "sequences", split.file.sequences());
  check_equal(claims, "tokens", split.file.tokens());
  check_equal(claims, "longest", split.file.longest());
  check_kind(task.kind, split.file, path);

  const int64_t rows = manifest.at("inputs").at(claims.text("from").c_str()).number("rows");
  for (int64_t row : split.rows) {
    ZO2_CHECK(row < rows, UsageError, "{}: row {} of an input with {} rows", claims.path("rows"), row, rows);
  }
  const std::string hash = sha256_hex(fmt::format("{}", fmt::join(split.rows, ",")));
  ZO2_CHECK(hash == claims.text("rows_sha256"), UsageError, "{} have SHA-256 {}, but {} is {}", claims.path("rows"),
            hash, claims.path("rows_sha256"), claims.text("rows_sha256"));
  if (task.kind == TaskKind::generation) {
    const fs::path answers = folder / (name + ".answers.jsonl");
    check_hash(claims, "answers_sha256", answers);
    split.answers = read_answers(answers);
    check_equal(claims, "examples", static_cast<int64_t>(split.answers.size()));
  }
  return split;
}

}  // namespace

const TaskSplit& Task::split(const std::string& split_name) const {
  const auto found = splits.find(split_name);
  if (found != splits.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, split] : splits) names.push_back(known);
  throw UsageError(fmt::format("task {} has no split '{}'; it has {}", name, split_name, fmt::join(names, ", ")));
}

std::vector<std::span<const int32_t>> prompts_of(const TokenFile& file) {
  std::vector<std::span<const int32_t>> prompts;
  for (int64_t example = 0; example < file.examples(); ++example) {
    prompts.push_back(file.sequence(file.first_sequence(example) + 1).input_ids);
  }
  return prompts;
}

void check_fits(const Task& task, const TokenFile& file, const ModelConfig& model) {
  ZO2_CHECK(task.vocab_size <= model.vocab_size, UsageError,
            "task {} has a vocabulary of {} tokens, model {} of {}: prepare the task with the model's tokenizer",
            task.name, task.vocab_size, model.name, model.vocab_size);
  ZO2_CHECK(file.longest() <= model.max_positions, UsageError,
            "task {} has a sequence of {} tokens, model {} has {} positions: prepare the task with --max-length {}",
            task.name, file.longest(), model.name, model.max_positions, model.max_positions);
  if (task.kind != TaskKind::generation) return;
  const int64_t positions = longest_of(prompts_of(file)) + task.generation.new_tokens - 1;
  ZO2_CHECK(positions <= model.max_positions, UsageError,
            "task {}: its longest prompt and {} new tokens take {} positions, model {} has {}: prepare the task with "
            "--max-length {}",
            task.name, task.generation.new_tokens, positions, model.name, model.max_positions, model.max_positions);
}

Task open_task(const fs::path& folder) {
  const fs::path path = folder / "task.json";
  std::error_code ignored;
  ZO2_CHECK(fs::exists(path, ignored), UsageError,
            "{} has no task.json: not a folder that scripts/prepare_task.py wrote", folder.string());
  Task task;
  task.manifest = read_json(path);
  const Member manifest(task.manifest, path.string());
  ZO2_CHECK(manifest.number("format") == kFormat, UsageError,
            "{}: task of format {}, this program reads {}: prepare the task again", path.string(),
            manifest.number("format"), kFormat);
  task.name = manifest.text("task");
  task.kind = parse_kind(manifest);
  task.vocab_size = manifest.at("tokenizer").number("vocab_size");
  if (task.kind == TaskKind::generation) {
    const Member generation = manifest.at("generation");
    task.generation.new_tokens = generation.number("new_tokens");
    ZO2_CHECK(task.generation.new_tokens > 0, UsageError, "{} is 0", generation.path("new_tokens"));
    for (int64_t id : generation.numbers("ends")) {
      ZO2_CHECK(id < task.vocab_size, UsageError, "{}: id {} is outside of the vocabulary of {}",
                generation.path("ends"), id, task.vocab_size);
      task.generation.ends.push_back(static_cast<int32_t>(id));
    }
    check_hash(generation, "vocabulary_sha256", folder / "vocabulary.txt");
    task.vocabulary = Vocabulary::open(folder / "vocabulary.txt", task.vocab_size);
  }
  const Member splits = manifest.at("splits");
  for (const char* name : kSplits) {
    if (splits.contains(name)) task.splits.emplace(name, open_split(folder, name, manifest, task));
  }
  return task;
}

}  // namespace zo2
