// Copies by several threads (no device needed), and the refusals of device memory.
#include "runtime/cuda/host_link.h"

#include <numeric>

#include "runtime/cuda/testing.h"
#include "support.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

TEST(CopyPool, CopiesEveryByteForAnySizeAndAlignment) {
  cuda::CopyPool pool(3);
  for (int64_t bytes : {0, 1, 63, 64, 1000, 4096, 1 << 20, (1 << 20) + 37}) {
    for (int64_t offset : {0, 1, 32}) {
      std::vector<std::byte> from(static_cast<size_t>(bytes + 64));
      for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 31 + 7);
      std::vector<std::byte> to(static_cast<size_t>(bytes + 128), std::byte{0});
      pool.copy(to.data() + offset, from.data() + 5, bytes);
      ASSERT_EQ(std::memcmp(to.data() + offset, from.data() + 5, static_cast<size_t>(bytes)), 0) << bytes << " " << offset;
      ASSERT_EQ(to[static_cast<size_t>(offset + bytes)], std::byte{0});
    }
  }
}

using CudaMemory = CudaTest;

TEST_F(CudaMemory, TooLargeAnArenaIsOutOfMemoryWithTheNumbers) {
  const std::string message =
      message_of<OutOfMemoryError>([] { cuda::DeviceBuffer(int64_t{1} << 45, "the device arena"); });
  EXPECT_NE(message.find("the device arena needs 32.00 TiB"), std::string::npos) << message;
  EXPECT_NE(message.find("free"), std::string::npos) << message;
  const cuda::DeviceBuffer fine(1 << 20, "after that");  // the error does not stick
  cuda::synchronize_device();
}

TEST_F(CudaMemory, MemoryThatCannotBePageLockedSaysWhatToDo) {
  const std::string message = message_of<OutOfMemoryError>(
      [] { cuda::HostRegistration(reinterpret_cast<std::byte*>(0x1000), 1 << 20, "a weight"); });
  EXPECT_NE(message.find("host: staged"), std::string::npos) << message;
}

}  // namespace
}  // namespace zo2
