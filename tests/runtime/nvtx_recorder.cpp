// A recording stand-in for Nsight Systems: a library that NVTX loads when NVTX_INJECTION64_PATH names it, and that
// writes each range as one line to the file $ZO2_NVTX_RECORD, when the range ends:
//   domain <tab> name <tab> payload <tab> depth <tab> "closed" <tab> begin <tab> end
// with times in nanoseconds of one clock.
// Depth counts the open ranges of the same domain and thread around it. Ranges that are still open when their thread
// ends are written then, as "open"; a pop without a push is a line "domain <tab> <tab> 0 <tab> -1 <tab> unmatched ...".
//
// Every shared library with NVTX inside has a table of its own and initialises us once, so that domains of others may
// appear too (LibTorch's, say).
#include <nvtx3/nvToolsExt.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace {

using Domain = std::string;  // a handle is the address of its name

struct Range {
  std::string name;
  uint64_t payload;
  int64_t begin_ns;
};

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void write_line(const Domain& domain, const Range& range, int depth, const char* end) {
  static std::FILE* const file = [] {
    const char* path = std::getenv("ZO2_NVTX_RECORD");
    std::FILE* opened = path != nullptr ? std::fopen(path, "w") : nullptr;
    if (opened == nullptr) std::abort();  // a recorder that records nothing would pass for a program without ranges
    return opened;                        // exit() flushes it
  }();
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::fprintf(file, "%s\t%s\t%llu\t%d\t%s\t%lld\t%lld\n", domain.c_str(), range.name.c_str(),
               static_cast<unsigned long long>(range.payload), depth, end, static_cast<long long>(range.begin_ns),
               static_cast<long long>(now_ns()));
}

// The open ranges of a thread, by domain.
struct Open {
  std::map<const Domain*, std::vector<Range>> ranges;
  ~Open() {
    for (auto& [domain, stack] : ranges) {
      for (; !stack.empty(); stack.pop_back()) {
        write_line(*domain, stack.back(), static_cast<int>(stack.size()) - 1, "open");
      }
    }
  }
};
thread_local Open open;

const Domain& domain_of(nvtxDomainHandle_t handle) {
  static const Domain default_domain = "default";
  return handle != nullptr ? *reinterpret_cast<const Domain*>(handle) : default_domain;
}

nvtxDomainHandle_t create_domain(const char* name) {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<const Domain>> domains;  // never given back: handles stay valid
  const std::lock_guard lock(mutex);
  domains.push_back(std::make_unique<const Domain>(name));
  return reinterpret_cast<nvtxDomainHandle_t>(const_cast<Domain*>(domains.back().get()));
}

int push(nvtxDomainHandle_t handle, const nvtxEventAttributes_t* attributes) {
  std::vector<Range>& stack = open.ranges[&domain_of(handle)];
  const bool text = attributes->messageType == NVTX_MESSAGE_TYPE_ASCII;
  const bool number = attributes->payloadType == NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
  stack.push_back({text ? attributes->message.ascii : "", number ? attributes->payload.ullValue : 0, now_ns()});
  return static_cast<int>(stack.size()) - 1;
}

int pop(nvtxDomainHandle_t handle) {
  const Domain& domain = domain_of(handle);
  std::vector<Range>& stack = open.ranges[&domain];
  const int depth = static_cast<int>(stack.size()) - 1;
  write_line(domain, depth >= 0 ? stack.back() : Range{}, depth, depth >= 0 ? "closed" : "unmatched");
  if (depth >= 0) stack.pop_back();
  return depth;
}

}  // namespace

extern "C" int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_export_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get_export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned int size = 0;
  if (callbacks == nullptr || callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) return 0;
  if (size <= NVTX_CBID_CORE2_DomainCreateA) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(create_domain);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
