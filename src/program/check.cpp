// check_schedule: two passes unrolled, every access to memory compared with the accesses before it. See schedule.h.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "program/access.h"
#include "program/schedule.h"

namespace zo2 {
namespace {

using Clock = std::array<int, 3>;  // per stream, how many of its operations are known to have ended

struct Record {
  Access access;
  int node = -1;  // -1: from before the first pass
};

class Checker {
 public:
  Checker(const ParameterTable& table, const Program& program, const Layout& layout, int program_index,
          const Schedule& schedule)
      : table_(table),
        program_(program),
        layout_(layout),
        program_index_(program_index),
        offsets_(layout.buffer_offset[program_index]),
        schedule_(schedule) {}

  std::vector<std::string> run() {
    for (size_t tile = 0; tile < program_.tiles.size(); ++tile) {
      if (layout_.resident(static_cast<int>(tile))) {
        Access held = access_of_tile(program_, static_cast<int>(tile), layout_.resident_offset[tile]);
        held.write = true;
        records_.push_back({held, -1});
      }
    }
    for (size_t buffer = 0; buffer < program_.buffers.size(); ++buffer) {
      if (!program_.buffers[buffer].shared) continue;  // another program may have filled it
      Access held = access_of_buffer(program_, offsets_, static_cast<int>(buffer));
      held.write = true;
      records_.push_back({held, -1});
    }
    const int count = static_cast<int>(schedule_.ops.size());
    for (int pass = 0; pass < 2; ++pass) {
      for (int at = 0; at < count; ++at) {
        enter(pass, at);
        const std::vector<Access> list = accesses_of(table_, program_, layout_, program_index_, schedule_.ops[at]);
        check_apart(list, pass * count + at);
        for (const Access& access : list) visit(access, pass * count + at);
      }
    }
    return std::move(problems_);
  }

 private:
  std::string name(int node) const {
    const int count = static_cast<int>(schedule_.ops.size());
    const int at = node % count;
    return fmt::format("{} #{} of pass {}", op_name(program_.ops[schedule_.ops[at].op].kind), at, node / count);
  }

  void report(std::string problem) {
    if (problems_.size() < 20) problems_.push_back(std::move(problem));
  }

  // The clock of a node: what its stream had done, and what its dependencies had.
  void enter(int pass, int at) {
    const ScheduledOp& op = schedule_.ops[at];
    const int count = static_cast<int>(schedule_.ops.size());
    const int stream = static_cast<int>(op.stream);
    Clock clock = last_[stream];
    for (const Dependency& after : op.after) {
      if (after.passes_ago > pass) continue;
      const int node = (pass - after.passes_ago) * count + after.op;
      if (after.op < 0 || after.op >= count || node >= static_cast<int>(clocks_.size())) {
        report(fmt::format("{} waits for operation {}, which comes after it", name(pass * count + at), after.op));
        continue;
      }
      for (int s = 0; s < 3; ++s) clock[s] = std::max(clock[s], clocks_[node][s]);
    }
    clock[stream] = last_[stream][stream] + 1;
    position_.push_back(clock[stream]);
    clocks_.push_back(clock);
    last_[stream] = clock;
  }

  bool happens_before(int earlier, int later) const {
    if (earlier < 0) return true;
    const int count = static_cast<int>(schedule_.ops.size());
    const int stream = static_cast<int>(schedule_.ops[earlier % count].stream);
    return clocks_[later][stream] >= position_[earlier];
  }

  // One operation reads and writes the same buffer (a norm in place), or memory that lies apart.
  void check_apart(const std::vector<Access>& list, int node) {
    for (const Access& access : list) {
      for (const Access& other : list) {
        if (access.write && access.overlaps(other) && !(other.tag == access.tag)) {
          report(fmt::format("{} writes what it also uses for something else", name(node)));
        }
      }
    }
  }

  void visit(const Access& access, int node) {
    if (access.begin == access.end) return;
    int64_t covered = 0;
    for (const Record& record : records_) {
      const Access& other = record.access;
      const int64_t overlap = std::min(access.end, other.end) - std::max(access.begin, other.begin);
      if (other.space != access.space || overlap <= 0 || record.node == node) continue;
      if ((access.write || other.write) && !happens_before(record.node, node)) {
        report(fmt::format("{} and {} touch the same {} without an order", name(record.node), name(node),
                           access.space < 0 ? "device memory" : "host weight " + table_.weights[access.space].name));
      }
      if (access.read && other.write) {
        covered += overlap;
        if (!(other.tag == access.tag)) {
          report(fmt::format("{} reads what {} overwrote", name(node),
                             record.node < 0 ? std::string("the start") : name(record.node)));
        }
      }
    }
    if (access.read && access.space < 0 && covered < access.end - access.begin) {
      report(fmt::format("{} reads memory that nothing wrote", name(node)));
    }
    if (access.write) overwrite(access);
    records_.push_back({access, node});
  }

  // Cuts what the access covers out of the records before it.
  void overwrite(const Access& access) {
    std::vector<Record> kept;
    for (Record& record : records_) {
      Access& other = record.access;
      if (!access.overlaps(other)) {
        kept.push_back(record);
        continue;
      }
      if (other.begin < access.begin) {
        kept.push_back(record);
        kept.back().access.end = access.begin;
      }
      if (access.end < other.end) {
        kept.push_back(record);
        kept.back().access.begin = access.end;
      }
    }
    records_ = std::move(kept);
  }

  const ParameterTable& table_;
  const Program& program_;
  const Layout& layout_;
  const int program_index_;
  const std::vector<int64_t>& offsets_;
  const Schedule& schedule_;
  std::vector<Clock> clocks_;
  std::vector<int> position_;
  std::array<Clock, 3> last_{};
  std::vector<Record> records_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> check_schedule(const ParameterTable& table, const Program& program, const Layout& layout,
                                        int program_index, const Schedule& schedule) {
  return Checker(table, program, layout, program_index, schedule).run();
}

}  // namespace zo2
