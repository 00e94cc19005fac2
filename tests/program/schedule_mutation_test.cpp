// check_schedule finds what is wrong: sound schedules are broken in one place at a time.
#include <algorithm>
#include <map>
#include <set>

#include "program/schedule.h"
#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

Toy small_toy(bool tied) {
  Toy toy;
  toy.tied = tied;
  toy.layers = 1;
  toy.vocab = 100;
  return toy;
}

const Op& op_at(const ToyPasses& passes, const Schedule& schedule, int at) {
  return passes.programs[0].ops[static_cast<size_t>(schedule.ops[static_cast<size_t>(at)].op)];
}

// Whether operation `at` of a pass follows its dependency `removed` by the order of the streams and all the other
// dependencies: a search backwards through three passes.
bool implied(const Schedule& schedule, int at, size_t removed) {
  const int count = static_cast<int>(schedule.ops.size());
  const Dependency goal = schedule.ops[static_cast<size_t>(at)].after[removed];
  const int target = (2 - goal.passes_ago) * count + goal.op;
  std::vector<int> open{2 * count + at};
  std::set<int> seen(open.begin(), open.end());
  while (!open.empty()) {
    const int node = open.back();
    open.pop_back();
    if (node == target) return true;
    const int pass = node / count;
    const int here = node % count;
    const ScheduledOp& op = schedule.ops[static_cast<size_t>(here)];
    const auto reach = [&](int earlier) {
      if (earlier >= 0 && seen.insert(earlier).second) open.push_back(earlier);
    };
    for (size_t i = 0; i < op.after.size(); ++i) {
      if (here == at && i == removed) continue;
      if (op.after[i].passes_ago <= pass) reach((pass - op.after[i].passes_ago) * count + op.after[i].op);
    }
    for (int earlier = node - 1; earlier >= 0; --earlier) {
      if (schedule.ops[static_cast<size_t>(earlier % count)].stream != op.stream) continue;
      reach(earlier);
      break;
    }
  }
  return false;
}

std::string kind_of(const ToyPasses& passes, const Schedule& schedule, int at, const Dependency& after) {
  const Op& op = op_at(passes, schedule, at);
  const Op& other = op_at(passes, schedule, after.op);
  switch (op.kind) {
    case OpKind::upload:
      if (other.kind == OpKind::download && other.tile == op.tile) return "upload after its own download";
      return "upload after its slot is free";
    case OpKind::visit:
    case OpKind::fold: return "visit after upload";
    case OpKind::download: return "download after visit";
    case OpKind::gather: return "gather after download";
    default: return "unexpected";
  }
}

// Takes out every dependency in turn; counts how many the checker had to find, per kind of rule.
void remove_each(const ToyPasses& passes, std::map<std::string, int>& detected) {
  const Schedule sound = passes.schedule(0);
  ASSERT_TRUE(passes.problems(0, sound).empty());
  for (int at = 0; at < static_cast<int>(sound.ops.size()); ++at) {
    const auto& after = sound.ops[static_cast<size_t>(at)].after;
    for (size_t i = 0; i < after.size(); ++i) {
      Schedule broken = sound;
      auto& list = broken.ops[static_cast<size_t>(at)].after;
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
      const std::string kind = kind_of(passes, sound, at, after[i]);
      const bool needed = !implied(sound, at, i);
      const std::vector<std::string> problems = passes.problems(0, broken);
      EXPECT_EQ(!problems.empty(), needed)
          << kind << ": operation " << at << " after " << after[i].op << ", " << after[i].passes_ago << " passes ago";
      if (needed && !problems.empty()) ++detected[kind];
    }
  }
}

TEST(CheckSchedule, FindsEveryMissingDependencyThatOthersDoNotImply) {
  std::map<std::string, int> detected;
  for (bool tied : {true, false}) {
    for (int pairs : {1, 2}) {
      for (int slots : {2, 3}) remove_each({small_toy(tied), toy_shape(pairs), slots, {}}, detected);
      // A slot for every tile: an upload has only its own download of the pass before to wait for.
      remove_each({small_toy(tied), toy_shape(pairs), 64, {}}, detected);
    }
  }
  // Whole layers in two slots, the rest of the published scheme as well.
  PassShape shape = toy_shape(1);
  for (bool noise : {false, true}) {
    shape.scheme = {Granularity::block, true, false, noise};
    Toy toy = small_toy(false);
    toy.layers = 3;
    remove_each({toy, shape, 2, {}}, detected);
  }
  for (const char* kind : {"upload after its slot is free", "upload after its own download", "visit after upload",
                           "download after visit", "gather after download"}) {
    EXPECT_GT(detected[kind], 0) << kind;
    detected.erase(kind);
  }
  EXPECT_TRUE(detected.empty()) << detected.begin()->first;
}

