// The files of the repository that are made from tables of the program: schema/*.schema.json and docs/reference/*.md. A
// test compares them with what is generated, so that neither drifts; `zo2 reference ROOT` writes them.
#pragma once

#include <map>
#include <string>

namespace zo2 {

// Content by path relative to the root of the repository.
std::map<std::string, std::string> generated_files();

}  // namespace zo2
