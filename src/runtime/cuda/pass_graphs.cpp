#include "runtime/cuda/pass_graphs.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "base/error.h"
#include "program/access.h"
#include "runtime/cuda/error.h"
#include "runtime/pass.h"

namespace zo2::cuda {
namespace {

// What the next node of a capture would follow.
struct Ends {
  std::vector<cudaGraphNode_t> nodes;
  std::vector<cudaGraphEdgeData> edges;

  void add(const Ends& others) {
    for (size_t i = 0; i < others.nodes.size(); ++i) {
      if (std::ranges::find(nodes, others.nodes[i]) != nodes.end()) continue;
      nodes.push_back(others.nodes[i]);
      edges.push_back(others.edges[i]);
    }
  }
};

// What is enqueued on the stream while this lives becomes nodes of a graph.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    ZO2_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  }
  ~Capture() {
    if (stream_ == nullptr) return;
    cudaGraph_t abandoned = nullptr;
    cudaStreamEndCapture(stream_, &abandoned);
    if (abandoned != nullptr) cudaGraphDestroy(abandoned);
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Ends ends() const {
    cudaStreamCaptureStatus status{};
    const cudaGraphNode_t* nodes = nullptr;
    const cudaGraphEdgeData* edges = nullptr;
    size_t count = 0;
    ZO2_CUDA_CHECK(cudaStreamGetCaptureInfo(stream_, &status, nullptr, nullptr, &nodes, &edges, &count));
    ZO2_ASSERT(status == cudaStreamCaptureStatusActive);
    Ends ends;
    ends.nodes.assign(nodes, nodes + count);
    ends.edges.resize(count);
    if (edges != nullptr) ends.edges.assign(edges, edges + count);
    return ends;
  }

  size_t node_count() const {
    cudaStreamCaptureStatus status{};
    cudaGraph_t graph = nullptr;
    size_t count = 0;
    ZO2_CUDA_CHECK(cudaStreamGetCaptureInfo(stream_, &status, nullptr, &graph));
    ZO2_CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
    return count;
  }

  void follow(Ends& ends) {
    ZO2_CUDA_CHECK(cudaStreamUpdateCaptureDependencies(stream_, ends.nodes.data(), ends.edges.data(), ends.nodes.size(),
                                                       cudaStreamSetCaptureDependencies));
  }

  // The caller owns the graph.
  cudaGraph_t finish() {
    cudaGraph_t graph = nullptr;
    ZO2_CUDA_CHECK(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph));
    return graph;
  }

 private:
  cudaStream_t stream_;
};

// Takes seeds, entries or places of commits from the step: one kernel each, or nothing.
bool varies(OpKind kind) {
  return kind == OpKind::visit || kind == OpKind::noise || kind == OpKind::gather || kind == OpKind::entry;
}

// What a graph holds of a pass: the inputs come before it, and passes with something rare have none.
bool in_graph(const Program& program, const ScheduledOp& scheduled) {
  return !scheduled.rare && program.ops[scheduled.op].kind != OpKind::inputs;
}

}  // namespace

bool PassGraphs::launch(const PlannedPass& planned, const PassInput& input, const Run& run,
                        const Exclusive& exclusive) {
  const auto& ops = planned.schedule.ops;
  const bool rare =
      std::ranges::any_of(ops, [&](const ScheduledOp& op) { return op.rare && !left_out(plan_, planned, op, input); });
  if (rare) return false;
  const Batch& batch = input.batch;
  if (graphs_.size() >= kMostShapes) graphs_.clear();
  const auto [found, is_new] = graphs_.try_emplace(
      Shape{&planned, batch.batch, batch.seq, batch.rows.size(), batch.answers.size(), input.last_pass});
  if (is_new) return false;
  std::optional<Graph>& graph = found->second;
  ZO2_ASSERT(planned.program.ops[ops.front().op].kind == OpKind::inputs);
  run(ops.front());
  if (graph) {
    update(*graph, planned, run);
  } else {
    graph = capture(planned, run, exclusive);
  }
  Executable& executable = executable_of(*graph, planned);
  executable.launched = ++launches_;
  ZO2_CUDA_CHECK(cudaGraphLaunch(executable.executable.get(), stream_));
  return true;
}

