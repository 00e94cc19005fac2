// Staged copies, and the refusals of device and page-locked memory.
#include "runtime/cuda/host_link.h"

#include "runtime/cuda/testing.h"
#include "support.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

using CudaMemory = CudaTest;

// A chain: each round uploads what the round before has just brought back to another place, many times round the ring.
TEST_F(CudaMemory, StagedCopiesBringEveryByteThereAndBack) {
  for (int threads : {1, 3, 12}) {
    const int64_t bytes = 3 * cuda::kPieceBytes + 12345;
    std::vector<std::vector<std::byte>> places(9, std::vector<std::byte>(static_cast<size_t>(bytes)));
    for (size_t i = 0; i < places[0].size(); ++i) places[0][i] = static_cast<std::byte>(i * 31 + i / 4096);
    const cuda::DeviceBuffer device(bytes, "a test");
    cuda::Staging up(cuda::Staging::Way::up, 2, threads);
    cuda::Staging down(cuda::Staging::Way::down, 3, threads);
    const cuda::Stream stream;
    const cuda::Stream back;
    const cuda::PinnedBuffer packed(3000);
    cuda::Event there;
    cuda::Event clear;
    for (size_t round = 0; round + 1 < places.size(); ++round) {
      clear.record(back);  // the device's bytes have been read
      clear.wait_on(stream);
      for (int64_t at = 0; at < bytes;) {
        const int64_t part = std::min(bytes - at, cuda::kPieceBytes + 100 * static_cast<int64_t>(round) + 7);
        up.copy(places[round].data() + at, device.data() + at, part, &down, down.enqueued(), stream);
        at += part;
      }
      up.pack({places[round].data(), nullptr, places[round].data() + 5000}, 1000, packed.as(), &down, down.enqueued(),
              stream);
      there.record(stream);
      there.wait_on(back);
      down.copy(places[round + 1].data(), device.data(), bytes, nullptr, 0, back);
    }
    cuda::synchronize_device();
    down.finish();
    ASSERT_EQ(places.back(), places.front());
    ASSERT_EQ(std::memcmp(packed.as(), places[0].data(), 1000), 0);
    ASSERT_EQ(std::memcmp(packed.as() + 2000, places[0].data() + 5000, 1000), 0);
  }
}

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
