// The report as one HTML page that needs nothing else: figures and style sheet are inside, nothing is fetched and no
// script runs, so that it can be mailed, or put beside a paper.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiment/report.h"

namespace zo2 {

// The .png files of `folder` by name, as `python -m plots DIR` leaves them in DIR/plots; empty when there is no folder.
std::vector<std::filesystem::path> figures_in(const std::filesystem::path& folder);

// Summary, `figures`, tables, how to do it again, environments, and every record in full. Holds no path of this machine
// but those that the records themselves name. Throws IoError when a figure cannot be read.
std::string render_html(const Report& report, const std::vector<std::filesystem::path>& figures);

}  // namespace zo2
