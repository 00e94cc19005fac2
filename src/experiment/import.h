// Records of other systems: from a file of JSON lines to DIR/imported/NAME, a folder of records like any other, which
// is never under DIR/cells and so never mixed with what was measured here. A line is one run of one process:
//
//   {"model.name": "opt-1.3b", "model.tie_embeddings": false, "engine.dtype": "fp16", "data.batch": 1,
//    "data.seq": 2048, "method.name": "zo2", "tokens_per_s": 13985, "nvml_step_peak_bytes": "3065 MiB",
//    "gpu": "NVIDIA H100 80GB", "link": "PCIe 5", "commit": "097d568", "source": "run.log", "how_read": "last line"}
//
// Members with a dot are configuration keys: those above are needed, since comparisons rest on them, and method.name
// says which method of ours does the same. Members with a metric's name are figures: a number in the metric's unit, or
// a size as printed. `source` is needed; gpu, link, commit and how_read may be left out. Lines with equal
// configurations are repeats. A result.json has besides the usual members
//   "imported": {"system", "source", "commit", "how_read", "line", "given": [keys], "printed": {metric: text}}
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiment/record.h"
#include "experiment/reference.h"

namespace zo2 {

// Replaces what was imported under that name before; returns how many records there are now. Throws IoError; and one
// UsageError that lists everything that is wrong in the file, a line each, and leaves the old records.
size_t import_records(const std::filesystem::path& file, const std::string& name, const std::filesystem::path& dir);

// Those under DIR/imported, by system; empty when there are none.
std::vector<Record> read_imported_records(const std::filesystem::path& dir);

// A figure for each metric of each cell, of origin "imported": as printed, or the median of the repeats.
std::vector<ReferenceFigure> figures_of(const std::vector<Record>& imported);

}  // namespace zo2
