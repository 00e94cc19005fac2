// Figures of other systems, published or measured by us: experiments/reference/*.yaml. A file has `common`, fields
// that its figures share, and `figures`, a list of maps. Fields of a figure:
//   system    python-zo2, python-mezo, ...        origin  published | measured
//   method    which method of ours does the same (zo2, mezo); any other name stands beside none of ours
//   model, dtype, batch, seq, tie_embeddings      what ran; seq 0: lengths vary
//   task      what it was evaluated on; left out for random tokens
//   metric    a name in metric_table()            value   as printed, with its unit: 3.75 GB
//   gpu, link                                     "NVIDIA H100 80GB", "PCIe 5"; left out when the source does not say
//   commit, source, how_read                      where it comes from, and how it was read
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace zo2 {

struct ReferenceFigure {
  std::string system;
  std::string origin;  // in a file published or measured; imported: of a record (import.h)
  std::string method;
  std::string model;
  std::string task;
  std::string metric;
  double value = 0;  // as printed
  std::string unit;  // as printed: "GB", "MiB", "tok/s"; "bytes" when it was not printed for people
  std::string dtype;
  int64_t batch = 0;
  int64_t seq = 0;
  bool tie_embeddings = false;
  std::string gpu;
  std::string link;
  std::string commit;
  std::string source;
  std::string how_read;

  // The value in the metric's unit. A printed "GB" or "MB" does not say its base: `least` reads it as powers of 1000,
  // the reading least favourable to us, and `most` as powers of 1024; of other units there is one reading.
  struct Readings {
    double least = 0;
    double most = 0;
  };
  Readings readings() const;

  // "3.75 GB" -> value and unit, for the metric set before. Throws UsageError when the unit is not one of the metric's.
  void set_value(const std::string& printed);
};

// Throws IoError, or UsageError naming file and line.
std::vector<ReferenceFigure> read_reference(const std::filesystem::path& file);
// Every *.yaml of the folder, in order of name. Throws IoError when there is no such folder.
std::vector<ReferenceFigure> read_references(const std::filesystem::path& folder);

}  // namespace zo2
