#include "program/hardware.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/bytes.h"
#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;
namespace fs = std::filesystem;

using Keys = std::map<std::string, std::string>;

Keys complete() {
  return {{"name", "machine"},
          {"upload_gbps", "54.9"},
          {"download_gbps", "54.1"},
          {"duplex_upload_gbps", "45"},
          {"duplex_download_gbps", "44"},
          {"gemm_tflops", "723"},
          {"gemm_ramp_tokens", "128"},
          {"attention_tflops", "350"},
          {"visit_gparams", "277"},
          {"memory_gbps", "2200"},
          {"launch_us", "4"},
          {"memory_mib", "81559"},
          {"idle_mib", "480"},
          {"context_mib", "697"},
          {"workspace_mib", "32"},
          {"registered_mib_per_gib", "2"}};
}

Hardware read_text(const std::string& text) {
  const fs::path path = fs::temp_directory_path() / fmt::format("zo2-hardware-{}.yaml", ::getpid());
  std::ofstream(path) << text;
  struct Remove {
    const fs::path& path;
    ~Remove() { fs::remove(path); }
  } remove{path};
  return read_hardware(path);
}

std::string text_of(const Keys& keys) {
  std::string text;
  for (const auto& [key, value] : keys) text += key + ": " + value + "\n";
  return text;
}

std::string refusal(const Keys& keys) {
  return message_of<UsageError>([&] { read_text(text_of(keys)); });
}

TEST(Hardware, ReadsEveryKey) {
  const Hardware hardware = read_text(text_of(complete()) + "source: measured by hand\n");
  EXPECT_EQ(hardware.name, "machine");
  EXPECT_EQ(hardware.upload_gbps, 54.9);
  EXPECT_EQ(hardware.download_gbps, 54.1);
  EXPECT_EQ(hardware.duplex_upload_gbps, 45);
  EXPECT_EQ(hardware.duplex_download_gbps, 44);
  EXPECT_EQ(hardware.gemm_tflops, 723);
  EXPECT_EQ(hardware.gemm_ramp_tokens, 128);
  EXPECT_EQ(hardware.attention_tflops, 350);
  EXPECT_EQ(hardware.visit_gparams, 277);
  EXPECT_EQ(hardware.memory_gbps, 2200);
  EXPECT_EQ(hardware.launch_us, 4);
  EXPECT_EQ(hardware.memory_mib, 81559);
  EXPECT_EQ(hardware.idle_mib, 480);
  EXPECT_EQ(hardware.context_mib, 697);
  EXPECT_EQ(hardware.workspace_mib, 32);
  EXPECT_EQ(hardware.registered_mib_per_gib, 2);
}

TEST(Hardware, TheFilesInTheRepositoryAreGood) {
  const fs::path folder = fs::path(__FILE__).parent_path().parent_path().parent_path() / "experiments" / "hardware";
  int read = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    EXPECT_GT(read_hardware(entry.path()).upload_gbps, 0) << entry.path();
    ++read;
  }
  EXPECT_GT(read, 0);
}

TEST(Hardware, NvmlIsTheArenaAndWhatLiesOutside) {
  Hardware hardware = read_text(text_of(complete()));
  // 480 idle + 697 context + 32 workspace + 2 MiB for each of 13 GiB registered.
  EXPECT_EQ(hardware.nvml_bytes(100 * kMiB, 13 * kGiB), (100 + 480 + 697 + 32 + 26) * kMiB);
  EXPECT_EQ(hardware.nvml_bytes(0, 0), (480 + 697 + 32) * kMiB);
}

TEST(Hardware, AMissingKeyIsNamed) {
  for (const auto& [key, value] : complete()) {
    if (key == "name") continue;
    Keys keys = complete();
    keys.erase(key);
    expect_contains(refusal(keys), fmt::format("'{}' is missing", key));
  }
}

TEST(Hardware, AnUnknownKeyIsNamedWithItsLine) {
  const std::string message = message_of<UsageError>([] { read_text(text_of(complete()) + "uplaod_gbps: 3\n"); });
  expect_contains(message, "unknown key 'uplaod_gbps'");
  expect_contains(message, ".yaml:17:");
}

TEST(Hardware, NegativeAndNonFiniteNumbersAndTextAreRefused) {
  for (const auto& [key, good] : complete()) {
    if (key == "name") continue;
    for (const char* value : {"-1", "-0.5", ".nan", ".inf", "-.inf"}) {
      Keys keys = complete();
      keys[key] = value;
      expect_contains(refusal(keys), key);
    }
    for (const char* value : {"fast", "[1, 2]", "{a: 1}", ""}) {
      Keys keys = complete();
      keys[key] = value;
      expect_contains(refusal(keys), ".yaml");
    }
  }
}

TEST(Hardware, ARateOfZeroIsRefusedSinceNothingWouldEverEnd) {
  for (const char* key : {"upload_gbps", "download_gbps", "duplex_upload_gbps", "duplex_download_gbps", "gemm_tflops",
                          "attention_tflops", "visit_gparams", "memory_gbps"}) {
    Keys keys = complete();
    keys[key] = "0";
    expect_contains(refusal(keys), key);
  }
  Keys keys = complete();
  keys["launch_us"] = keys["idle_mib"] = keys["registered_mib_per_gib"] = keys["gemm_ramp_tokens"] = "0";
  EXPECT_EQ(read_text(text_of(keys)).launch_us, 0);
}

TEST(Hardware, AFileThatIsNotAMapOrNotThereIsRefusedByName) {
  expect_contains(message_of<UsageError>([] { read_hardware("/nowhere/machine.yaml"); }), "/nowhere/machine.yaml");
  for (const char* text : {"", "- 1\n- 2\n", "just text", "a: [", "upload_gbps: 1\nupload_gbps: 2\n"}) {
    expect_contains(message_of<UsageError>([&] { read_text(text); }), ".yaml");
  }
}

}  // namespace
}  // namespace zo2
