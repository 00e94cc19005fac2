#include "runtime/cpu/region_allocator.h"

#include <ATen/ATen.h>

#include <memory>
#include <thread>

#include "program/testing.h"

namespace zo2::cpu {
namespace {

using namespace zo2::testing;

struct Region {
  static constexpr int64_t kBytes = 4096;
  alignas(64) std::byte data[kBytes];
  bool holds(const void* at) const { return at >= data && at < data + kBytes; }
};

at::Tensor bytes(int64_t count) { return at::empty({count}, at::kByte); }

TEST(RegionAllocator, ServesFromTheRegionOneRequestAfterAnother) {
  Region region;
  {
    const RegionScope scope(region.data, Region::kBytes, "test");
    const at::Tensor a = bytes(100);
    const at::Tensor b = bytes(64);
    EXPECT_EQ(a.data_ptr(), region.data);
    EXPECT_EQ(b.data_ptr(), region.data + 128);  // requests are rounded up to 64
    EXPECT_EQ(scope.used_bytes(), 192);
    const at::Tensor sum = a + a;  // what an operation allocates itself
    EXPECT_TRUE(region.holds(sum.data_ptr()));
  }
  EXPECT_FALSE(region.holds(bytes(100).data_ptr()));
}

TEST(RegionAllocator, ThrowsBeyondTheRegionNamingTheOperation) {
  Region region;
  const RegionScope scope(region.data, 1024, "attention");
  const at::Tensor fits = bytes(1024);
  EXPECT_TRUE(region.holds(fits.data_ptr()));
  const std::string message = message_of<InternalError>([] { bytes(1); });
  expect_contains(message, "attention");
  expect_contains(message, "1.00 KiB");
}

TEST(RegionAllocator, AnInnerScopeServesUntilItEnds) {
  Region outer_region;
  Region inner_region;
  const RegionScope outer(outer_region.data, Region::kBytes, "outer");
  EXPECT_TRUE(outer_region.holds(bytes(64).data_ptr()));
  {
    const RegionScope inner(inner_region.data, Region::kBytes, "inner");
    EXPECT_TRUE(inner_region.holds(bytes(64).data_ptr()));
    {
      const CountingScope counting("counted");
      const at::Tensor outside = bytes(64);
      EXPECT_FALSE(inner_region.holds(outside.data_ptr()) || outer_region.holds(outside.data_ptr()));
      EXPECT_EQ(counting.used_bytes(), 64);
    }
    EXPECT_EQ(inner.used_bytes(), 64);
  }
  EXPECT_TRUE(outer_region.holds(bytes(64).data_ptr()));
  EXPECT_EQ(outer.used_bytes(), 128);
}

TEST(RegionAllocator, AFailureInsideEndsTheScope) {
  Region region;
  EXPECT_THROW(
      {
        const RegionScope scope(region.data, 64, "small");
        bytes(65);
      },
      InternalError);
  EXPECT_FALSE(region.holds(bytes(64).data_ptr()));
}

TEST(RegionAllocator, OtherThreadsAllocateAsAlways) {
  Region region;
  const RegionScope scope(region.data, 64, "this thread");
  bool inside = true;
  std::thread([&] { inside = region.holds(bytes(Region::kBytes).data_ptr()); }).join();
  EXPECT_FALSE(inside);
  EXPECT_EQ(scope.used_bytes(), 0);
}

TEST(RegionAllocator, CountsWhatLibrariesTakeForThemselves) {
  const int64_t before = library_peak_bytes();
  {
    const CountingScope scope("large");
    const at::Tensor a = bytes(before + 1000);
    const at::Tensor b = bytes(1);
    EXPECT_EQ(scope.used_bytes(), (before + 1000 + 63) / 64 * 64 + 64);
  }
  EXPECT_EQ(library_peak_bytes(), (before + 1000 + 63) / 64 * 64 + 64);
  {
    const CountingScope smaller("small");
  }
  EXPECT_GT(library_peak_bytes(), before);
}

}  // namespace
}  // namespace zo2::cpu
