// Passes of short operations as CUDA graphs: one launch in place of hundreds, each of which costs the host more than it
// costs the device, and operations that share no memory side by side. The same kernels on the same operands: no bit
// changes.
//
// A graph is captured for each shape of batch when it comes for the second time; the first time warms up what libraries
// load lazily. What operations take from the step (seed, pending entries, where they commit) is then written into it
// before each launch, by capturing these few anew. Graphs lie in host memory. Their executable form takes several MiB
// on the device, so that all shapes whose graphs have the same nodes and edges share one, updated before each launch.
#pragma once

#include <cuda_runtime_api.h>

#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/plan.h"
#include "runtime/executor.h"

namespace zo2::cuda {

class PassGraphs {
 public:
  // Enqueues an operation on the stream.
  using Run = std::function<void(const ScheduledOp&)>;
  // Whether an operation uses memory outside the arena that others use too.
  using Exclusive = std::function<bool(const ScheduledOp&)>;

  PassGraphs(const Plan& plan, cudaStream_t stream) : plan_(plan), stream_(stream) {}

  // Enqueues a pass. False when nothing was enqueued, and the caller does it one by one: the pass does something rare,
  // or its shape is new.
  bool launch(const PlannedPass& planned, const PassInput& input, const Run& run, const Exclusive& exclusive);

  static constexpr size_t kMostShapes = 256;     // then all are forgotten
  static constexpr size_t kMostExecutables = 8;  // then the one that was launched longest ago goes

 private:
  // What fixes every operand but those that depend on the step.
  struct Shape {
    const PlannedPass* planned = nullptr;
    int64_t batch = 0;
    int64_t seq = 0;
    size_t rows = 0;
    size_t examples = 0;
    bool last_pass = true;
    auto operator<=>(const Shape&) const = default;
  };
  // Per operation, how many nodes it has and which operations it follows.
  using Topology = std::vector<int>;
  struct Deleter {
    void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
    void operator()(cudaGraphExec_t executable) const { cudaGraphExecDestroy(executable); }
  };
  struct Graph {
    std::unique_ptr<CUgraph_st, Deleter> graph;
    std::vector<cudaGraphNode_t> varying;  // of the operations that depend on the step, in order
    Topology topology;
  };
  struct Executable {
    std::unique_ptr<CUgraphExec_st, Deleter> executable;
    int64_t launched = 0;  // when last
  };

  Graph capture(const PlannedPass& planned, const Run& run, const Exclusive& exclusive) const;
  // Writes the step into a graph.
  void update(const Graph& graph, const PlannedPass& planned, const Run& run) const;
  Executable& executable_of(const Graph& graph, const PlannedPass& planned);

  const Plan& plan_;
  const cudaStream_t stream_;
  std::map<Shape, std::optional<Graph>> graphs_;  // none: seen once
  std::map<std::pair<const PlannedPass*, Topology>, Executable> executables_;
  int64_t launches_ = 0;
};

}  // namespace zo2::cuda