TEST(CheckSchedule, FindsAWaitForALaterOperationAndForItself) {
  const ToyPasses passes(small_toy(true), toy_shape(1), 3, {});
  const Schedule sound = passes.schedule(0);
  const int count = static_cast<int>(sound.ops.size());
  for (int at : {0, count / 2, count - 2}) {
    for (int other : {at, at + 1, count - 1}) {
      Schedule broken = sound;
      broken.ops[static_cast<size_t>(at)].after.push_back({other, 0});
      const std::vector<std::string> problems = passes.problems(0, broken);
      ASSERT_FALSE(problems.empty()) << at << " after " << other;
      expect_contains(problems[0], "comes after it");
    }
  }
  for (int nowhere : {-1, count, count + 7}) {
    Schedule broken = sound;
    broken.ops[3].after.push_back({nowhere, 0});
    EXPECT_FALSE(passes.problems(0, broken).empty()) << nowhere;
  }
}

// The operations of each tile that has a slot: where its base is said to be.
std::map<int, std::vector<int>> users_of(const ToyPasses& passes, const Schedule& schedule) {
  std::map<int, std::vector<int>> users;
  for (int at = 0; at < static_cast<int>(schedule.ops.size()); ++at) {
    if (schedule.ops[static_cast<size_t>(at)].tile_offset >= 0) users[op_at(passes, schedule, at).tile].push_back(at);
  }
  return users;
}

TEST(CheckSchedule, FindsAnUploadIntoAnotherSlotThanTheVisitReads) {
  const ToyPasses passes(small_toy(true), toy_shape(1), 3, {});
  const Schedule sound = passes.schedule(0);
  for (const auto& [tile, users] : users_of(passes, sound)) {
    for (int user : users) {
      Schedule broken = sound;
      int64_t& offset = broken.ops[static_cast<size_t>(user)].tile_offset;
      const SlotClass& slots =
          offset >= passes.layout.vector_slots.offset ? passes.layout.vector_slots : passes.layout.tile_slots;
      const int64_t slot = (offset - slots.offset) / slots.bytes;
      offset = slots.offset_of(static_cast<int>((slot + 1) % slots.count));
      EXPECT_FALSE(passes.problems(0, broken).empty()) << "tile " << tile << ", operation " << user;
    }
  }
}

TEST(CheckSchedule, FindsTwoTilesOfABlockInOnePlace) {
  PassShape shape = toy_shape(1);
  shape.scheme.granularity = Granularity::block;
  ToyPasses passes(small_toy(true), shape, 2, {});
  for (size_t tile = 1; tile < passes.layout.offset_in_slot.size(); ++tile) {
    int64_t& offset = passes.layout.offset_in_slot[tile];
    if (offset == 0) continue;
    const int64_t sound = offset;
    offset = passes.layout.offset_in_slot[tile - 1];
    EXPECT_FALSE(passes.problems(0, passes.schedule(0)).empty()) << "tile " << tile;
    offset = sound;
  }
  EXPECT_TRUE(passes.problems(0, passes.schedule(0)).empty());
}

TEST(CheckSchedule, FindsAVisitThatReadsNoiseOfAnotherTile) {
  PassShape shape = toy_shape(1);
  shape.scheme.noise_buffer = true;
  ToyPasses passes(small_toy(true), shape, 3, {});
  const Schedule schedule = passes.schedule(0);
  int wrong = 0;
  for (Op& op : passes.programs[0].ops) {
    if (op.kind != OpKind::noise) continue;
    const int sound = op.tile;
    op.tile = sound > 0 ? sound - 1 : 1;
    EXPECT_FALSE(passes.problems(0, schedule).empty()) << "tile " << sound;
    op.tile = sound;
    ++wrong;
  }
  EXPECT_GT(wrong, 10);
}

TEST(CheckSchedule, FindsTwoTilesWithSwappedSlots) {
  const ToyPasses passes(small_toy(false), toy_shape(1), 3, {});
  const Schedule sound = passes.schedule(0);
  const auto users = users_of(passes, sound);
  int swapped = 0;
  for (const auto& [tile, here] : users) {
    const auto next = users.find(tile + 1);
    if (next == users.end()) continue;
    const int64_t offset = sound.ops[static_cast<size_t>(here[0])].tile_offset;
    const int64_t other = sound.ops[static_cast<size_t>(next->second[0])].tile_offset;
    if (offset >= passes.layout.vector_slots.offset || other >= passes.layout.vector_slots.offset) continue;
    Schedule broken = sound;
    for (int at : here) broken.ops[static_cast<size_t>(at)].tile_offset = other;
    for (int at : next->second) broken.ops[static_cast<size_t>(at)].tile_offset = offset;
    EXPECT_FALSE(passes.problems(0, broken).empty()) << "tiles " << tile << " and " << tile + 1;
    ++swapped;
  }
  EXPECT_GT(swapped, 10);
}

