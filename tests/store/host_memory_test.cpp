#include "store/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
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

// Pages that this mapping has in the page table: bit 63 of a page's entry in pagemap. (mincore asks whether the memory
// file has the page, whichever mapping brought it there.)
int64_t pages_in_page_table(const HostBuffer& buffer) {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  std::vector<uint64_t> entries(static_cast<size_t>(buffer.mapped_bytes() / page));
  std::ifstream pagemap("/proc/self/pagemap", std::ios::binary);
  pagemap.seekg(reinterpret_cast<int64_t>(buffer.data()) / page * 8);
  pagemap.read(reinterpret_cast<char*>(entries.data()), static_cast<std::streamsize>(entries.size() * 8));
  EXPECT_TRUE(pagemap.good());
  return std::count_if(entries.begin(), entries.end(), [](uint64_t entry) { return entry >> 63 != 0; });
}

int64_t open_descriptors() { return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); }

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

TEST(SharedMemory, ItsMappingsShareBytesAtAlignedAddressesOfTheirOwn) {
  for (int64_t bytes : {int64_t{1}, int64_t{4097}, 2 * kMiB, 5 * kMiB + 13}) {
    const SharedMemory memory(bytes);
    EXPECT_EQ(memory.size(), bytes);
    HostBuffer first = HostBuffer::map(memory);
    HostBuffer second = HostBuffer::map(memory);
    EXPECT_NE(first.data(), second.data());
    for (HostBuffer* buffer : {&first, &second}) {
      EXPECT_EQ(buffer->size(), bytes);
      EXPECT_EQ(buffer->mapped_bytes(), align_up(bytes, ::sysconf(_SC_PAGESIZE)));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % (bytes >= 2 * kMiB ? 2 * kMiB : 4096), 0U);
      EXPECT_EQ(buffer->data()[bytes - 1], std::byte{0});
    }
    first.data()[bytes - 1] = std::byte{7};
    EXPECT_EQ(second.data()[bytes - 1], std::byte{7});
    second.data()[0] = std::byte{8};
    EXPECT_EQ(first.data()[0], std::byte{8});
  }
  EXPECT_EQ(HostBuffer::map(SharedMemory(0)).data(), nullptr);
}

TEST(SharedMemory, TouchFillsThePageTableOfOneMappingAndKeepsContents) {
  const SharedMemory memory(9 * kMiB + 5000);
  HostBuffer first = HostBuffer::map(memory);
  HostBuffer second = HostBuffer::map(memory);
  const int64_t pages = first.mapped_bytes() / ::sysconf(_SC_PAGESIZE);
  first.data()[5 * kMiB] = std::byte{42};
  first.touch(3);
  EXPECT_EQ(pages_in_page_table(first), pages);
  EXPECT_EQ(pages_in_page_table(second), 0);
  second.touch(2);
  EXPECT_EQ(pages_in_page_table(second), pages);
  EXPECT_EQ(second.data()[5 * kMiB], std::byte{42});
}

TEST(SharedMemory, MappingsMoveAndOutliveItAndEachOther) {
  const int64_t descriptors = open_descriptors();
  std::optional<SharedMemory> memory(std::in_place, 3 * kMiB);
  EXPECT_EQ(open_descriptors(), descriptors + 1);
  HostBuffer first = HostBuffer::map(*memory);
  std::optional<HostBuffer> second(HostBuffer::map(*memory));
  memory.reset();
  EXPECT_EQ(open_descriptors(), descriptors);
  second->data()[99] = std::byte{7};
  second.reset();
  const std::byte* address = first.data();
  const HostBuffer third(std::move(first));
  EXPECT_EQ(third.data(), address);
  EXPECT_EQ(third.data()[99], std::byte{7});
}

TEST(HostBuffer, TooMuchSaysHowMuchWasAskedForAndWhatIsThere) {
  const int64_t available = available_host_bytes();
  EXPECT_GT(available, 0);
  EXPECT_LT(available, int64_t{1} << 60);
  const std::string message = message_of<OutOfMemoryError>([] { HostBuffer(int64_t{1} << 60, "the token table"); });
  expect_all_in(message, {"the token table", "1152921504606846976 bytes", "available", "choose a smaller model"});
  const std::string shared = message_of<OutOfMemoryError>([] { SharedMemory(int64_t{1} << 60, "one layer"); });
  expect_all_in(shared, {"one layer", "1152921504606846976 bytes", "available"});
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
