#include "runtime/cpu/progress.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "program/testing.h"

namespace zo2::cpu {
namespace {

using namespace std::chrono_literals;

TEST(Progress, WaitReturnsWhenThatPassIsDoneAndNotBefore) {
  Progress progress(3);
  progress.complete(1, 0);
  progress.wait(1, 0);
  std::atomic<int> seen = 0;
  std::thread waiter([&] {
    progress.wait(1, 1);
    ++seen;
    progress.wait(2, 0);
    ++seen;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(seen, 0);
  progress.complete(0, 0);  // another operation
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(seen, 0);
  progress.complete(1, 1);
  while (seen < 1) std::this_thread::yield();
  progress.complete(2, 0);
  waiter.join();
  EXPECT_EQ(seen, 2);
}

TEST(Progress, WhatWasWrittenBeforeCompleteIsReadAfterWait) {
  // A ring of threads hands a plain counter on: each adds one after the thread before it has.
  constexpr int kThreads = 4;
  constexpr int kPasses = 500;
  Progress progress(kThreads);
  int counter = 0;
  std::vector<std::thread> threads;
  for (int op = 0; op < kThreads; ++op) {
    threads.emplace_back([&, op] {
      for (int64_t pass = 0; pass < kPasses; ++pass) {
        if (op > 0) progress.wait(op - 1, pass);
        if (op == 0 && pass > 0) progress.wait(kThreads - 1, pass - 1);
        ++counter;
        progress.complete(op, pass);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, kThreads * kPasses);
}

TEST(Progress, AbortWakesEveryWaiterAndStopsLaterWaits) {
  Progress progress(2);
  progress.complete(0, 0);
  std::atomic<int> waiting = 0;
  std::atomic<int> aborted = 0;
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&, i] {
      try {
        ++waiting;
        progress.wait(i % 2, 5);
      } catch (const PassAborted&) {
        ++aborted;
      }
    });
  }
  while (waiting < 4) std::this_thread::yield();
  std::this_thread::sleep_for(10ms);
  progress.abort();
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(aborted, 4);
  EXPECT_THROW(progress.wait(0, 0), PassAborted);
  progress.complete(1, 0);  // by a thread that was in the middle of it: must not undo the abort
  EXPECT_THROW(progress.wait(1, 0), PassAborted);
}

}  // namespace
}  // namespace zo2::cpu