// Lifetimes as first and last operation that touches a buffer.
std::vector<std::pair<int, int>> lifetimes(const Program& program) {
  std::vector<std::pair<int, int>> lives(program.buffers.size(), {1 << 30, -1});
  const auto touch = [&](int buffer, int at) {
    if (buffer < 0) return;
    auto& [first, last] = lives[static_cast<size_t>(buffer)];
    first = std::min(first, at);
    last = std::max(last, at);
  };
  for (int at = 0; at < static_cast<int>(program.ops.size()); ++at) {
    const Op& op = program.ops[static_cast<size_t>(at)];
    for (int buffer : {op.in[0], op.in[1], op.in[2], op.out[0], op.out[1], op.weights, op.vectors}) touch(buffer, at);
    if (op.kind == OpKind::inputs) {
      for (int buffer : {program.token_ids, program.labelled_rows, program.targets}) touch(buffer, at);
    }
  }
  return lives;
}

TEST(CheckSchedule, FindsABufferMovedOntoAnotherThatIsLive) {
  for (int pairs : {1, 2}) {
    ToyPasses passes(small_toy(true), toy_shape(pairs), 3, {});
    const Schedule schedule = passes.schedule(0);
    const auto lives = lifetimes(passes.programs[0]);
    std::vector<int64_t>& offsets = passes.layout.buffer_offset[0];
    const std::vector<int64_t> sound = offsets;
    const auto& buffers = passes.programs[0].buffers;
    int moved = 0;
    for (size_t a = 0; a < buffers.size(); ++a) {
      for (size_t b = 0; b < buffers.size(); ++b) {
        // What is only written (log-probabilities, for the host to read) has no reader inside the pass to disturb.
        const bool together = lives[a].first <= lives[b].second && lives[b].first <= lives[a].second;
        const bool one_use = lives[a].first == lives[a].second || lives[b].first == lives[b].second;
        if (a == b || !together || one_use) continue;
        if (buffers[a].name.starts_with("logprobs") || buffers[b].name.starts_with("logprobs")) continue;
        // Small logits are of one branch; another's, or its weights, are not in use when they are.
        const auto brief = [&](size_t i) { return buffers[i].name == "logits" || buffers[i].name.starts_with("W"); };
        if (brief(a) && brief(b) && !(buffers[a].name.starts_with("W") && buffers[b].name.starts_with("W"))) continue;
        offsets[a] = sound[b];
        EXPECT_FALSE(passes.problems(0, schedule).empty()) << buffers[a].name << " onto " << buffers[b].name;
        offsets = sound;
        ++moved;
      }
    }
    EXPECT_GT(moved, 50);
  }
}

TEST(CheckSchedule, FindsABufferMovedOntoASlot) {
  ToyPasses passes(small_toy(true), toy_shape(1), 3, {});
  const Schedule schedule = passes.schedule(0);
  std::vector<int64_t>& offsets = passes.layout.buffer_offset[0];
  for (size_t buffer = 0; buffer < offsets.size(); ++buffer) {
    const std::string& name = passes.programs[0].buffers[buffer].name;
    if (name.starts_with("logprobs")) continue;
    const int64_t sound = offsets[buffer];
    offsets[buffer] = passes.layout.tile_slots.offset_of(1);
    EXPECT_FALSE(passes.problems(0, schedule).empty()) << name;
    offsets[buffer] = sound;
  }
}

TEST(CheckSchedule, FindsAResidentTileMovedOntoAnother) {
  ToyPasses passes(small_toy(true), toy_shape(1), 3, {ArenaBudget::kAll});
  for (size_t tile = 1; tile < passes.layout.resident_offset.size(); ++tile) {
    const int64_t sound = passes.layout.resident_offset[tile];
    passes.layout.resident_offset[tile] = passes.layout.resident_offset[tile - 1];
    EXPECT_FALSE(passes.problems(0, passes.schedule(0)).empty()) << "tile " << tile;
    passes.layout.resident_offset[tile] = sound;
  }
}

TEST(CheckSchedule, FindsAnUploadThatIsMissing) {
  const ToyPasses passes(small_toy(true), toy_shape(1), 3, {});
  const Schedule sound = passes.schedule(0);
  for (int at = 0; at < static_cast<int>(sound.ops.size()); ++at) {
    if (op_at(passes, sound, at).kind != OpKind::upload) continue;
    Schedule broken = sound;
    broken.ops[static_cast<size_t>(at)].op = 0;  // `inputs` in its place, which uploads nothing
    EXPECT_FALSE(passes.problems(0, broken).empty()) << at;
  }
}

}  // namespace
}  // namespace zo2
