// Who holds a GPU, and for how long.
#include "experiment/gpu_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/standin_nvml.h"

namespace zo2 {
namespace {

using testing::NvmlValues;
using testing::ScopedVariable;
using testing::StandinNvml;
using testing::TempFolder;

class GpuLockTest : public ::testing::Test {
 protected:
  NvmlDevice device(int index) { return Nvml::open().device(index).value(); }
  // At once, or not at all.
  std::optional<File> try_lock(int index) {
    return lock_gpu(device(index), [] { return false; });
  }

  TempFolder scratch_;
  ScopedVariable temporary_{"TMPDIR", scratch_.path().c_str()};
  StandinNvml standin_{NvmlValues{{"devices", "2"}, {"0.uuid", "GPU-a"}, {"1.uuid", "GPU-b"}}};
};

TEST_F(GpuLockTest, AGpuHasOneHolder) {
  std::optional<File> first = try_lock(0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->path(), scratch_ / "zo2-gpu-GPU-a.lock");
  EXPECT_FALSE(try_lock(0));
  EXPECT_TRUE(try_lock(1)) << "another GPU is free";
  first.reset();
  EXPECT_TRUE(try_lock(0));
}

TEST_F(GpuLockTest, AProcessThatDiesLetsGo) {
  int held[2];
  ASSERT_EQ(pipe(held), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    const std::optional<File> lock = try_lock(0);
    const char sign = lock ? '+' : '-';
    if (write(held[1], &sign, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char sign = 0;
  ASSERT_EQ(read(held[0], &sign, 1), 1);
  EXPECT_EQ(sign, '+');
  int waits = 0;
  const auto lock = lock_gpu(device(0), [&] {
    if (++waits == 2) {
      kill(holder, SIGKILL);
      waitpid(holder, nullptr, 0);
    }
    return waits < 50;
  });
  EXPECT_TRUE(lock);
  EXPECT_EQ(waits, 2);
  close(held[0]);
  close(held[1]);
  if (waits < 2) kill(holder, SIGKILL);
}

TEST_F(GpuLockTest, AFileThatIsThereIsOpenedForReadingOnly) {
  {
    EXPECT_TRUE(try_lock(0));
  }
  const std::optional<File> second = try_lock(0);
  ASSERT_TRUE(second);
  EXPECT_EQ(fcntl(second->descriptor(), F_GETFL) & O_ACCMODE, O_RDONLY) << "it may be another user's";
}

TEST_F(GpuLockTest, AFolderThatIsNotThereIsAnError) {
  const ScopedVariable elsewhere("TMPDIR", "/nowhere");
  EXPECT_ANY_THROW(try_lock(0));
}

}  // namespace
}  // namespace zo2