PassGraphs::Graph PassGraphs::capture(const PlannedPass& planned, const Run& run, const Exclusive& exclusive) const {
  const Program& program = planned.program;
  Schedule held;
  std::ranges::copy_if(planned.schedule.ops, std::back_inserter(held.ops),
                       [&](const ScheduledOp& scheduled) { return in_graph(program, scheduled); });
  const auto order = memory_order(plan_.table, program, plan_.layout, planned.layout_index, held, exclusive);
  Graph made;
  std::vector<Ends> ends(held.ops.size());
  size_t total = 0;  // nodes so far
  Capture capturing(stream_);
  for (size_t at = 0; at < held.ops.size(); ++at) {
    Ends before;
    for (int earlier : order[at]) before.add(ends[static_cast<size_t>(earlier)]);
    capturing.follow(before);
    run(held.ops[at]);
    ends[at] = capturing.ends();
    const size_t added = capturing.node_count() - total;
    total += added;
    made.topology.push_back(static_cast<int>(added));
    made.topology.push_back(static_cast<int>(order[at].size()));
    made.topology.insert(made.topology.end(), order[at].begin(), order[at].end());
    if (added == 0 || !varies(program.ops[held.ops[at].op].kind)) continue;
    ZO2_ASSERT(added == 1);
    made.varying.push_back(ends[at].nodes.front());
  }
  made.graph.reset(capturing.finish());
  return made;
}

void PassGraphs::update(const Graph& graph, const PlannedPass& planned, const Run& run) const {
  std::vector<cudaGraphNode_t> fresh;
  Capture capturing(stream_);
  for (const ScheduledOp& scheduled : planned.schedule.ops) {
    if (!in_graph(planned.program, scheduled) || !varies(planned.program.ops[scheduled.op].kind)) continue;
    run(scheduled);
    const cudaGraphNode_t last = capturing.ends().nodes.back();  // one follows the other
    if (fresh.empty() || last != fresh.back()) fresh.push_back(last);
  }
  const std::unique_ptr<CUgraph_st, Deleter> captured(capturing.finish());
  ZO2_ASSERT(fresh.size() == graph.varying.size());
  for (size_t i = 0; i < fresh.size(); ++i) {
    cudaKernelNodeParams parameters{};
    ZO2_CUDA_CHECK(cudaGraphKernelNodeGetParams(fresh[i], &parameters));
    ZO2_CUDA_CHECK(cudaGraphKernelNodeSetParams(graph.varying[i], &parameters));
  }
}

PassGraphs::Executable& PassGraphs::executable_of(const Graph& graph, const PlannedPass& planned) {
  const auto [found, is_new] = executables_.try_emplace({&planned, graph.topology});
  Executable& kept = found->second;
  if (kept.executable) {
    cudaGraphExecUpdateResultInfo info{};
    const cudaError_t code = cudaGraphExecUpdate(kept.executable.get(), graph.graph.get(), &info);
    if (code == cudaSuccess) return kept;
    cudaGetLastError();  // nodes of other kinds in the same places
  }
  const bool full = is_new && executables_.size() > kMostExecutables;
  if (full || kept.executable) ZO2_CUDA_CHECK(cudaStreamSynchronize(stream_));  // what goes may still run
  if (full) {
    kept.launched = std::numeric_limits<int64_t>::max();
    executables_.erase(
        std::ranges::min_element(executables_, {}, [](const auto& entry) { return entry.second.launched; }));
  }
  cudaGraphExec_t executable = nullptr;
  ZO2_CUDA_CHECK(cudaGraphInstantiate(&executable, graph.graph.get(), 0));
  kept.executable.reset(executable);
  return kept;
}

}  // namespace zo2::cuda
