// NVTX ranges in the domain "zo2": what Nsight Systems shows around the work that an executor enqueues.
//
// The payload of a range is an unsigned 64-bit number: (tile + 1) << 32 | (slot + 1), each 0 where there is none. For a
// step it is the step's number.
#pragma once

#include <cstdint>

#ifdef ZO2_HAVE_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace zo2 {

inline uint64_t nvtx_payload(int tile, int slot) {
  return static_cast<uint64_t>(static_cast<uint32_t>(tile + 1)) << 32 | static_cast<uint32_t>(slot + 1);
}

class NvtxRange {
 public:
#ifdef ZO2_HAVE_NVTX
  NvtxRange(const char* name, uint64_t payload) {
    nvtxEventAttributes_t attributes{};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
    attributes.message.ascii = name;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    attributes.payload.ullValue = payload;
    nvtxDomainRangePushEx(domain(), &attributes);
  }
  ~NvtxRange() { nvtxDomainRangePop(domain()); }
#else
  NvtxRange(const char* /*name*/, uint64_t /*payload*/) {}
#endif
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;

 private:
#ifdef ZO2_HAVE_NVTX
  static nvtxDomainHandle_t domain() {
    static const nvtxDomainHandle_t handle = nvtxDomainCreateA("zo2");
    return handle;
  }
#endif
};

}  // namespace zo2
