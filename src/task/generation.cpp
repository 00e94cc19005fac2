#include "task/generation.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "task/sequences.h"

namespace zo2 {
namespace {

// A prompt and what has been generated after it.
struct Continued {
  std::vector<int32_t> ids;
  size_t prompt = 0;
  bool ended = false;

  void take(int32_t id, const GenerationRule& rule) {
    if (ended) return;
    ids.push_back(id);
    ended = std::find(rule.ends.begin(), rule.ends.end(), id) != rule.ends.end() ||
            static_cast<int64_t>(ids.size() - prompt) == rule.new_tokens;
  }
};

Batch whole_batch(const std::vector<Continued>& sequences) {
  std::vector<SequenceView> views;
  for (const Continued& sequence : sequences) views.push_back({sequence.ids, {}, 0});
  Batch batch = make_batch(views);
  for (size_t i = 0; i < sequences.size(); ++i) {
    batch.rows.push_back(static_cast<int32_t>(static_cast<int64_t>(i) * batch.seq) +
                         static_cast<int32_t>(sequences[i].ids.size()) - 1);
  }
  return batch;
}

// The last token of each. A sequence that has ended keeps its place with one that the cache holds already: its last one
// may lie beyond.
Batch last_tokens(const std::vector<Continued>& sequences) {
  Batch batch;
  batch.batch = static_cast<int64_t>(sequences.size());
  batch.seq = 1;
  batch.rows.resize(sequences.size());
  std::iota(batch.rows.begin(), batch.rows.end(), 0);
  for (const Continued& sequence : sequences) {
    const size_t last = sequence.ids.size() - (sequence.ended ? 2 : 1);
    batch.tokens.push_back(sequence.ids[last]);
    batch.positions.push_back(static_cast<int32_t>(last));
  }
  return batch;
}

}  // namespace

int64_t longest_of(const std::vector<std::span<const int32_t>>& prompts) {
  size_t longest = 0;
  for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
  return static_cast<int64_t>(longest);
}

GenerationShape generation_shape(int64_t batch, int64_t longest, const GenerationRule& rule, bool cached) {
  if (!cached) return {batch, longest + rule.new_tokens - 1, 1};
  return {batch, longest, rule.new_tokens};
}

Generated generate(Executor& executor, const std::vector<std::span<const int32_t>>& prompts, const GenerationRule& rule,
                   bool cached, const std::function<void(int64_t done)>& on_batch) {
  ZO2_CHECK(rule.new_tokens >= 1, UsageError, "{} new tokens; at least 1", rule.new_tokens);
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return prompts[a].size() > prompts[b].size(); });
  const auto most = static_cast<size_t>(executor.generation_batch());
  ZO2_ASSERT(most > 0);
  Generated result;
  result.ids.resize(prompts.size());
  for (size_t first = 0; first < order.size(); first += most) {
    const size_t end = std::min(order.size(), first + most);
    std::vector<Continued> sequences;
    for (size_t i = first; i < end; ++i) {
      const std::span<const int32_t> prompt = prompts[order[i]];
      ZO2_CHECK(!prompt.empty(), UsageError, "prompt {} is empty: there is nothing to continue", order[i]);
      sequences.push_back({{prompt.begin(), prompt.end()}, prompt.size()});
    }
    const auto all_ended = [&] {
      return std::all_of(sequences.begin(), sequences.end(), [](const Continued& sequence) { return sequence.ended; });
    };
    for (bool fresh = true; !all_ended(); fresh = false) {
      const std::vector<int32_t> next =
          executor.next_tokens(fresh || !cached ? whole_batch(sequences) : last_tokens(sequences));
      ++result.passes;
      for (size_t i = 0; i < sequences.size(); ++i) sequences[i].take(next[i], rule);
    }
    for (size_t i = first; i < end; ++i) {
      const Continued& sequence = sequences[i - first];
      result.ids[order[i]].assign(sequence.ids.begin() + static_cast<int64_t>(sequence.prompt), sequence.ids.end());
    }
    if (on_batch) on_batch(static_cast<int64_t>(end));
  }
  return result;
}

}  // namespace zo2
