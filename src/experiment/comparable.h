// What may be compared with what, and what takes a figure out of verdicts.
//
// Two figures of a metric are comparable when they are of the same model shape, tie, dtype, batch and seq, and, if the
// metric depends on speed, of the same processor and link. A record's own figure is out of verdicts when something
// spoiled it: rules in comparable.cpp, by what a metric depends on (Depends, metrics.h).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "experiment/metrics.h"
#include "experiment/record.h"
#include "experiment/reference.h"

namespace zo2 {

// What a figure is a figure of.
struct Subject {
  std::string model;
  bool tie_embeddings = true;
  std::string task;  // that it trained on, by the folder's name; empty: other tokens
  std::string dtype;
  int64_t batch = 0;
  int64_t seq = 0;
  std::string processor;  // the GPU's name, or the CPU's model and its cores; empty: not told
  std::string link;       // "PCIe 5 x16"; empty without a GPU, or not told
};
Subject subject_of(const Record& record);
Subject subject_of(const ReferenceFigure& figure);

// The same model shape, tie, task, dtype, batch and seq.
bool same_shape(const Subject& a, const Subject& b);

// In what two figures of `metric` differ so that they cannot be compared: "dtype: fp16 and bf16"; empty when they can.
// Differences in the configuration keys `ignore` are let pass. A processor or link that says less ("PCIe 5") is the
// same as one that begins with it ("PCIe 5 x16").
std::string difference(const Subject& a, const Subject& b, const Metric& metric,
                       const std::set<std::string>& ignore = {});

// The repeat did all of its steps, or was forecast: it has figures. Other states have none that count.
bool has_figures(State state);

// Why the record's figure of `metric` may not enter a verdict; empty when it may.
std::string spoiled(const Record& record, const Metric& metric);

// The record's figure of `metric`, if the repeat has one that may enter a verdict.
std::optional<double> counting_figure(const Record& record, const Metric& metric);

// Host weights share memory between layers: device memory and speed are true ones, and are marked.
bool is_aliased(const Record& record);

}  // namespace zo2
