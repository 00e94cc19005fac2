#include "store/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "store/parallel.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

int64_t resident_pages(const HostBuffer& buffer) {
  const auto pages = static_cast<size_t>(buffer.mapped_bytes() / ::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> present(pages);
  EXPECT_EQ(
      ::mincore(const_cast<std::byte*>(buffer.data()), static_cast<size_t>(buffer.mapped_bytes()), present.data()), 0);
  return std::count_if(present.begin(), present.end(), [](unsigned char page) { return (page & 1) != 0; });
}

TEST(HostBuffer, HasTheExactSizeOnAlignedPages) {
  for (int64_t bytes :
       {int64_t{1}, int64_t{4096}, int64_t{4097}, 2 * kMiB - 1, 2 * kMiB, 2 * kMiB + 1, 7 * kMiB + 13}) {
    HostBuffer buffer(bytes);
    EXPECT_EQ(buffer.size(), bytes);
    EXPECT_EQ(buffer.mapped_bytes(), align_up(bytes, ::sysconf(_SC_PAGESIZE)));
    const auto address = reinterpret_cast<uintptr_t>(buffer.data());
    EXPECT_EQ(address % static_cast<uintptr_t>(bytes >= 2 * kMiB ? 2 * kMiB : 4096), 0U);
    EXPECT_TRUE(std::all_of(buffer.data(), buffer.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::memset(buffer.data(), 0xab, static_cast<size_t>(buffer.mapped_bytes()));
  }
  EXPECT_EQ(HostBuffer(0).data(), nullptr);
}

TEST(HostBuffer, TouchMakesAllPagesPresentAndKeepsTheirContents) {
  for (int threads : {1, 2, 5}) {
    HostBuffer buffer(9 * kMiB + 5000);
    EXPECT_EQ(resident_pages(buffer), 0);
    buffer.data()[5 * kMiB] = std::byte{42};
    buffer.touch(threads);
    EXPECT_EQ(resident_pages(buffer), buffer.mapped_bytes() / ::sysconf(_SC_PAGESIZE));
    EXPECT_EQ(buffer.data()[5 * kMiB], std::byte{42});
    EXPECT_EQ(buffer.data()[0], std::byte{0});
  }
  HostBuffer().touch(2);
}

TEST(HostBuffer, Moves) {
  HostBuffer first(100);
  first.data()[99] = std::byte{7};
  HostBuffer second(std::move(first));
  EXPECT_EQ(second.data()[99], std::byte{7});
  HostBuffer third(5);
  third = std::move(second);
  EXPECT_EQ(third.size(), 100);
  EXPECT_EQ(third.data()[99], std::byte{7});
}

TEST(HostBuffer, TooMuchSaysHowMuchWasAskedForAndWhatIsThere) {
  const int64_t available = available_host_bytes();
  EXPECT_GT(available, 0);
  EXPECT_LT(available, int64_t{1} << 60);
  const std::string message = message_of<OutOfMemoryError>([] { HostBuffer(int64_t{1} << 60, "the token table"); });
  expect_all_in(message, {"the token table", "1152921504606846976 bytes", "available", "choose a smaller model"});
}

TEST(ParallelFor, RunsEveryJobOnceAndRethrowsTheLowestFailure) {
  std::vector<int> runs(1000);
  parallel_for(3, 1000, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
  EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), 1000);
  parallel_for(4, 0, [](int64_t) { FAIL(); });
  for (int round = 0; round < 50; ++round) {
    const std::string message = message_of<UsageError>(
        [] { parallel_for(4, 100, [](int64_t i) { ZO2_CHECK(i < 7, UsageError, "job {}", i); }); });
    EXPECT_EQ(message, "job 7");
  }
}

}  // namespace
}  // namespace zo2
